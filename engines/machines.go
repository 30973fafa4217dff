package engines

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	if err := os.MkdirAll(m.folder, 0o711); err != nil {
		return nil, fmt.Errorf("make folder of machine %s: %w", spec.Name, err)
	}
	// What is made from here on is found again.
	if err := m.save(); err != nil {
		return nil, err
	}
	if err := m.Home.Make(); err != nil {
		return nil, err
	}
	return m, m.save()
}

// ports gives the machine ports that no other one has. Those for tasks are
// counted from above, as other nodes of this computer count from below.
func (ms *Machines) ports(m *Machine) error {
	others, err := ms.List("")
	if err != nil {
		return err
	}
	taken, uses := map[int]bool{}, make([]int, taskRanges)
	for _, o := range others {
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

// List returns the machines of a group, or of all for "", by folder.
func (ms *Machines) List(group string) ([]*Machine, error) {
	if group == "" {
		group = "*"
	}
	// A pattern would take what stands in Dir as one, too.
	files, err := fs.Glob(os.DirFS(ms.Dir), group+"/*/"+machineFile)
	if err != nil {
		return nil, fmt.Errorf("list machines: %w", err)
	}
	var all []*Machine
	for _, file := range files {
		m, err := load(filepath.Join(ms.Dir, filepath.Dir(filepath.FromSlash(file))))
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone in this moment
		}
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// load reads what is known of a machine.
func load(folder string) (*Machine, error) {
	b, err := os.ReadFile(filepath.Join(folder, machineFile))
	if err != nil {
		return nil, fmt.Errorf("read machine: %w", err)
	}
	m := &Machine{folder: folder}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("read machine in %s: %w", folder, err)
	}
	return m, nil
}

// Find returns the machine of a name.
func (ms *Machines) Find(name string) (*Machine, error) {
	all, err := ms.List("")
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		if m.Name == name {
			return m, nil
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
	left, err := ms.List(group)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return muster.Errorf(muster.CodeConflict, "%s still has %d machines", group, len(left))
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
