package node

import (
	"bytes"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/muster-ml/muster/agent/host"
)

// slowly is a writer that does nothing until it is let.
type slowly struct {
	text       bytes.Buffer
	begun, let chan struct{}
}

func (s *slowly) Write(p []byte) (int, error) {
	if s.text.Len() == 0 {
		close(s.begun)
		<-s.let
	}
	return s.text.Write(p)
}

// TestDrain looks that all is kept of what was written before a command's end,
// though something holds its output open and the copying is late.
func TestDrain(t *testing.T) {
	to := &slowly{begun: make(chan struct{}), let: make(chan struct{})}
	o, err := openOutput(host.Own(), to)
	must(t, err)
	write := func(text string) {
		_, err := o.w.WriteString(text)
		must(t, err)
	}
	write("first\n")
	<-to.begun
	write(strings.Repeat("more\n", 10_000))
	fd, err := syscall.Dup(int(o.w.Fd()))
	must(t, err)
	held := os.NewFile(uintptr(fd), "held")
	defer held.Close()
	must(t, o.r.SetReadDeadline(time.Now())) // the command has ended
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		o.drain()
	}()
	close(to.let)
	<-drained
	if want := "first\n" + strings.Repeat("more\n", 10_000); to.text.String() != want {
		t.Errorf("%d bytes are kept, want %d", to.text.Len(), len(want))
	}
	_, err = held.WriteString(strings.Repeat("talk\n", 100_000)) // a pipe holds less
	must(t, err)
}
