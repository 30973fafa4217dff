package api

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/muster-ml/muster"
)

// inLogs chooses what to read of a run's logs.
type inLogs struct {
	InRun
	Stream    string    `query:"stream" enum:"stdout,stderr,both" default:"both"`
	Attempt   int       `query:"attempt" minimum:"0" doc:"0 is the last, and those to come."`
	Instance  string    `query:"instance" default:"0" doc:"Its number, or all: then they come together, by time."`
	Follow    bool      `query:"follow" default:"true" doc:"Go on until the run's end; else end with what is here."`
	Tail      int       `query:"tail" minimum:"0" maximum:"100000" doc:"Begin with the last lines, that many of all together; 0 is all."`
	Since     time.Time `query:"since" doc:"Begin with the first line that was written then or later."`
	LastEvent string    `header:"Last-Event-ID" doc:"Where a stream goes on: the attempt, then the offsets of stdout and stderr of each instance, with dots between."`
}

// instanceOf returns the instance that is asked for.
func instanceOf(text string) (int, error) {
	if text == "all" {
		return muster.AllInstances, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, muster.Errorf(muster.CodeInvalid, "instance must be a number from 0 on, or all").At("instance")
	}
	return n, nil
}

// position is where a follower of logs is.
type position struct {
	attempt int
	offsets []int64 // of stdout and stderr of each instance that is read
}

// readPosition reads an id; "" is the beginning of an attempt.
func readPosition(id string, attempt int) (*position, error) {
	p := &position{attempt: attempt}
	if id == "" {
		return p, nil
	}
	for i, part := range strings.Split(id, ".") {
		n, err := strconv.ParseInt(part, 10, 64)
		if err != nil || n < 0 {
			return nil, noPlace(id)
		}
		if i == 0 {
			p.attempt = int(n)
			continue
		}
		p.offsets = append(p.offsets, n)
	}
	if len(p.offsets) == 0 || len(p.offsets)%2 != 0 {
		return nil, noPlace(id)
	}
	return p, nil
}

// noPlace refuses an id that no stream of logs gave.
func noPlace(id string) *muster.Error {
	return muster.Errorf(muster.CodeInvalid, "%q is no place in a log", id).At("Last-Event-ID").WithCure("leave it out to begin anew")
}

// followLogs sends chunks as they are acknowledged, through all attempts to
// come, and "end" when the run is over.
func (a *API) followLogs(ctx context.Context, in *inLogs) (*huma.StreamResponse, error) {
	instance, err := instanceOf(in.Instance)
	if err != nil {
		return nil, err
	}
	at, err := readPosition(in.LastEvent, in.Attempt)
	if err != nil {
		return nil, err
	}
	r, attempts, err := a.attempts(ctx, in.InRun)
	if err != nil {
		return nil, err
	}
	first := in.Attempt
	if first == 0 {
		first = len(attempts)
	}
	switch {
	case at.attempt > max(len(attempts), in.Attempt):
		return nil, muster.Errorf(muster.CodeInvalid, "the run has no attempt %d", at.attempt).At("Last-Event-ID").WithCure("leave it out to begin anew")
	case first > 0:
		if err := checkInstance(attempts, first, max(instance, 0)); err != nil {
			return nil, err
		}
		if err := a.logsKept(ctx, r); err != nil {
			return nil, err
		}
	}
	if at.attempt == 0 {
		at.attempt = max(1, len(attempts)) // before the first, all are still to come
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		ctx, end := a.untilClosing(ctx)
		defer end()
		f := &follower{API: a, in: in, instance: instance, at: at, fresh: in.LastEvent == "", out: newSSE(c)}
		if err := f.follow(ctx); err != nil && ctx.Err() == nil {
			a.Logger.Warn("a stream of logs broke off", "error", err)
		}
	}}, nil
}

// follower follows the logs of one instance, or of all.
type follower struct {
	*API
	in       *inLogs
	instance int
	at       *position
	fresh    bool      // nothing was sent to this reader yet: tail and since count
	sources  []*source // of the attempt: stdout and stderr of each instance; nil before it began
	out      *sse
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
		if err := f.open(ctx, r.ID, attempts); err != nil {
			return err
		}
		sent, err := f.all(ctx)
		if err != nil {
			return err
		}
		last := f.at.attempt >= len(attempts)
		switch {
		case sent:
			continue
		case !last && f.in.Follow && f.in.Attempt == 0 && !attempts[f.at.attempt-1].EndedAt.IsZero():
			f.at, f.sources = &position{attempt: f.at.attempt + 1}, nil
			continue
		case !f.in.Follow, r.State.Final(), f.in.Attempt > 0 && !attempts[f.in.Attempt-1].EndedAt.IsZero():
			if err := f.logsKept(ctx, r); err != nil && len(attempts) > 0 {
				return err // removed while they were read
			}
			return f.out.send(f.id(), "end", struct{}{})
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

// open finds the logs of the attempt once it has begun, and where to begin.
func (f *follower) open(ctx context.Context, run int64, attempts []*muster.Attempt) error {
	if f.sources != nil || f.at.attempt > len(attempts) {
		return nil
	}
	from, to := f.instance, f.instance+1
	if f.instance == muster.AllInstances {
		from, to = 0, len(attempts[f.at.attempt-1].Instances)
	}
	for i := from; i < to; i++ {
		for _, stream := range []muster.Stream{muster.Stdout, muster.Stderr} {
			s := &source{blobs: f.Blobs, id: muster.LogID{RunID: run, Attempt: f.at.attempt, Instance: i, Stream: stream}, asked: true}
			if n := len(f.sources); n < len(f.at.offsets) {
				s.offset, s.asked = f.at.offsets[n], f.at.offsets[n] == 0
			}
			f.sources = append(f.sources, s)
		}
	}
	if !f.fresh {
		return nil
	}
	f.fresh = false
	return f.skip(ctx)
}

// read lists the sources that are wanted.
func (f *follower) read() []*source {
	return slices.DeleteFunc(slices.Clone(f.sources), func(s *source) bool { return f.in.Stream != "both" && f.in.Stream != string(s.id.Stream) })
}

// skip goes to where the reader wants to begin.
func (f *follower) skip(ctx context.Context) error {
	if f.in.Tail > 0 {
		if err := skipToLast(ctx, f.read(), f.in.Tail); err != nil {
			return err
		}
	}
	for _, s := range f.read() {
		tailed := s.offset
		if !f.in.Since.IsZero() {
			if err := s.skipTo(ctx, f.in.Since.UnixMilli()); err != nil {
				return err
			}
		}
		s.offset, s.asked = max(s.offset, tailed), false
	}
	return nil
}

// id is the place behind what was sent, as the id of a server-sent event.
func (f *follower) id() string {
	id := fmt.Sprint(f.at.attempt)
	for _, s := range f.sources {
		id += fmt.Sprintf(".%d", s.offset)
	}
	if len(f.sources) == 0 {
		id += ".0.0"
	}
	return id
}

// round is how many chunks are sent, or as many as there are sources, before
// those are asked again that had nothing: that costs a read each.
const round = 64

// all sends what is there, up to a round; sent is false where nothing is. A round
// ends even when one source always has more: the others must not wait for it.
func (f *follower) all(ctx context.Context) (sent bool, err error) {
	for _, s := range f.sources {
		s.dry = false
	}
	for range max(round, len(f.sources)) {
		more, err := f.next(ctx)
		if !more || err != nil {
			return sent, err
		}
		sent = true
	}
	return sent, nil
}

// next sends what was written first of all that is there, up to where another
// source goes on; sent is false where nothing is.
func (f *follower) next(ctx context.Context) (sent bool, err error) {
	var first *source
	until := int64(1<<63 - 1)
	for _, s := range f.read() {
		some, err := s.fill(ctx)
		switch {
		case err != nil:
			return false, err
		case !some:
		case first == nil:
			first = s
		case s.ms() < first.ms():
			first, until = s, first.ms()
		default:
			until = min(until, s.ms())
		}
	}
	if first == nil {
		return false, nil
	}
	c := first.take(until)
	if err := f.out.send(f.id(), "chunk", c); err != nil {
		return false, ctx.Err()
	}
	return true, nil
}
