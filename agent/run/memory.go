package run

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// memoryLimit is the memory cgroup that the agent and its command are in; the
// zero value stands for none.
type memoryLimit struct {
	events string // the file that counts kills
	limit  string // the file that holds the limit
	before int64  // kills before the command
}

// findMemoryLimit finds the agent's memory cgroup. The root cgroup has none, but
// a container sees its own as the root.
func findMemoryLimit(contained bool) (m memoryLimit) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return m
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		parts := strings.SplitN(line, ":", 3)
		if len(parts) < 3 || parts[2] == "/" && !contained {
			continue
		}
		if contained {
			parts[2] = "/"
		}
		switch {
		case strings.Contains(","+parts[1]+",", ",memory,"):
			dir := filepath.Join("/sys/fs/cgroup/memory", parts[2])
			m.events, m.limit = filepath.Join(dir, "memory.oom_control"), filepath.Join(dir, "memory.limit_in_bytes")
		case parts[0] == "0" && m.events == "":
			dir := filepath.Join("/sys/fs/cgroup", parts[2])
			m.events, m.limit = filepath.Join(dir, "memory.events"), filepath.Join(dir, "memory.max")
		}
	}
	m.before = m.kills()
	return m
}

// kills returns how often the kernel has killed here for want of memory.
func (m memoryLimit) kills() (n int64) {
	text, err := os.ReadFile(m.events)
	if err != nil {
		return 0
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "oom_kill "); ok {
			n, _ = strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	return n
}

// outOfMemory returns what to say when the kernel has killed since the command
// began, or "".
func (m memoryLimit) outOfMemory() string {
	if m.kills() <= m.before {
		return ""
	}
	text, err := os.ReadFile(m.limit)
	if err != nil {
		return "out of memory"
	}
	limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return "out of memory"
	}
	return fmt.Sprintf("out of memory: the limit is %d MiB", limit>>20)
}
