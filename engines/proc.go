package engines

import (
	"bytes"
	"encoding/json"
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

// note is what is remembered of a process. A number alone does not name one:
// numbers come again.
type note struct {
	Pid     int    `json:"pid"`
	Started string `json:"started"` // clock ticks between boot and start
	Boot    string `json:"boot"`
}

// writeNote remembers a running process.
func writeNote(path string, pid int) error {
	n, err := noteOf(pid)
	if err != nil {
		return err
	}
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// bootFile holds the id of this computer's boot.
const bootFile = "/proc/sys/kernel/random/boot_id"

// noteOf describes a running process. One that has ended and waits for its
// parent to notice does not run: that is fs.ErrNotExist. Any other error says
// that it is not known.
func noteOf(pid int) (note, error) {
	boot, err := os.ReadFile(bootFile)
	if err != nil {
		return note{}, fmt.Errorf("read %s: %v", bootFile, err) // says nothing of the process, even where it does not exist
	}
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if errors.Is(err, syscall.ESRCH) { // it ended between open and read
		return note{}, fs.ErrNotExist
	}
	if err != nil {
		return note{}, err
	}
	// The second field is the program's name in brackets and may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return note{}, fmt.Errorf("read state of process %d: %d fields", pid, len(fields))
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return note{}, fs.ErrNotExist
	}
	return note{Pid: pid, Started: fields[19], Boot: strings.TrimSpace(string(boot))}, nil
}

// StopLeftover kills the process that the note remembers, if it still runs, and
// reports whether there was one.
func StopLeftover(path string) (bool, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read note of a process: %w", err)
	}
	var n note
	if err := json.Unmarshal(b, &n); err != nil {
		return false, dropNote(path) // cut off by the crash
	}
	found := false
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		now, err := noteOf(n.Pid)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return found, fmt.Errorf("look for process %d of an earlier start: %w", n.Pid, err)
		}
		if err != nil || now != n {
			return found, dropNote(path)
		}
		found = true
		if time.Now().After(deadline) {
			return true, fmt.Errorf("process %d of an earlier start does not end", n.Pid)
		}
		if err := syscall.Kill(n.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return true, fmt.Errorf("stop process %d of an earlier start: %w", n.Pid, err)
		}
	}
}

// dropNote removes a note; who started the process may have done so.
func dropNote(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove note of a process: %w", err)
	}
	return nil
}

// processes calls visit with the number of every process of this machine.
func processes(visit func(pid int)) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			visit(pid)
		}
	}
	return nil
}

// procField reads one file of a process's entry; it is empty for one that is
// gone or not ours.
func procField(pid int, name string) []byte {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), name))
	if err != nil {
		return nil
	}
	return b
}

// arguments lists those of a process, its program first; there is always one.
func arguments(pid int) []string {
	return strings.Split(string(procField(pid, "cmdline")), "\x00")
}

// hasArguments reports whether a process has arguments like those; an error says
// that it is not known. Those of ours can always be read: what is forbidden is
// somebody else's.
func hasArguments(pid int, like func(args []string) bool) (bool, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) || errors.Is(err, fs.ErrPermission) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read arguments of process %d: %w", pid, err)
	}
	return like(strings.Split(string(b), "\x00")), nil
}

// sessionOf returns the session of a process, 0 for one that is gone.
func sessionOf(pid int) int {
	stat := procField(pid, "stat")
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 4 {
		return 0
	}
	session, _ := strconv.Atoi(fields[3])
	return session
}
