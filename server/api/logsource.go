package api

import (
	"cmp"
	"context"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/muster-ml/muster"
)

// source reads one log from some place on, with the times at which it was
// written. Chunks are read one at a time, when they are needed.
type source struct {
	blobs  muster.Blobs
	id     muster.LogID
	offset int64         // of the next byte
	data   []byte        // from offset on, to the end of a chunk
	marks  []muster.Mark // of data; the first is at offset or before it
	asked  bool          // offset is where a chunk begins, or data is
	dry    bool          // nothing was there in this round of the reader
	at     map[int64]time.Time
}

// fill reads the next chunk when nothing is left of the last one. It reports
// whether there is something; when there is not, it does not look again before
// somebody takes dry back.
func (s *source) fill(ctx context.Context) (bool, error) {
	if len(s.data) > 0 || s.dry {
		return len(s.data) > 0, nil
	}
	some, err := s.look(ctx)
	s.dry = !some && err == nil
	return some, err
}

// look reads the chunk that holds what comes next. It reports whether there is
// one.
func (s *source) look(ctx context.Context) (bool, error) {
	begin := s.offset
	if !s.asked { // a reader may go on anywhere
		chunks, err := s.chunks(ctx)
		if err != nil {
			return false, err
		}
		if i := behind(chunks, s.offset) - 1; i >= 0 && s.offset < chunks[i].Offset+chunks[i].Size {
			begin = chunks[i].Offset
		}
		s.asked = true
	}
	data, marks, err := s.chunk(ctx, begin)
	if err != nil || len(data) == 0 {
		return false, err
	}
	s.data, s.marks = data[min(s.offset-begin, int64(len(data))):], marks
	s.settle()
	return len(s.data) > 0, nil
}

// chunk reads a chunk with its times; none is no error. What an older agent sent
// has no times: then it is as old as its object.
func (s *source) chunk(ctx context.Context, offset int64) ([]byte, []muster.Mark, error) {
	data, err := readAll(ctx, s.blobs, s.id.ChunkKey(offset))
	if err != nil || data == nil {
		return nil, nil, err
	}
	marks, err := s.times(ctx, offset)
	return data, marks, err
}

// times reads the times of a chunk.
func (s *source) times(ctx context.Context, offset int64) ([]muster.Mark, error) {
	text, err := readAll(ctx, s.blobs, s.id.TimesKey(offset))
	if err != nil {
		return nil, err
	}
	if marks, err := muster.ParseMarks(offset, string(text)); text != nil && err == nil {
		return marks, nil
	}
	if _, known := s.at[offset]; !known {
		if _, err := s.chunks(ctx); err != nil {
			return nil, err
		}
	}
	return []muster.Mark{{Offset: offset, Ms: s.at[offset].UnixMilli()}}, nil
}

// readAll reads a small blob; nil is none.
func readAll(ctx context.Context, b muster.Blobs, key string) ([]byte, error) {
	r, err := b.Open(ctx, key, 0)
	if muster.CodeOf(err) == muster.CodeNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// chunks lists the log's chunks without reading them.
func (s *source) chunks(ctx context.Context) (all []muster.Part, err error) {
	s.at = map[int64]time.Time{}
	base := s.id.ChunksKey()
	for o, err := range s.blobs.List(ctx, base) {
		if err != nil {
			return nil, err
		}
		if offset, err := strconv.ParseInt(strings.TrimPrefix(o.Key, base), 10, 64); err == nil {
			all = append(all, muster.Part{Offset: offset, Size: o.Size})
			s.at[offset] = o.At
		}
	}
	return all, nil
}

// behind returns the index of the first chunk that begins behind offset.
func behind(chunks []muster.Part, offset int64) int {
	return sort.Search(len(chunks), func(i int) bool { return chunks[i].Offset > offset })
}

// settle drops the marks that lie behind.
func (s *source) settle() {
	for len(s.marks) > 1 && s.marks[1].Offset <= s.offset {
		s.marks = s.marks[1:]
	}
}

// ms is when the next byte was written; there must be one.
func (s *source) ms() int64 { return s.marks[0].Ms }

// take takes what was written up to a time, at least what the first mark stands
// for.
func (s *source) take(until int64) *muster.Chunk {
	end, marks := s.offset+int64(len(s.data)), 1
	for _, m := range s.marks[1:] {
		if m.Ms > until {
			end = m.Offset
			break
		}
		marks++
	}
	c := &muster.Chunk{Attempt: s.id.Attempt, Instance: s.id.Instance, Stream: s.id.Stream, Offset: s.offset,
		Data: s.data[:end-s.offset], Marks: slices.Clone(s.marks[:marks])}
	c.Marks[0].Offset = s.offset
	s.data, s.offset = s.data[end-s.offset:], end
	s.settle()
	return c
}

// line is where a line begins, and when.
type line struct {
	from   *source
	offset int64
	ms     int64
}

// lines lists where the lines of a chunk begin, whose first byte begins one if
// fresh.
func (s *source) lines(data []byte, marks []muster.Mark, offset int64, fresh bool) (all []line) {
	for i := range data {
		if i == 0 && !fresh || i > 0 && data[i-1] != '\n' {
			continue
		}
		at := offset + int64(i)
		for len(marks) > 1 && marks[1].Offset <= at {
			marks = marks[1:]
		}
		all = append(all, line{s, at, marks[0].Ms})
	}
	return all
}

// last finds the last n lines, reading chunks from the end.
func (s *source) last(ctx context.Context, n int) (all []line, err error) {
	chunks, err := s.chunks(ctx)
	if err != nil {
		return nil, err
	}
	open := false // the chunk behind begins with a line's middle, or a line: this one's last byte tells
	var next line
	for _, c := range slices.Backward(chunks) {
		data, marks, err := s.chunk(ctx, c.Offset)
		if err != nil || len(data) == 0 {
			return nil, err
		}
		if open && data[len(data)-1] == '\n' {
			all = append([]line{next}, all...)
		}
		all = append(s.lines(data, marks, c.Offset, c.Offset == 0), all...)
		if open, next = true, (line{s, c.Offset, marks[0].Ms}); len(all) >= n {
			break
		}
	}
	return all[max(0, len(all)-n):], nil
}

// skipTo goes to the first line that was written at ms or later.
func (s *source) skipTo(ctx context.Context, ms int64) error {
	chunks, err := s.chunks(ctx)
	if err != nil {
		return err
	}
	i := sort.Search(len(chunks), func(i int) bool {
		if err != nil {
			return true
		}
		var marks []muster.Mark
		if marks, err = s.times(ctx, chunks[i].Offset); err != nil {
			return true
		}
		return marks[0].Ms >= ms
	})
	if err != nil {
		return err
	}
	fresh := i <= 1
	for _, c := range chunks[max(0, i-1):] {
		data, marks, err := s.chunk(ctx, c.Offset)
		if err != nil {
			return err
		}
		for _, l := range s.lines(data, marks, c.Offset, fresh) {
			if l.ms >= ms {
				s.offset = l.offset
				return nil
			}
		}
		s.offset = c.Offset + int64(len(data))
		fresh = len(data) > 0 && data[len(data)-1] == '\n'
	}
	return nil
}

// skipToLast goes to the last n lines of all sources together.
func skipToLast(ctx context.Context, sources []*source, n int) error {
	var all []line
	for _, s := range sources {
		own, err := s.last(ctx, n)
		if err != nil {
			return err
		}
		all = append(all, own...)
	}
	slices.SortStableFunc(all, func(a, b line) int { return cmp.Compare(a.ms, b.ms) })
	chosen := map[*source]int64{}
	for _, l := range all[max(0, len(all)-n):] {
		if first, ok := chosen[l.from]; !ok || l.offset < first {
			chosen[l.from] = l.offset
		}
	}
	for _, s := range sources {
		chunks, err := s.chunks(ctx)
		if err != nil {
			return err
		}
		if len(chunks) > 0 {
			end := chunks[len(chunks)-1]
			s.offset = end.Offset + end.Size
		}
		if first, ok := chosen[s]; ok {
			s.offset = first
		}
	}
	return nil
}
