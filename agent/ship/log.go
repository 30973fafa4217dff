package ship

import (
	"context"
	"fmt"
	"time"

	"github.com/muster-ml/muster"
)

// The size of chunks: one is sent when it is full or its first byte is this
// old.
const (
	chunkSize = 256 << 10
	linger    = 100 * time.Millisecond
	chunkTime = 30 * time.Second // the longest that one try may take
)

// Log sends one log, in order, as chunks.
type Log struct {
	Name  string // for errors
	Spool *Spool
	// Put hands in a chunk with the times at which it was written, and returns how
	// much of it is kept.
	Put func(ctx context.Context, offset int64, chunk []byte, times []muster.Mark) (kept int64, err error)
}

// Ship sends what is written to the spool until the spool is closed and all of
// it acknowledged. An error means that the rest will never be: the writer is
// let go.
func (l *Log) Ship(ctx context.Context) error {
	err := l.ship(ctx)
	if err != nil {
		l.Spool.giveUp(err)
		return fmt.Errorf("ship %s: %w", l.Name, err)
	}
	return nil
}

// ship sends chunk after chunk.
func (l *Log) ship(ctx context.Context) error {
	buffer := make([]byte, chunkSize)
	for {
		if err := l.Spool.wait(ctx, 1, 0); err != nil {
			return err
		}
		if err := l.Spool.wait(ctx, chunkSize, linger); err != nil {
			return err
		}
		offset, n, err := l.Spool.peek(buffer)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		kept, err := l.put(ctx, offset, buffer[:n])
		if err != nil {
			return err
		}
		l.Spool.free(kept)
	}
}

// put sends one chunk until it is acknowledged. Every try sends the same bytes:
// an early one may be kept although its answer was lost.
func (l *Log) put(ctx context.Context, offset int64, chunk []byte) (kept int64, err error) {
	times := l.Spool.times(offset, int64(len(chunk)))
	err = Retry(ctx, func(ctx context.Context) error {
		try, cancel := context.WithTimeout(ctx, chunkTime)
		defer cancel()
		if kept, err = l.Put(try, offset, chunk, times); err != nil {
			return err
		}
		if kept < 1 || kept > int64(len(chunk)) {
			return muster.Errorf(muster.CodeInternal, "the server keeps %d bytes of a chunk of %d", kept, len(chunk))
		}
		return nil
	})
	return kept, err
}
