package host

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// procs lists the processes with their parents.
func procs() map[int]int {
	list, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	parents := make(map[int]int, len(list))
	for _, d := range list {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		if fields := procStat(pid); len(fields) > 1 {
			parents[pid], _ = strconv.Atoi(fields[1])
		}
	}
	return parents
}

// procStat returns what stands behind the name in a process's stat file: state,
// parent and so on.
func procStat(pid int) []string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
}

// descendants lists the processes below pid, without itself. Below a subreaper
// that is every process that it has ever caused.
func descendants(pid int) (list []int) {
	children := map[int][]int{}
	for child, parent := range procs() {
		children[parent] = append(children[parent], child)
	}
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		list = append(list, children[queue[0]]...)
		queue = append(queue, children[queue[0]]...)
	}
	return list
}

// killBelow kills every process below this one, and reaps them until none is
// left. It returns how many it had to kill.
func killBelow(limit time.Duration) (killed int) {
	seen := map[int]bool{}
	for end := time.Now().Add(limit); time.Now().Before(end); {
		for _, pid := range descendants(os.Getpid()) {
			if isZombie(pid) {
				continue
			}
			if unix.Kill(pid, unix.SIGKILL) == nil {
				seen[pid] = true
			}
		}
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if err == unix.ECHILD {
				return len(seen)
			}
			if pid <= 0 && err != unix.EINTR {
				break
			}
		}
		time.Sleep(2 * time.Millisecond) // the kernel takes a moment to end what was killed
	}
	return len(seen)
}

// isZombie reports whether the process has ended already.
func isZombie(pid int) bool {
	fields := procStat(pid)
	return len(fields) == 0 || fields[0] == "Z"
}

// rss returns the resident memory of the processes below pid, in bytes.
func rss(pid int) (sum int64) {
	for _, p := range descendants(pid) {
		if fields := procStat(p); len(fields) > 21 {
			pages, _ := strconv.ParseInt(fields[21], 10, 64)
			sum += pages * int64(os.Getpagesize())
		}
	}
	return sum
}

// environHolds reports whether a process was started with the variable as
// NAME=VALUE.
func environHolds(pid int, variables ...string) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false
	}
	for v := range bytes.SplitSeq(text, []byte{0}) {
		for _, want := range variables {
			if string(v) == want {
				return true
			}
		}
	}
	return false
}
