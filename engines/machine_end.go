package engines

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/muster-ml/muster"
)

// Move makes a client that runs find Nomad's servers and Consul elsewhere. Its
// tasks go on. Until that is done it is Moving.
func (m *Machine) Move(servers []string, consul string) error {
	if err := os.WriteFile(m.moveFile(), nil, 0o600); err != nil {
		return fmt.Errorf("note the move of machine %s: %w", m.Name, err)
	}
	if err := m.halt(syscall.SIGKILL, killWithin, nil); err != nil {
		return err
	}
	m.Servers, m.Consul = servers, consul
	if err := m.Start(); err != nil {
		return err
	}
	return drop(m.moveFile())
}

// moveFile is there while the client is halted for a move.
func (m *Machine) moveFile() string { return filepath.Join(m.folder, "move") }

// Moving reports whether a Move was cut off: the client may be down, and is to be
// moved once more.
func (m *Machine) Moving() bool {
	_, err := os.Stat(m.moveFile())
	return err == nil
}

// Reboot kills the client and all tasks, and starts the client anew in the same
// home. Until that is done it is asked for.
func (m *Machine) Reboot() error {
	if err := m.AskReboot(); err != nil {
		return err
	}
	if err := m.halt(syscall.SIGKILL, killWithin, nil); err != nil {
		return err
	}
	if err := m.killHelpers(); err != nil {
		return err
	}
	if err := m.Home.empty(); err != nil {
		return err
	}
	if err := m.Start(); err != nil {
		return err
	}
	return errors.Join(drop(m.moveFile()), drop(m.rebootFile()))
}

// drop removes a wish that is fulfilled.
func drop(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drop a wish for a machine: %w", err)
	}
	return nil
}

// AskReboot asks who looks after the machine to reboot it.
func (m *Machine) AskReboot() error {
	if err := os.WriteFile(m.rebootFile(), nil, 0o600); err != nil {
		return fmt.Errorf("ask for a reboot of machine %s: %w", m.Name, err)
	}
	return nil
}

// RebootAsked reports whether somebody asks for a reboot.
func (m *Machine) RebootAsked() bool {
	_, err := os.Stat(m.rebootFile())
	return err == nil
}

// rebootFile is there while somebody asks for a reboot.
func (m *Machine) rebootFile() string { return filepath.Join(m.folder, "reboot") }

// Kill makes the machine vanish at once, as if its plug were pulled.
func (m *Machine) Kill() error {
	if err := m.halt(syscall.SIGKILL, killWithin, nil); err != nil {
		return err
	}
	return m.remove()
}

// Stop ends the machine, its client politely until the grace has passed or hurry
// is closed. Who wants its tasks to end in order has drained it before.
func (m *Machine) Stop(grace time.Duration, hurry <-chan struct{}) error {
	if err := m.halt(syscall.SIGTERM, grace, hurry); err != nil {
		return err
	}
	return m.remove()
}

// killWithin is how long a killed process may take to go.
const killWithin = 10 * time.Second

// halt ends the client and its plugins, but not its tasks.
func (m *Machine) halt(signal syscall.Signal, grace time.Duration, hurry <-chan struct{}) error {
	if err := m.end(signal, grace, hurry); err != nil {
		return err
	}
	return m.killPlugins()
}

// end sends the client a signal, and kills it when it has not ended in time.
func (m *Machine) end(signal syscall.Signal, grace time.Duration, hurry <-chan struct{}) error {
	pid, err := m.Pid()
	if pid == 0 || err != nil {
		return err
	}
	if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end machine %s: %w", m.Name, err)
	}
	patience := time.After(grace)
	for {
		if now, err := m.Pid(); err == nil && now != pid {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
			continue
		case <-patience:
		case <-hurry:
		}
		if signal == syscall.SIGKILL {
			return fmt.Errorf("process %d of machine %s does not end", pid, m.Name)
		}
		return m.end(syscall.SIGKILL, killWithin, nil)
	}
}

// remove takes away all of a machine whose client does not run. What is known of
// it goes last, so that who is cut off in the middle finds the rest.
func (m *Machine) remove() error {
	if err := m.killHelpers(); err != nil {
		return err
	}
	if err := m.Home.Remove(); err != nil {
		return err
	}
	if err := Unmount(m.folder); err != nil {
		return err
	}
	entries, err := os.ReadDir(m.folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove machine %s: %w", m.Name, err)
	}
	for _, e := range entries {
		if e.Name() == machineFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(m.folder, e.Name())); err != nil {
			return fmt.Errorf("remove machine %s: %w", m.Name, err)
		}
	}
	if err := os.RemoveAll(m.folder); err != nil {
		return fmt.Errorf("remove machine %s: %w", m.Name, err)
	}
	return nil
}

// killPlugins kills the plugins of a client that does not run: they outlive one
// that was killed.
func (m *Machine) killPlugins() error {
	folder := m.client().plugins()
	return killAll("plugins of machine "+m.Name, func() (found []int, err error) {
		err = processes(func(pid int) {
			if strings.HasPrefix(arguments(pid)[0], folder+"/") {
				found = append(found, pid)
			}
		})
		return found, err
	})
}

// killHelpers kills those of Nomad's own processes that the client started last:
// one that has just begun to look after a task names none yet.
func (m *Machine) killHelpers() error {
	noted, err := m.noted()
	if err != nil || noted.Pid == 0 {
		return err
	}
	return killAll("helpers of machine "+m.Name, func() (found []int, err error) {
		err = processes(func(pid int) {
			args := arguments(pid)
			if len(args) > 1 && args[0] == m.Program && args[1] != "agent" && sessionOf(pid) == noted.Pid || leftBySetup(pid, m.Home.Work) {
				found = append(found, pid)
			}
		})
		return found, err
	})
}

// leftBySetup reports whether the set-up of a machine's node has left a process:
// it belongs to no task, and goes with the machine.
func leftBySetup(pid int, work string) bool {
	want := muster.AgentDirVar + "=" + work
	return work != "" && slices.ContainsFunc(bytes.Split(procField(pid, "environ"), []byte{0}), func(v []byte) bool { return string(v) == want })
}
