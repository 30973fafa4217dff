package artifact

import (
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"

	"github.com/muster-ml/muster"
)

// source is what a store reads of bytes that it is to keep. Where they break
// off, or turn out at their end to be others than were promised, it makes the
// store drop what it has.
type source struct {
	from io.Reader
	want string // SHA-256 in hex; "" is any
	hash hash.Hash
	drop func()       // ends the store's context: it keeps nothing then
	sync func() error // makes what was written durable; nil where the store does that
	size int64
	err  error // how it ended: io.EOF is well
}

// Read reads on.
func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.from.Read(p)
	s.hash.Write(p[:n])
	s.size += int64(n)
	switch {
	case err == io.EOF && n > 0:
		return n, nil // all of it is to be written before the end is looked at
	case err == io.EOF:
		err = s.end()
	}
	if s.err = err; err != nil && err != io.EOF {
		s.drop()
	}
	return n, err
}

// end looks at what has been read and written once there is no more.
func (s *source) end() error {
	if s.want != "" && s.sum() != s.want {
		return muster.ErrDigest
	}
	if s.sync != nil {
		if err := s.sync(); err != nil {
			return err
		}
	}
	return io.EOF
}

// sum returns the SHA-256 of what was read.
func (s *source) sum() string { return hex.EncodeToString(s.hash.Sum(nil)) }

// syncFile finds the file that a folder writes to: it syncs nothing itself.
func (s *source) syncFile(as func(any) bool) error {
	var file *os.File
	if !as(&file) {
		return errors.New("the store writes no file")
	}
	s.sync = file.Sync
	return nil
}
