package engines

import (
	"net"
	"os"
	"strconv"

	"github.com/muster-ml/muster"
)

// Ports are chosen between these: above those that services are known by, and
// below those that Nomad gives to tasks, from 20000 on.
const (
	firstPort = 10000
	lastPort  = 19999
	block     = 16 // ports that one platform usually takes
)

// Ports are the ports of a platform by what they are for, such as "nomad.http".
type Ports map[string]int

// Choose sees that every name has a port that is free now. A remembered one is
// kept if it can be; moved tells the names whose port somebody else has taken.
func (p Ports) Choose(names ...string) (moved []string, err error) {
	taken := map[int]bool{}
	for _, port := range p {
		taken[port] = true
	}
	for _, name := range names {
		port, known := p[name]
		if known && free(port) {
			continue
		}
		if known {
			moved = append(moved, name)
		}
		if port, err = nextFree(taken); err != nil {
			return nil, err
		}
		p[name], taken[port] = port, true
	}
	return moved, nil
}

// nextFree looks for a port from a place that differs between processes, so
// that two platforms that start together do not choose the same ones.
func nextFree(taken map[int]bool) (int, error) {
	const blocks = (lastPort - firstPort + 1) / block
	first := firstPort + os.Getpid()%blocks*block
	for i := range lastPort - firstPort + 1 {
		port := first + i
		if port > lastPort {
			port -= lastPort - firstPort + 1
		}
		if !taken[port] && free(port) {
			return port, nil
		}
	}
	return 0, muster.Errorf(muster.CodeRefused, "no port between %d and %d is free", firstPort, lastPort)
}

// free reports whether nobody listens on the port of the loopback.
func free(port int) bool {
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	l.Close()
	u, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	u.Close()
	return true
}
