package ship

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/muster-ml/muster"
)

// segmentSize is how much of a log one file of the spool holds. A file is
// removed when all of it is acknowledged.
const segmentSize = 8 << 20

// diskPatience is how long a write waits for room on the disk when nothing of
// the spool is left to be freed.
const diskPatience = 30 * time.Second

// Spool keeps a log on disk between its writer and its sender. A writer that is
// ahead by the limit waits: nothing is ever dropped.
type Spool struct {
	dir    string
	limit  int64
	onFull func()

	mu       sync.Mutex
	changed  chan struct{} // closed and made anew at every change
	freed    int64         // offset up to which the log is acknowledged
	end      int64         // offset up to which it is written
	closed   bool
	broken   error // the reader has given up
	segments []segment
	marks    []muster.Mark // when what is not acknowledged was written
}

// segment is a file of the spool.
type segment struct {
	from int64 // the log's offset of its first byte
	file *os.File
}

// NewSpool makes a spool in a folder that exists. onFull is called, once, when
// the writer has to wait.
func NewSpool(dir string, limit int64, onFull func()) *Spool {
	return &Spool{dir: dir, limit: limit, onFull: sync.OnceFunc(onFull), changed: make(chan struct{})}
}

// wake tells all who wait that something changed; mu is held.
func (s *Spool) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Write appends p, and waits while there is no room.
func (s *Spool) Write(p []byte) (written int, err error) {
	var since time.Time // of a disk that is full though nothing is spooled
	for len(p) > 0 {
		n, changed, err := s.append(p)
		p, written = p[n:], written+n
		if n > 0 {
			since = time.Time{}
			continue
		}
		if err != nil && s.pending() == 0 {
			if since.IsZero() {
				since = time.Now()
			}
			if time.Since(since) > diskPatience {
				return written, err
			}
		}
		if errors.Is(err, errGivenUp) {
			return written, err
		}
		select {
		case <-changed:
		case <-time.After(time.Second):
		}
	}
	return written, nil
}

// errGivenUp says that nobody will ever read what is written.
var errGivenUp = errors.New("the log is not shipped any more")

// append writes as much of p as there is room for now.
func (s *Spool) append(p []byte) (n int, changed <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return 0, s.changed, fmt.Errorf("%w: %w", errGivenUp, s.broken)
	}
	room := s.limit - (s.end - s.freed)
	if room <= 0 {
		s.onFull()
		return 0, s.changed, nil
	}
	if len(s.segments) == 0 || s.end-s.segments[len(s.segments)-1].from >= segmentSize {
		f, err := os.OpenFile(filepath.Join(s.dir, fmt.Sprintf("%016d", s.end)), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return 0, s.changed, fmt.Errorf("open spool: %w", err)
		}
		s.segments = append(s.segments, segment{s.end, f})
	}
	last := s.segments[len(s.segments)-1]
	size := min(int64(len(p)), room, last.from+segmentSize-s.end)
	n, err = last.file.WriteAt(p[:size], s.end-last.from)
	if n > 0 {
		s.mark()
	}
	s.end += int64(n)
	if n > 0 {
		s.wake()
	}
	if err != nil {
		return n, s.changed, fmt.Errorf("write spool: %w", err)
	}
	return n, s.changed, nil
}

// manyMarks is how many marks may be kept until they become coarser.
const (
	manyMarks = 100_000
	coarse    = 100 // milliseconds
)

// mark remembers that what comes is written now; mu is held.
func (s *Spool) mark() {
	now := time.Now().UnixMilli()
	if n := len(s.marks); n > 0 {
		passed := now - s.marks[n-1].Ms
		if passed == 0 || passed > 0 && passed < coarse && n > manyMarks {
			return
		}
	}
	s.marks = append(s.marks, muster.Mark{Offset: s.end, Ms: now})
}

// times returns when the n bytes from offset on were written.
func (s *Spool) times(offset, n int64) (marks []muster.Mark) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.marks {
		switch {
		case m.Offset <= offset:
			marks = []muster.Mark{{Offset: offset, Ms: m.Ms}}
		case m.Offset < offset+n:
			marks = append(marks, m)
		default:
			return marks
		}
	}
	return marks
}

// Close says that nothing more is written.
func (s *Spool) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.wake()
}

// pending returns how much is written and not acknowledged.
func (s *Spool) pending() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end - s.freed
}

// peek returns the offset of the first byte that is not acknowledged, and reads
// from there.
func (s *Spool) peek(p []byte) (offset int64, n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) == 0 {
		return s.freed, 0, nil
	}
	first := s.segments[0]
	size := min(int64(len(p)), s.end-s.freed, first.from+segmentSize-s.freed)
	n, err = first.file.ReadAt(p[:size], s.freed-first.from)
	if err == io.EOF && int64(n) == size {
		err = nil
	}
	if err != nil {
		return s.freed, 0, fmt.Errorf("read spool: %w", err)
	}
	return s.freed, n, nil
}

// free takes n acknowledged bytes off the spool.
func (s *Spool) free(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.freed += n
	for len(s.marks) > 1 && s.marks[1].Offset <= s.freed {
		s.marks = s.marks[1:]
	}
	for len(s.segments) > 0 && s.freed >= s.segments[0].from+segmentSize {
		s.drop(s.segments[0])
		s.segments = s.segments[1:]
	}
	s.wake()
}

// drop removes a file of the spool. One that cannot be removed goes with its
// folder.
func (s *Spool) drop(g segment) {
	_ = os.Remove(g.file.Name())
	_ = g.file.Close()
}

// giveUp lets the writer go: nobody reads any more.
func (s *Spool) giveUp(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
	s.wake()
}

// wait waits until want bytes are pending, the spool is closed, or the time is
// over; 0 is no limit.
func (s *Spool) wait(ctx context.Context, want int64, limit time.Duration) error {
	var over <-chan time.Time
	if limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		over = t.C
	}
	for {
		s.mu.Lock()
		ready, changed := s.closed || s.end-s.freed >= want, s.changed
		s.mu.Unlock()
		if ready {
			return nil
		}
		select {
		case <-changed:
		case <-over:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
