package policy

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/autoscaler"
)

// usage is what there is.
const usage = `usage: muster-autoscaler COMMAND [FLAGS]

  run                          run the Nomad Autoscaler for Muster's clusters
  clear --dir DIR              stop all machines that it has started here
  local reboot --dir DIR NAME  reboot one of these

The agent starts "muster-autoscaler apm" and "muster-autoscaler target" itself.
`

// Main runs one command and returns the exit code.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := command(ctx, args, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "muster-autoscaler:", err)
	return muster.CodeOf(err).ExitCode()
}

// command runs one command.
func command(ctx context.Context, args []string, out io.Writer) error {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	switch name {
	case "run":
		return runCommand(ctx, args[1:], out)
	case "clear":
		return clearCommand(args[1:], out)
	case "local":
		if len(args) > 1 && args[1] == "reboot" {
			return rebootCommand(ctx, args[2:], out)
		}
		return muster.Errorf(muster.CodeInvalid, "local knows reboot only").WithCure("muster-autoscaler local reboot --dir DIR NAME")
	case "help", "-h", "--help", "-help":
		fmt.Fprint(out, usage)
		return nil
	case "":
		fmt.Fprint(out, usage)
		return muster.Errorf(muster.CodeInvalid, "no command is given")
	}
	known := []string{"run", "clear", "local", "help"}
	err := muster.Errorf(muster.CodeInvalid, "there is no command %q", name).WithCure("use one of %s", strings.Join(known, ", "))
	if near := muster.Nearest(name, known); near != "" {
		err = err.WithCure("did you mean %s?", near)
	}
	return err
}

// parse reads flags; a positional argument more or less than wanted is refused.
func parse(flags *flag.FlagSet, args []string, positional int) error {
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return muster.Errorf(muster.CodeInvalid, "%v", err)
	}
	if n := flags.NArg(); n != positional {
		return muster.Errorf(muster.CodeInvalid, "%s takes %d arguments beside flags, which stand before them, and there are %d", flags.Name(), positional, n)
	}
	return nil
}

// newFlags makes a set of flags with the one that all commands have.
func newFlags(name string, out io.Writer) (*flag.FlagSet, *string) {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(out)
	dir := flags.String("dir", env("MUSTER_AUTOSCALER_DIR", "/var/lib/muster-autoscaler"), "`folder` of the machines and of all that is kept (MUSTER_AUTOSCALER_DIR)")
	return flags, dir
}

// clearCommand stops all machines.
func clearCommand(args []string, out io.Writer) error {
	flags, dir := newFlags("clear", out)
	if err := parse(flags, args, 0); err != nil {
		return err
	}
	path, err := filepath.Abs(*dir)
	if err != nil {
		return fmt.Errorf("find the folder: %w", err)
	}
	if _, err := os.Stat(path); err != nil {
		return muster.Errorf(muster.CodeNotFound, "there are no machines: %v", err).WithCure("--dir is that of muster-autoscaler run")
	}
	lock, err := lockRun(&Config{Settings: autoscaler.Settings{Dir: path}})
	if err != nil {
		return err
	}
	defer lock.Release() //nolint:errcheck // the kernel gives it back
	return clearMachines(path)
}

// rebootCommand reboots a machine.
func rebootCommand(ctx context.Context, args []string, out io.Writer) error {
	flags, dir := newFlags("local reboot", out)
	if err := parse(flags, args, 1); err != nil {
		return err
	}
	path, err := filepath.Abs(*dir)
	if err != nil {
		return fmt.Errorf("find the folder: %w", err)
	}
	return reboot(ctx, path, flags.Arg(0))
}

// runCommand looks after the agents until it is told to stop.
func runCommand(ctx context.Context, args []string, out io.Writer) error {
	c, err := readConfig(ctx, args, out)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	c.say = func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(out, "%s "+format+"\n", append([]any{time.Now().Format(time.RFC3339)}, args...)...)
	}
	return Run(ctx, c)
}
