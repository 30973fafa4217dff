package engines

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/muster-ml/muster"
)

// machineFile holds what is known of a machine.
const machineFile = "machine.json"

// Machines are those below one folder, each in DIR/GROUP/NAME. At most one
// process makes new ones there.
type Machines struct {
	Dir string // absolute

	mu sync.Mutex // held while a machine gets its ports
}

// lockFile, in Dir, is locked by who works on the machines.
const lockFile = ".lock"

// Lock makes the folder and locks it; the error names who holds it, as that of
// TryLock does.
func (ms *Machines) Lock() (*Lock, error) {
	if err := os.MkdirAll(ms.Dir, 0o711); err != nil {
		return nil, fmt.Errorf("make folder of machines: %w", err)
	}
	lock, _, err := TryLock(filepath.Join(ms.Dir, lockFile))
	return lock, err
}

// idFile, in Dir, holds the folder's id.
const idFile = ".id"

// ID returns the folder's id, which is made once. Who holds the lock calls it.
func (ms *Machines) ID() (string, error) {
	path := filepath.Join(ms.Dir, idFile)
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read id of machines: %w", err)
	}
	if id := strings.TrimSpace(string(b)); id != "" {
		return id, nil
	}
	id := muster.RandomID(16)
	if err := writeWhole(path, []byte(id+"\n")); err != nil {
		return "", fmt.Errorf("keep id of machines: %w", err)
	}
	return id, nil
}

// WaitLock is Lock, and waits a while for one who is about to let go.
func (ms *Machines) WaitLock(limit time.Duration) (*Lock, error) {
	for deadline := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		lock, err := ms.Lock()
		if muster.CodeOf(err) != muster.CodeConflict || time.Now().After(deadline) {
			return lock, err
		}
	}
}

// Order makes a machine that is not started yet.
func (ms *Machines) Order(spec MachineSpec) (*Machine, error) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m := &Machine{MachineSpec: spec, At: time.Now().UTC(), folder: filepath.Join(ms.Dir, spec.Group, spec.Name)}
	if _, err := os.Stat(m.folder); err == nil {
		return nil, muster.Errorf(muster.CodeConflict, "there is a machine %s", spec.Name)
	}
	if err := ms.ports(m); err != nil {
		return nil, err
	}
	m.Home = NewHome(ms.Dir, m.folder)
	if err := m.make(); err != nil {
		return nil, errors.Join(err, m.remove()) // no orphan stays, that nobody counts
	}
	return m, nil
}

// make makes the folders of a machine, and remembers it first: what is made after
// that is found again.
func (m *Machine) make() error {
	if err := os.MkdirAll(m.folder, 0o711); err != nil {
		return fmt.Errorf("make folder of machine %s: %w", m.Name, err)
	}
	if err := m.save(); err != nil {
		return err
	}
	if err := m.Home.Make(); err != nil {
		return err
	}
	return m.save()
}

// ports gives the machine ports that no other one has, a torn one included. Those
// for tasks are counted from above, as other nodes of this computer count from
// below.
func (ms *Machines) ports(m *Machine) error {
	others, torn, err := ms.scan("")
	if err != nil {
		return err
	}
	taken, uses := map[int]bool{}, make([]int, taskRanges)
	for _, o := range append(others, torn...) {
		taken[o.Port] = true
		uses[o.Index%taskRanges]++
	}
	for i, n := range uses {
		if n <= uses[m.Index] {
			m.Index = i
		}
	}
	m.Port, err = nextFree(taken)
	return err
}

// List returns the machines of a group, or of all for "", by folder; those that
// are Torn are not among them.
func (ms *Machines) List(group string) ([]*Machine, error) {
	whole, _, err := ms.scan(group)
	return whole, err
}

// Torn returns the machines of a group, or of all for "", whose machine.json is no
// machine. Nothing is known of them but what their folder tells, which is enough
// to stop them. Their names and ports stay taken.
func (ms *Machines) Torn(group string) ([]*Machine, error) {
	_, torn, err := ms.scan(group)
	return torn, err
}

// scan lists the machines of a group, or of all for "".
func (ms *Machines) scan(group string) (whole, torn []*Machine, err error) {
	if group == "" {
		group = "*"
	}
	// A pattern would take what stands in Dir as one, too.
	files, err := fs.Glob(os.DirFS(ms.Dir), group+"/*/"+machineFile)
	if err != nil {
		return nil, nil, fmt.Errorf("list machines: %w", err)
	}
	for _, file := range files {
		m, err := load(filepath.Join(ms.Dir, filepath.Dir(filepath.FromSlash(file))))
		switch {
		case errors.Is(err, fs.ErrNotExist): // gone in this moment
		case errors.Is(err, errTorn):
			torn = append(torn, m)
		case err != nil:
			return nil, nil, err
		default:
			whole = append(whole, m)
		}
	}
	return whole, torn, nil
}

// errTorn says that a machine.json is no machine.
var errTorn = errors.New("torn")

// load reads what is known of a machine. One that is torn it returns, too.
func load(folder string) (*Machine, error) {
	b, err := os.ReadFile(filepath.Join(folder, machineFile))
	if err != nil && !errors.Is(err, syscall.EIO) {
		return nil, fmt.Errorf("read machine: %w", err)
	}
	m := &Machine{folder: folder}
	group, name := filepath.Base(filepath.Dir(folder)), filepath.Base(folder)
	if err == nil && json.Unmarshal(b, m) == nil && m.Group == group && m.Name == name {
		return m, nil
	}
	return tornMachine(folder, group, name), fmt.Errorf("read machine in %s: %w", folder, errTorn)
}

// portRE finds the client's port in its configuration.
var portRE = regexp.MustCompile(`(?m)^  http = ([0-9]+)$`)

// tornMachine is what a machine's folder tells of it.
func tornMachine(folder, group, name string) *Machine {
	m := &Machine{MachineSpec: MachineSpec{Group: group, Name: name}, Started: true, folder: folder}
	m.Home = NewHome(filepath.Dir(filepath.Dir(folder)), folder)
	m.Home.Allocs, m.Home.Work = shortened(m.Home.allocs()), shortened(m.Home.work())
	if config, err := os.ReadFile(m.configFile()); err == nil {
		if port := portRE.FindSubmatch(config); port != nil {
			m.Port, _ = strconv.Atoi(string(port[1]))
		}
	}
	return m
}

// Find returns the machine of a name.
func (ms *Machines) Find(name string) (*Machine, error) {
	all, torn, err := ms.scan("")
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		if m.Name == name {
			return m, nil
		}
	}
	for _, m := range torn {
		if m.Name == name {
			return nil, muster.Errorf(muster.CodeRefused, "%s is torn: only its end is left to machine %s", filepath.Join(m.folder, machineFile), name).
				WithCure("stop the autoscaler, then muster-autoscaler clear")
		}
	}
	return nil, muster.Errorf(muster.CodeNotFound, "there is no machine %s below %s", name, ms.Dir)
}

// StopMachines stops machines, all at once, as Machine.Stop does one.
func StopMachines(machines []*Machine, grace time.Duration, hurry <-chan struct{}) error {
	var wait sync.WaitGroup
	errs := make([]error, len(machines))
	for i, m := range machines {
		wait.Go(func() { errs[i] = m.Stop(grace, hurry) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

// Forget removes the folder of a group that has no machines any more, and the
// named files in it. A folder with more in it stays: that is not ours.
func (ms *Machines) Forget(group string, files ...string) error {
	left, torn, err := ms.scan(group)
	if err != nil {
		return err
	}
	if n := len(left) + len(torn); n > 0 {
		return muster.Errorf(muster.CodeConflict, "%s still has %d machines", group, n)
	}
	folder := filepath.Join(ms.Dir, group)
	for _, path := range append(files, "") {
		err := os.Remove(filepath.Join(folder, path))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
			return fmt.Errorf("remove folder of %s: %w", group, err)
		}
	}
	return nil
}
