package engines

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
)

// Copy is a running process of a program.
type Copy struct {
	Pid    int
	Parent int
}

// CopiesOf lists the processes that were started under the program's path.
func CopiesOf(program string) ([]Copy, error) {
	var copies []Copy
	err := processes(func(pid int) {
		if arguments(pid)[0] != program {
			return
		}
		stat := procField(pid, "stat")
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) < 2 || fields[0] == "Z" || fields[0] == "X" {
			return
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			copies = append(copies, Copy{pid, parent})
		}
	})
	return copies, err
}

// Kill kills the process, and removes the socket of a plugin.
func (c Copy) Kill() error {
	freeze(c.Pid)
	for _, path := range pluginSockets(c.Pid) {
		_ = syscall.Unlink(path)
	}
	if err := syscall.Kill(c.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end process %d: %w", c.Pid, err)
	}
	return nil
}
