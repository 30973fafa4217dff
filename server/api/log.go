package api

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/muster-ml/muster"
)

// position is where a follower of logs is.
type position struct {
	attempt int
	offset  map[muster.Stream]int64
}

// id writes the position as the id of a server-sent event.
func (p *position) id() string {
	return fmt.Sprintf("%d.%d.%d", p.attempt, p.offset[muster.Stdout], p.offset[muster.Stderr])
}

// readPosition reads an id; "" is the beginning of an attempt.
func readPosition(id string, attempt int) (*position, error) {
	p := &position{attempt: attempt, offset: map[muster.Stream]int64{}}
	if id == "" {
		return p, nil
	}
	var out, errs int64
	if n, err := fmt.Sscanf(id, "%d.%d.%d", &p.attempt, &out, &errs); n != 3 || err != nil || p.attempt < 0 || out < 0 || errs < 0 {
		return nil, muster.Errorf(muster.CodeInvalid, "%q is no place in a log", id).At("Last-Event-ID")
	}
	p.offset[muster.Stdout], p.offset[muster.Stderr] = out, errs
	return p, nil
}

// followLogs sends chunks as they are acknowledged, through all attempts to
// come, and "end" when the run is over.
func (a *API) followLogs(ctx context.Context, in *inLogs) (*huma.StreamResponse, error) {
	at, err := readPosition(in.LastEvent, in.Attempt)
	if err != nil {
		return nil, err
	}
	_, attempts, err := a.attempts(ctx, in.InRun)
	if err != nil {
		return nil, err
	}
	switch {
	case at.attempt > max(len(attempts), in.Attempt):
		return nil, muster.Errorf(muster.CodeInvalid, "the run has no attempt %d", at.attempt).At("Last-Event-ID").WithCure("leave it out to begin anew")
	case in.Attempt > 0 || len(attempts) > 0:
		if err := checkInstance(attempts, cmp.Or(in.Attempt, len(attempts)), in.Instance); err != nil {
			return nil, err
		}
	}
	if at.attempt == 0 {
		at.attempt = max(1, len(attempts)) // before the first, all are still to come
	}
	streams := []muster.Stream{muster.Stdout, muster.Stderr}
	if in.Stream != "both" {
		streams = []muster.Stream{muster.Stream(in.Stream)}
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		ctx, end := a.untilClosing(ctx)
		defer end()
		f := &follower{API: a, in: in, at: at, streams: streams, out: newSSE(c)}
		if err := f.follow(ctx); err != nil && ctx.Err() == nil {
			a.Logger.Warn("a stream of logs broke off", "error", err)
		}
	}}, nil
}

// follower follows the logs of one instance.
type follower struct {
	*API
	in      *inLogs
	at      *position
	streams []muster.Stream
	out     *sse
}

// follow sends until the run is over or the reader is gone.
func (f *follower) follow(ctx context.Context) error {
	for {
		// Whether more can come is asked before what there is: what is there
		// once an attempt is over is all of it.
		r, attempts, err := f.attempts(ctx, f.in.InRun)
		if err != nil {
			return err
		}
		sent, err := f.chunks(ctx, r.ID)
		if err != nil {
			return err
		}
		last := f.at.attempt >= len(attempts)
		switch {
		case sent:
			continue
		case !last && f.in.Attempt == 0 && !attempts[f.at.attempt-1].EndedAt.IsZero():
			f.at = &position{attempt: f.at.attempt + 1, offset: map[muster.Stream]int64{}}
			continue
		case r.State.Final(), f.in.Attempt > 0 && !attempts[f.in.Attempt-1].EndedAt.IsZero():
			return f.out.send(f.at.id(), "end", struct{}{})
		}
		if err := f.out.beat(); err != nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(chunkPoll):
		}
	}
}

// chunks sends the next chunk of each stream; sent is false where there is none.
func (f *follower) chunks(ctx context.Context, run int64) (sent bool, err error) {
	for _, s := range f.streams {
		var data bytes.Buffer
		offset := f.at.offset[s]
		id := muster.LogID{RunID: run, Attempt: f.at.attempt, Instance: f.in.Instance, Stream: s}
		n, err := f.copyChunk(ctx, &data, id, offset)
		if err != nil {
			return sent, err
		}
		if n == 0 {
			continue
		}
		f.at.offset[s] += n
		sent = true
		if err := f.out.send(f.at.id(), "chunk", muster.Chunk{Attempt: id.Attempt, Instance: id.Instance, Stream: s, Offset: offset, Data: data.Bytes()}); err != nil {
			return sent, ctx.Err()
		}
	}
	return sent, nil
}
