package api

import (
	"context"
	"errors"
	"io"

	"github.com/muster-ml/muster"
)

// seeker reads a blob from anywhere.
type seeker struct {
	ctx    context.Context
	blobs  muster.Blobs
	key    string
	size   int64
	offset int64
	open   io.ReadCloser // at offset, or nil
}

// Seek moves; it opens nothing.
func (s *seeker) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.offset
	case io.SeekEnd:
		offset += s.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	if offset != s.offset {
		s.Close()
		s.offset = offset
	}
	return offset, nil
}

// Read reads on.
func (s *seeker) Read(p []byte) (int, error) {
	if s.offset >= s.size {
		return 0, io.EOF
	}
	if s.open == nil {
		r, err := s.blobs.Open(s.ctx, s.key, s.offset)
		if err != nil {
			return 0, err
		}
		s.open = r
	}
	n, err := s.open.Read(p)
	s.offset += int64(n)
	return n, err
}

// Close closes what is open.
func (s *seeker) Close() {
	if s.open != nil {
		s.open.Close()
		s.open = nil
	}
}
