package engines

import (
	"bytes"
	"fmt"
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
	real, err := filepath.EvalSymlinks(allocs)
	if err != nil {
		return nil // no folder, no tasks
	}
	dirs := []string{filepath.Clean(allocs) + "/", real + "/"}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		var found []int
		err := processes(func(pid int) {
			if minds(pid, dirs) || works(pid, dirs) {
				found = append(found, pid)
			}
		})
		if err != nil || len(found) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("tasks below %s do not end: processes %v", allocs, found)
		}
		for _, pid := range found {
			sockets := pluginSockets(pid)
			syscall.Kill(pid, syscall.SIGKILL)
			for _, path := range sockets {
				os.Remove(path)
			}
		}
	}
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

// works reports whether a process belongs to a task below one of the folders:
// its environment says so.
func works(pid int, dirs []string) bool {
	for _, v := range bytes.Split(procField(pid, "environ"), []byte{0}) {
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
