package agentapi

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/muster-ml/muster"
)

// keyLock lets one request at a time write a key.
type keyLock struct {
	sync.Mutex
	users int
}

// lock takes the lock of a key; the caller calls what it returns. Without it a
// chunk that was sent twice could be answered by one try and kept of the other.
func (a *API) lock(key string) (unlock func()) {
	a.mu.Lock()
	l := a.locks[key]
	if l == nil {
		l = &keyLock{}
		a.locks[key] = l
	}
	l.users++
	a.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		a.mu.Lock()
		defer a.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(a.locks, key)
		}
	}
}

// putChunk keeps a piece of a log. One that is kept already stays as it is.
func (a *API) putChunk(w http.ResponseWriter, r *http.Request, c *caller) error {
	stream := muster.Stream(r.PathValue("stream"))
	offset, err := strconv.ParseInt(r.PathValue("offset"), 10, 64)
	if err != nil || offset < 0 || stream != muster.Stdout && stream != muster.Stderr {
		return muster.Errorf(muster.CodeInvalid, "there is no log %s at %s", stream, r.PathValue("offset"))
	}
	data, err := readBody(w, r, muster.MaxChunk)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return muster.Errorf(muster.CodeInvalid, "the chunk is empty")
	}
	log := muster.LogID{RunID: c.launch.RunID, Attempt: c.launch.Attempt, Instance: c.instance.Index, Stream: stream}
	key := log.ChunkKey(offset)
	defer a.lock(key)()
	kept, err := a.Blobs.Size(r.Context(), key)
	if muster.CodeOf(err) == muster.CodeNotFound {
		kept, err = a.keepChunk(r, log, offset, data)
	}
	if err != nil {
		return fmt.Errorf("keep log chunk: %w", err)
	}
	return answer(w, muster.ChunkAnswer{Kept: kept})
}

// keepChunk keeps a chunk, and its times before it: who finds the chunk finds
// them too.
func (a *API) keepChunk(r *http.Request, log muster.LogID, offset int64, data []byte) (kept int64, err error) {
	if times := r.Header.Get(muster.ChunkTimesHeader); times != "" {
		if _, err := muster.ParseMarks(offset, times); err != nil {
			return 0, err
		}
		if _, _, err := a.Blobs.Put(r.Context(), log.TimesKey(offset), "", strings.NewReader(times)); err != nil {
			return 0, err
		}
	}
	kept, _, err = a.Blobs.Put(r.Context(), log.ChunkKey(offset), "", bytes.NewReader(data))
	return kept, err
}

// putArtifact keeps a file that a run produced.
func (a *API) putArtifact(w http.ResponseWriter, r *http.Request, c *caller) error {
	name := r.PathValue("path")
	if err := muster.CheckPath(name); err != nil {
		return err
	}
	want := strings.ToLower(r.Header.Get(muster.ContentSHA256Header))
	if len(want) != sha256.Size*2 {
		return muster.Errorf(muster.CodeInvalid, "the header %s is missing", muster.ContentSHA256Header)
	}
	if r.ContentLength > a.MaxArtifact {
		return muster.Errorf(muster.CodeTooLarge, "%s is larger than %d bytes", name, a.MaxArtifact)
	}
	key := muster.ArtifactKey(c.launch.RunID, c.launch.Attempt, c.instance.Index, name)
	defer a.lock(key)()
	size, sum, err := a.keep(w, r, c, key, want)
	switch {
	case errors.Is(err, muster.ErrDigest):
		return muster.Errorf(muster.CodeInvalid, "%s arrived with another content than its digest says", name).WithCure("send it again")
	case errTooLarge(err):
		return muster.Errorf(muster.CodeTooLarge, "%s is larger than %d bytes", name, a.MaxArtifact)
	case muster.CodeOf(err) == muster.CodeInvalid:
		return muster.Errorf(muster.CodeInvalid, "%s cannot be kept beside what is kept already: where one is a file, the other needs a folder", name).WithCure("give it another name")
	case err != nil:
		return fmt.Errorf("keep artifact: %w", err)
	}
	old, err := a.Artifacts.FindArtifact(r.Context(), c.launch.RunID, name)
	if err != nil && muster.CodeOf(err) != muster.CodeNotFound {
		return fmt.Errorf("keep artifact: %w", err)
	}
	art := &muster.Artifact{Path: name, Size: size, SHA256: sum, Attempt: c.launch.Attempt, Instance: c.instance.Index, CreatedAt: time.Now().UTC()}
	if err := a.Artifacts.PutArtifact(r.Context(), c.launch.RunID, art); err != nil {
		return fmt.Errorf("keep artifact: %w", err)
	}
	a.dropReplaced(r, c, old)
	return answer(w, art)
}

// keep keeps the bytes of an artifact: those of the body, or the parts that came
// before it.
func (a *API) keep(w http.ResponseWriter, r *http.Request, c *caller, key, want string) (size int64, sum string, err error) {
	whole := r.URL.Query().Get("size")
	if whole == "" {
		return a.Blobs.Put(r.Context(), key, want, http.MaxBytesReader(w, r.Body, a.MaxArtifact))
	}
	if size, err = strconv.ParseInt(whole, 10, 64); err != nil || size < 1 || size > a.MaxArtifact || muster.CheckSHA256(want) != nil {
		return 0, "", muster.Errorf(muster.CodeTooLarge, "a file of %s bytes is not kept", whole)
	}
	base := muster.ArtifactPartsKey(c.launch.RunID, c.launch.Attempt, c.instance.Index, want)
	err = muster.JoinParts(r.Context(), a.Blobs, base, key, want, size)
	if muster.CodeOf(err) == muster.CodeConflict {
		err = muster.Errorf(muster.CodeUnreachable, "%v", err) // the agent sends what is missing when it comes again
	}
	return size, want, err
}

// serveUpload gives an upload that the run's spec names, and no other.
func (a *API) serveUpload(w http.ResponseWriter, r *http.Request, c *caller) error {
	run, err := a.FindRun(r.Context(), c.launch.RunID)
	if err != nil {
		return err
	}
	sum := r.PathValue("sha256")
	if !names(&run.Spec, sum) {
		return muster.Errorf(muster.CodeForbidden, "the run does not name the upload %.12s", sum)
	}
	return a.serveBlob(w, r, muster.UploadKey(run.WorkspaceID, sum))
}

// serveBlob gives the bytes at a key.
func (a *API) serveBlob(w http.ResponseWriter, r *http.Request, key string) error {
	size, err := a.Blobs.Size(r.Context(), key)
	if err != nil {
		return err
	}
	body, err := a.Blobs.Open(r.Context(), key, 0)
	if err != nil {
		return err
	}
	defer body.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	if _, err := io.Copy(w, body); err != nil {
		panic(http.ErrAbortHandler) // the header has gone: only a broken connection tells the agent
	}
	return nil
}

// names reports whether the spec names the upload as its code or an input.
func names(s *muster.Spec, sum string) bool {
	if s.Code == muster.UploadRef(sum) {
		return true
	}
	for _, in := range s.Inputs {
		if in.Ref == muster.UploadRef(sum) {
			return true
		}
	}
	return false
}
