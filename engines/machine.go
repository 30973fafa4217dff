package engines

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/muster-ml/muster"
)

// MachineSpec says what machine is wanted.
type MachineSpec struct {
	Group    string            `json:"group"` // machines of one kind, such as a cluster
	Name     string            `json:"name"`  // the node's in Nomad
	Program  string            `json:"program"`
	Servers  []string          `json:"servers"` // Nomad's, for RPC
	Consul   string            `json:"consul,omitempty"`
	Pool     string            `json:"pool"`
	MHz      int               `json:"mhz"`
	MiB      int               `json:"mib"`
	Reserved int               `json:"reserved_mib,omitempty"` // of MiB, which no task gets
	Meta     map[string]string `json:"meta,omitempty"`
	Plugin   string            `json:"plugin,omitempty"`  // program of a Nomad plugin
	Plugins  string            `json:"plugins,omitempty"` // its block in the client's configuration
}

// Machine is a Nomad client of this machine that outlives who started it, as a
// computer of its own would. All that is known of it lies in its folder, so that
// anybody finds it again:
//
//	ordered ──Start──► started ──Kill, Stop──► gone, with its folder
//	                    ▲    │
//	                    └────┘ Reboot, Move
type Machine struct {
	MachineSpec
	At      time.Time `json:"at"`      // when it was ordered
	Started bool      `json:"started"` // its client was started at least once
	Ready   time.Time `json:"ready"`   // when it first was a node that takes work, as somebody noted; zero before
	Boot    string    `json:"boot"`    // renewed when the client starts and none of the node's tasks is alive
	Port    int       `json:"port"`
	Index   int       `json:"index"` // of its ports for tasks
	Home    Home      `json:"home"`

	folder string
}

// bootMeta is the node's metadata that tells one boot of a machine from another.
const bootMeta = "muster_boot"

// Folder is where all that belongs to the machine lies, but for its home, if
// that must lie elsewhere.
func (m *Machine) Folder() string { return m.folder }

// LogFile is what its client says.
func (m *Machine) LogFile() string { return filepath.Join(m.folder, "client.log") }

// LastWords returns the last line of that.
func (m *Machine) LastWords() string { return lastWords(m.LogFile()) }

// configFile is what its client reads.
func (m *Machine) configFile() string { return filepath.Join(m.folder, "config.hcl") }

// noteFile remembers the client's process.
func (m *Machine) noteFile() string { return filepath.Join(m.folder, "process.json") }

// client is the machine's Nomad client.
func (m *Machine) client() NomadClient {
	meta := maps.Clone(m.Meta)
	if meta == nil {
		meta = map[string]string{}
	}
	meta[bootMeta] = m.Boot
	return NomadClient{Program: m.Program, Name: m.Name, Pool: m.Pool, Dir: m.folder, Allocs: m.Home.Allocs, Work: m.Home.Work, Log: m.LogFile(), HTTPPort: m.Port,
		Server: NomadServer{Addrs: m.Servers, Consul: m.Consul}, Index: m.Index, MHz: m.MHz, MiB: m.MiB, Reserved: m.Reserved, Meta: meta, Plugin: m.Plugin, Plugins: m.Plugins}
}

// Start starts the machine's client, which takes over tasks that are alive.
func (m *Machine) Start() error {
	if err := m.Home.Make(); err != nil {
		return err
	}
	busy, err := tasksBelow(m.Home.Allocs)
	if err != nil {
		return err
	}
	if len(busy) == 0 {
		m.Boot = muster.RandomID(8)
	}
	m.Started = true
	if err := m.save(); err != nil {
		return err
	}
	config, err := m.client().writeConfig()
	if err != nil {
		return err
	}
	// Without a note the process is looked for: who starts it may die before he
	// has written the new one.
	if err := dropNote(m.noteFile()); err != nil {
		return err
	}
	pid, err := m.detach(m.Program, "agent", "-config", config)
	if err != nil {
		return fmt.Errorf("start machine %s: %w", m.Name, err)
	}
	if err := writeNote(m.noteFile(), pid); err != nil && !errors.Is(err, fs.ErrNotExist) { // one that has ended needs no note
		return fmt.Errorf("note process of machine %s: %w", m.Name, err)
	}
	return nil
}

// detach starts a program in a session of its own: no signal, terminal or death
// of ours reaches it.
func (m *Machine) detach(argv ...string) (pid int, err error) {
	log, err := openLog(m.LogFile())
	if err != nil {
		return 0, err
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	// What go-plugin tells a plugin is not for the plugins of this client.
	cmd.Env = slices.DeleteFunc(environment(), func(v string) bool { return strings.HasPrefix(v, "PLUGIN_") })
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	go cmd.Wait() //nolint:errcheck // only so that it leaves no zombie while we live
	return cmd.Process.Pid, nil
}

// Pid returns the number of the client's process, 0 while it does not run. An
// error says that it is not known: who takes that for 0 kills what lives.
func (m *Machine) Pid() (int, error) {
	n, err := m.noted()
	if err != nil {
		return 0, err
	}
	if n.Pid == 0 {
		return m.seek()
	}
	now, err := noteOf(n.Pid)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("look for process %d of machine %s: %w", n.Pid, m.Name, err)
	case now != n:
		return 0, nil // the number came again
	}
	return n.Pid, nil
}

// noted returns what is remembered of the client's process; nothing of one that
// was not noted, or not wholly.
func (m *Machine) noted() (n note, err error) {
	b, err := os.ReadFile(m.noteFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return note{}, fmt.Errorf("read note of machine %s: %w", m.Name, err)
	}
	if err != nil || json.Unmarshal(b, &n) != nil {
		return note{}, nil
	}
	return n, nil
}

// seek looks for the client's process, which its configuration names, among all.
func (m *Machine) seek() (found int, err error) {
	if !m.Started {
		return 0, nil
	}
	ours := func(args []string) bool { return len(args) > 3 && args[1] == "agent" && args[3] == m.configFile() }
	var unknown error
	err = processes(func(pid int) {
		is, err := hasArguments(pid, ours)
		if is && err == nil {
			if _, err = noteOf(pid); err == nil {
				found = pid
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			unknown = err
		}
	})
	if found != 0 {
		return found, nil
	}
	return 0, errors.Join(err, unknown)
}

// Alive reports whether the client's process runs; an error says that it is not
// known.
func (m *Machine) Alive() (bool, error) {
	pid, err := m.Pid()
	return pid != 0, err
}

// Answers asks the client whether it is up.
func (m *Machine) Answers(ctx context.Context) error { return m.client().answers(ctx) }

// MarkReady remembers that the machine is a node that takes work.
func (m *Machine) MarkReady(at time.Time) error {
	m.Ready = at
	return m.save()
}

// save remembers the machine, as a whole or not at all.
func (m *Machine) save() error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("remember machine %s: %w", m.Name, err)
	}
	if err := writeWhole(filepath.Join(m.folder, machineFile), b); err != nil {
		return fmt.Errorf("remember machine %s: %w", m.Name, err)
	}
	return nil
}
