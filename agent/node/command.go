package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/host"
)

// command is what the cluster wants executed on the node.
type command struct {
	name    string // of its work folder
	text    string
	account host.Account
	vars    map[string]string // its own
	limit   time.Duration
	trusted bool
	lasting bool // what it leaves behind stays when it has ended well
}

// ending is how a command ended.
type ending struct {
	host.Ending
	late bool  // it was killed for its time limit
	err  error // it could not be started or watched
}

// well reports whether it ended as it should.
func (e ending) well() bool { return e.err == nil && e.ExitCode == 0 }

// String says how it ended.
func (e ending) String() string {
	switch {
	case e.err != nil:
		return e.err.Error()
	case e.Signal != 0:
		return "signal " + host.SignalName(e.Signal)
	}
	return fmt.Sprintf("exit code %d", e.ExitCode)
}

// execute executes a command to its end, or to that of its time or of ctx; then
// nothing of it is left. What it writes goes to the writers, in its order.
func (a *agent) execute(ctx context.Context, c command, to ...io.Writer) (e ending) {
	dir, err := a.makeWork(c.name, c.account)
	if err != nil {
		return ending{err: err}
	}
	shell := host.Shell()
	if shell == "" {
		return ending{err: errors.New("this node has no shell (/bin/bash or /bin/sh)")}
	}
	out, err := openOutput(c.account, io.MultiWriter(to...))
	if err != nil {
		return ending{err: err}
	}
	p, err := host.Start(host.Order{Args: []string{shell, "-c", c.text}, Dir: dir, Env: a.environment(&c, dir), Account: c.account,
		Trusted: c.trusted, Leave: a.config.alloc, Lasting: c.lasting}, out.w, out.w)
	defer out.drain()
	if err != nil {
		return ending{err: err}
	}
	limit := time.NewTimer(c.limit)
	defer limit.Stop()
	select {
	case <-p.Ended():
	case <-ctx.Done():
	case <-limit.C:
		e.late = true
	}
	p.Signal(syscall.SIGKILL) // of no effect where it has ended
	<-p.Ended()
	e.Ending, e.err = p.Ending()
	return e
}

// makeWork makes an empty folder for a command to work in. It lies in the
// agent's folder, or elsewhere where the command's user may not pass through the
// folders above.
func (a *agent) makeWork(name string, account host.Account) (dir string, err error) {
	dir = filepath.Join(a.dir, name)
	if account.Change && !account.MayPass(a.dir) {
		if err := os.MkdirAll(host.ViewRoot, 0o711); err != nil {
			return "", fmt.Errorf("make work folder: %w", err)
		}
		dir = filepath.Join(host.ViewRoot, a.config.NodeID+"-"+name)
	}
	if err = host.Clear(dir); err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err == nil && account.Change {
		err = os.Lchown(dir, account.UID, account.GID)
	}
	if err != nil {
		return "", fmt.Errorf("make work folder: %w", err)
	}
	return dir, nil
}

// passed are the variables of the agent's own environment that commands are
// given too: how the node reaches the web, and the locale.
var passed = regexp.MustCompile(`^((?i:https?_proxy|no_proxy|all_proxy)|SSL_CERT_(FILE|DIR)|TZ|LANG|LC_.*)$`)

// defaultPath is where commands are looked for when the agent has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment makes a command's environment: nothing of the agent's but what is
// meant for it, then Muster's variables, then the command's own, which win.
func (a *agent) environment(c *command, dir string) (list []string) {
	vars := map[string]string{"LANG": "C.UTF-8", "PATH": defaultPath, "HOME": dir, "USER": c.account.Name, "LOGNAME": c.account.Name,
		"MUSTER_CLUSTER": a.config.cluster, muster.AgentNodeVar: a.config.NodeID, muster.AgentNodeNameVar: a.config.name, muster.AgentDirVar: a.config.Dir}
	for _, pair := range os.Environ() {
		if name, value, _ := strings.Cut(pair, "="); passed.MatchString(name) {
			vars[name] = value
		}
	}
	if where := os.Getenv("PATH"); where != "" {
		vars["PATH"] = where
	}
	if c.account.Home != "" {
		vars["HOME"] = c.account.Home
	}
	maps.Copy(vars, c.vars)
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		list = append(list, name+"="+vars[name])
	}
	return list
}

// output is what a command writes, both streams in one.
type output struct {
	r, w   *os.File
	to     io.Writer
	copied chan struct{} // closed when nobody copies from r to to
}

// openOutput begins to copy what is written to w.
func openOutput(account host.Account, to io.Writer) (*output, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("open output: %w", err)
	}
	if account.Change {
		// so that the command may open /dev/stdout, which leads here
		if err := w.Chown(account.UID, account.GID); err != nil {
			return nil, errors.Join(fmt.Errorf("open output: %w", err), r.Close(), w.Close())
		}
	}
	o := &output{r: r, w: w, to: to, copied: make(chan struct{})}
	go func() {
		defer close(o.copied)
		_, _ = io.Copy(o.to, o.r) // ended by drain, or by the last writer
	}()
	return o, nil
}

// pipeSize is more than a pipe holds.
const pipeSize = 1 << 20

// drain copies what the command has written before its end, and no more: what it
// left behind may hold the pipe for ever, and is read from then on to no use, so
// that it lives.
func (o *output) drain() {
	_ = o.w.Close()
	_ = o.r.SetReadDeadline(time.Now())
	<-o.copied
	_ = o.r.SetReadDeadline(time.Time{})
	buffer := make([]byte, 64<<10)
	for left := pipeSize; left > 0; {
		n := o.readNow(buffer)
		if n <= 0 {
			break
		}
		_, _ = o.to.Write(buffer[:n])
		left -= n
	}
	go func() {
		_, _ = io.Copy(io.Discard, o.r)
		_ = o.r.Close()
	}()
}

// readNow reads what is there without waiting.
func (o *output) readNow(p []byte) (n int) {
	raw, err := o.r.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Read(func(fd uintptr) bool {
		for n, err = unix.Read(int(fd), p); errors.Is(err, unix.EINTR); {
			n, err = unix.Read(int(fd), p)
		}
		return true
	})
	return n
}
