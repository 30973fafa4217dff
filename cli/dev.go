package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/dev"
)

// commandGrace is how long a command may take to end when muster dev is told
// to, and leftGrace how long what it left may take.
const (
	commandGrace = 10 * time.Second
	leftGrace    = 2 * time.Second
)

// devCommand is the platform on this machine.
func devCommand() *cli.Command {
	return &cli.Command{
		Name:      "dev",
		Usage:     "run the whole platform on this machine: Consul, Nomad, a node and the Muster server",
		ArgsUsage: "[-- COMMAND [ARGUMENT…]]",
		Description: "Other terminals find the platform by themselves where it keeps its data in the usual folder; with --data-dir or\n" +
			"--ephemeral it says which variables they need.\n" +
			"As root its nodes work below /var/lib/muster/dev where runs, which are not root's, may not enter that folder, as they may\n" +
			"not enter root's home. Links with short names to folders of its nodes lie in muster-UID of $XDG_RUNTIME_DIR, $TMPDIR or /tmp.\n" +
			"With a COMMAND it runs that, with MUSTER_ADDR and MUSTER_TOKEN set, stops the platform and exits with its code:\n" +
			"muster dev --ephemeral -- muster run submit --follow job.yml",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data-dir", Usage: "`FOLDER` that keeps all data (default: $XDG_DATA_HOME/muster/dev, else ~/.local/share/muster/dev)"},
			&cli.IntFlag{Name: "gpu-shares", Usage: "cut each NVIDIA GPU of this machine into `N` shares, 2 to 64, and give runs one each; 0 leaves them whole"},
			&cli.BoolFlag{Name: "ephemeral", Usage: "keep nothing: use a temporary folder and remove it"},
		},
		Action:      runDev,
		Subcommands: []*cli.Command{enginesCommand()},
	}
}

// enginesCommand builds engines; it is what the Makefile calls.
func enginesCommand() *cli.Command {
	return &cli.Command{
		Name:      "engines",
		Usage:     "build the engines that are neither on PATH nor built yet",
		ArgsUsage: "[NAME…]",
		Hidden:    true,
		Flags:     []cli.Flag{&cli.StringFlag{Name: "tools", Usage: "`FOLDER` of the tool modules", Value: "tools"}},
		Action: func(c *cli.Context) error {
			ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
			defer stop()
			tools, err := filepath.Abs(c.String("tools"))
			if err != nil {
				return fmt.Errorf("find tools: %w", err)
			}
			return dev.BuildEngines(ctx, tools, c.Args().Slice(), c.App.Writer)
		},
	}
}

// runDev opens the platform, runs the command or waits for a signal, and closes.
func runDev(c *cli.Context) error {
	conf, bin, err := devConfig(c)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	command := c.Args().Slice()
	if len(command) > 0 {
		conf.Out = c.App.ErrWriter // stdout is the command's
	}
	var cmd *exec.Cmd
	if len(command) > 0 {
		if cmd, err = prepare(bin, command); err != nil {
			return err
		}
	}
	p, err := openDev(c.Context, conf, signals)
	if err != nil {
		return err
	}
	if len(command) == 0 {
		showPlatform(c.App.Writer, p)
		<-signals
		fmt.Fprintln(conf.Out, "stopping (Ctrl-C again to kill)")
	} else {
		err = runCommand(p, cmd, signals)
	}
	closed := closeDev(p, signals)
	if err != nil && closed != nil {
		fmt.Fprintln(c.App.ErrWriter, closed)
	}
	return cmp.Or(err, closed)
}

// devConfig reads the flags and finds the programs beside this one.
func devConfig(c *cli.Context) (conf dev.Config, bin string, err error) {
	if c.Bool("ephemeral") && c.String("data-dir") != "" {
		return conf, "", muster.Errorf(muster.CodeInvalid, "--ephemeral and --data-dir exclude each other").WithCure("leave one out")
	}
	if n := c.Int("gpu-shares"); n != 0 && (n < 2 || n > muster.MaxShares) {
		return conf, "", muster.Errorf(muster.CodeInvalid, "--gpu-shares is %d", n).WithCure("give 2 to %d, or leave it out for whole GPUs", muster.MaxShares)
	}
	self, err := os.Executable()
	if err != nil {
		return conf, "", fmt.Errorf("find this program: %w", err)
	}
	bin = filepath.Dir(self)
	agent := filepath.Join(bin, "muster-agent")
	if _, err := os.Stat(agent); err != nil {
		return conf, "", muster.Errorf(muster.CodeRefused, "there is no muster-agent beside %s", self).WithCure(`build it by "make build"`)
	}
	conf = dev.Config{DataDir: c.String("data-dir"), Ephemeral: c.Bool("ephemeral"), Command: []string{self, "server"}, Agent: agent, Out: c.App.Writer}
	if err := devices(c, &conf, bin); err != nil {
		return conf, "", err
	}
	err = growing(c, &conf, bin)
	return conf, bin, err
}

// devices adds what tells of this machine's GPUs and FPGAs, and of simulated ones,
// where it is there.
func devices(c *cli.Context, conf *dev.Config, bin string) error {
	conf.GPUShares = c.Int("gpu-shares")
	device := filepath.Join(bin, "muster-device")
	if _, err := os.Stat(device); err == nil {
		conf.DevicePlugin = device
	} else if conf.GPUShares > 0 {
		return muster.Errorf(muster.CodeRefused, "--gpu-shares needs muster-device, and there is none beside muster").WithCure(`build it by "make build"`)
	}
	return nil
}

// growing adds what makes clusters grow on this machine, where it is there:
// without it the platform works, and says what it cannot do.
func growing(c *cli.Context, conf *dev.Config, bin string) error {
	autoscaler := filepath.Join(bin, "muster-autoscaler")
	if _, err := os.Stat(autoscaler); err != nil {
		fmt.Fprintf(c.App.ErrWriter, "note: there is no muster-autoscaler beside muster: clusters do not grow here; make build builds it\n")
		return nil
	}
	if _, err := dev.Engine(c.Context, "nomad-autoscaler"); err != nil {
		fmt.Fprintf(c.App.ErrWriter, "note: there is no Nomad Autoscaler on this machine: clusters do not grow here; make engines builds it\n")
		return nil
	}
	conf.Autoscaler = autoscaler
	return nil
}

// openDev opens the platform; a signal ends the attempt.
func openDev(ctx context.Context, conf dev.Config, signals <-chan os.Signal) (*dev.Platform, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		platform *dev.Platform
		err      error
	}
	opened := make(chan result, 1)
	go func() {
		p, err := dev.Open(ctx, conf)
		opened <- result{p, err}
	}()
	select {
	case r := <-opened:
		return r.platform, r.err
	case s := <-signals:
		cancel()
		select {
		case r := <-opened:
			if r.err == nil {
				r.platform.Close()
			}
		case <-signals: // our death is that of all processes; the next start tidies up
		}
		return nil, cli.Exit("stopped while starting", exitOf(s))
	}
}

// closeDev closes the platform; a signal meanwhile makes it quick.
func closeDev(p *dev.Platform, signals <-chan os.Signal) error {
	closed := make(chan error, 1)
	go func() { closed <- p.Close() }()
	for {
		select {
		case err := <-closed:
			return err
		case <-signals:
			p.Hurry()
		}
	}
}

// prepare finds the program of a command: one beside this program before those
// of the path. It comes before the platform, which takes a while.
func prepare(bin string, command []string) (*exec.Cmd, error) {
	cmd := exec.Command(command[0], command[1:]...)
	if !strings.Contains(command[0], "/") {
		if found, err := exec.LookPath(filepath.Join(bin, command[0])); err == nil {
			cmd.Path, cmd.Err = found, nil
		}
	}
	if _, err := exec.LookPath(cmd.Path); err != nil || cmd.Err != nil {
		return nil, muster.Errorf(muster.CodeInvalid, "muster dev takes a command to run, and %q is no program here", command[0]).
			WithCure("muster dev alone starts the platform, muster dev -- COMMAND runs a command on it")
	}
	cmd.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	return cmd, nil
}

// runCommand runs the command against the platform and returns its exit code as
// an error.
func runCommand(p *dev.Platform, cmd *exec.Cmd, signals <-chan os.Signal) error {
	cmd.Env = append(cmd.Env, "MUSTER_ADDR="+p.Addr, "MUSTER_TOKEN="+p.Token)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// On a terminal Ctrl-C reaches the command by itself, and it decides what
	// that means. Elsewhere signals reach all of it through its group.
	terminal := isTerminal(os.Stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: !terminal, Pdeathsig: syscall.SIGTERM}
	ended := make(chan error, 1)
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the death signal is tied to the thread
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return muster.Errorf(muster.CodeInvalid, "%s cannot be run: %v", cmd.Args[0], err)
	}
	return awaitCommand(cmd, terminal, ended, signals)
}

// awaitCommand waits for the command's end, and passes signals on.
func awaitCommand(cmd *exec.Cmd, terminal bool, ended <-chan error, signals <-chan os.Signal) error {
	target := cmd.Process.Pid
	if !terminal {
		target = -target
	}
	var limit <-chan time.Time
	for {
		select {
		case <-ended:
			if !terminal {
				endGroup(cmd.Process.Pid)
			}
			return exitError(cmd.ProcessState)
		case s := <-signals:
			if terminal && s == os.Interrupt {
				continue
			}
			syscall.Kill(target, s.(syscall.Signal))
			if limit == nil {
				limit = time.After(commandGrace)
			}
		case <-limit:
			syscall.Kill(target, syscall.SIGKILL)
		}
	}
}

// endGroup ends what a command left in its process group: it must not outlive
// the platform. It is asked first, as it may have been a moment ago.
func endGroup(group int) {
	syscall.Kill(-group, syscall.SIGTERM)
	for end := time.Now().Add(leftGrace); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if syscall.Kill(-group, 0) != nil {
			return
		}
	}
	syscall.Kill(-group, syscall.SIGKILL)
}

// exitError turns the end of a command into the error with its exit code, nil
// for 0.
func exitError(state *os.ProcessState) error {
	status := state.Sys().(syscall.WaitStatus)
	switch {
	case status.Signaled():
		return cli.Exit("", exitOf(status.Signal()))
	case status.ExitStatus() != 0:
		return cli.Exit("", status.ExitStatus())
	}
	return nil
}

// exitOf returns the exit code that stands for an end by a signal.
func exitOf(s os.Signal) int { return 128 + int(s.(syscall.Signal)) }

// isTerminal reports whether a file is a terminal.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
