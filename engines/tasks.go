package engines

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// KillTasks kills what is left of tasks whose allocations lie below the folder,
// and removes the sockets of the processes with which Nomad looked after them.
// It is for nodes whose client is gone: a running one ends its tasks itself.
func KillTasks(allocs string) error {
	return killAll("tasks below "+allocs, func() ([]int, error) { return tasksBelow(allocs) })
}

// killAll kills the processes that find finds, and their sockets, until it finds
// none.
func killAll(what string, find func() ([]int, error)) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		found, err := find()
		if err != nil || len(found) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s do not end: processes %v", what, found)
		}
		for _, pid := range found {
			freeze(pid) // it makes no more sockets
			sockets := pluginSockets(pid)
			syscall.Kill(pid, syscall.SIGKILL)
			for _, path := range sockets {
				os.Remove(path)
			}
		}
	}
}

// freeze stops a process where it stands, and waits a moment for that.
func freeze(pid int) {
	syscall.Kill(pid, syscall.SIGSTOP)
	for range 20 {
		stat := procField(pid, "stat")
		if state := bytes.TrimSpace(stat[bytes.LastIndexByte(stat, ')')+1:]); len(state) == 0 || state[0] != 'R' && state[0] != 'S' {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// tasksBelow lists the processes of tasks whose allocations lie below the folder,
// and of those that look after them.
func tasksBelow(allocs string) ([]int, error) {
	real, err := filepath.EvalSymlinks(allocs)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no folder, no tasks
	}
	if err != nil {
		return nil, fmt.Errorf("look for tasks: %w", err)
	}
	dirs := []string{filepath.Clean(allocs) + "/", real + "/"}
	ids := map[string]bool{}
	entries, err := os.ReadDir(real)
	if err != nil {
		return nil, fmt.Errorf("list allocations: %w", err)
	}
	for _, e := range entries {
		ids[e.Name()] = true
	}
	var found []int
	err = processes(func(pid int) {
		if minds(pid, dirs) || works(pid, dirs, ids) {
			found = append(found, pid)
		}
	})
	return found, err
}

// minds reports whether a process is one of Nomad's own that looks after a task
// below one of the folders: its arguments or its open files name it.
func minds(pid int, dirs []string) bool {
	args := bytes.Split(procField(pid, "cmdline"), []byte{0})
	if len(args) < 2 || filepath.Base(string(args[0])) != "nomad" || string(args[1]) == "agent" {
		return false
	}
	names := openFiles(pid)
	for _, arg := range args {
		names = append(names, string(arg))
	}
	for _, name := range names {
		for _, dir := range dirs {
			if strings.Contains(name, dir) {
				return true
			}
		}
	}
	return false
}

// works reports whether a process belongs to a task below one of the folders, or
// of one of the allocations: its environment says so. A task in a container or a
// chroot knows its folder by another name.
func works(pid int, dirs []string, allocs map[string]bool) bool {
	for _, v := range bytes.Split(procField(pid, "environ"), []byte{0}) {
		if id, ok := strings.CutPrefix(string(v), "NOMAD_ALLOC_ID="); ok && allocs[id] {
			return true
		}
		if task, ok := strings.CutPrefix(string(v), "NOMAD_TASK_DIR="); ok {
			for _, dir := range dirs {
				if strings.HasPrefix(task, dir) {
					return true
				}
			}
		}
	}
	return false
}

// openFiles lists what a process has open, sockets as "socket:[inode]".
func openFiles(pid int) []string {
	fds, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "fd", "*"))
	var names []string
	for _, fd := range fds {
		if name, err := os.Readlink(fd); err == nil {
			names = append(names, name)
		}
	}
	return names
}

// pluginSockets lists the files of the sockets on which one of Nomad's own
// processes listens. It removes them at its end, but not when it is killed.
func pluginSockets(pid int) []string {
	inodes := map[string]bool{}
	for _, name := range openFiles(pid) {
		if inode, ok := strings.CutPrefix(name, "socket:["); ok {
			inodes[strings.TrimSuffix(inode, "]")] = true
		}
	}
	var paths []string
	for line := range strings.Lines(string(procField(pid, "net/unix"))) {
		fields := strings.Fields(line)
		if len(fields) < 8 || !inodes[fields[6]] {
			continue
		}
		if path := strings.Join(fields[7:], " "); strings.HasPrefix(filepath.Base(path), "plugin") {
			paths = append(paths, path)
		}
	}
	return paths
}
