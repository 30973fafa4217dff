package engines

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/muster-ml/muster"
)

// Build builds those of the named programs that are neither on PATH nor in the
// cache, one after another, of the tool modules in the folder tools. Clones
// that build at the same time build once.
func Build(ctx context.Context, tools string, names []string, out io.Writer) error {
	var missing []Program
	for _, name := range names {
		p, err := program(name)
		if err != nil {
			return err
		}
		path, err := find(ctx, tools, name)
		switch {
		case err == nil:
			fmt.Fprintf(out, "using %s\n", path)
		case muster.CodeOf(err) == muster.CodeRefused:
			missing = append(missing, p)
		default:
			return err
		}
	}
	for i, p := range missing {
		b := builder{program: p, tools: tools, out: out, place: fmt.Sprintf("%d of %d", i+1, len(missing))}
		if err := b.build(ctx); err != nil {
			return err
		}
	}
	return nil
}

// builder builds one program.
type builder struct {
	program Program
	tools   string
	out     io.Writer
	place   string // such as "1 of 2"
}

// build puts the program into the cache, unless another did while it waited.
func (b builder) build(ctx context.Context) error {
	path, err := cachePath(b.program, b.tools)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make folder for %s: %w", b.program.Name, err)
	}
	lock, err := waitLock(ctx, filepath.Dir(path)+".lock", func(holder int) {
		fmt.Fprintf(b.out, "waiting for process %d, which builds %s %s\n", holder, b.program.Name, b.program.Version)
	})
	if err != nil {
		return err
	}
	defer lock.Release()
	if executable(path) {
		fmt.Fprintf(b.out, "using %s\n", path)
		return nil
	}
	fmt.Fprintf(b.out, "building %s %s (%s), usually %s, once\n", b.program.Name, b.program.Version, b.place, b.program.Usual)
	begin := time.Now()
	// One name for all builds: what a killed one left is overwritten.
	partial := path + ".partial"
	if err := b.compile(ctx, partial); err != nil {
		return err
	}
	if _, err := versionOf(ctx, partial); err != nil {
		return fmt.Errorf("try the new %s: %w", b.program.Name, err)
	}
	if err := os.Rename(partial, path); err != nil {
		return fmt.Errorf("put %s into the cache: %w", b.program.Name, err)
	}
	fmt.Fprintf(b.out, "built %s in %s\n", path, time.Since(begin).Round(time.Second))
	return nil
}

// compile runs the go tool. It leaves -trimpath out, so that a machine on which
// the packages were compiled once only links.
func (b builder) compile(ctx context.Context, to string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-mod=readonly", "-buildvcs=false", "-ldflags=-s -w", "-o", to, b.program.Module)
	cmd.Dir = filepath.Join(b.tools, b.program.Folder)
	cmd.Env = append(os.Environ(), "GOWORK=off", "PWD="+cmd.Dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return muster.Errorf(muster.CodeRefused, "building %s %s ended with: %s", b.program.Name, b.program.Version, gist(said.String(), err))
	}
	return nil
}

// gist returns, on one line, the first lines of what the go tool said that are
// more than progress; else the error.
func gist(text string, err error) string {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "go: downloading") && len(lines) < 3 {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return err.Error()
	}
	return strings.Join(lines, " | ")
}
