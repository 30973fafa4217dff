package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/muster-ml/muster"
)

// AgentConfig says who an agent is and where its servers are.
type AgentConfig struct {
	Launch   string                             // of a run's agent
	Cluster  string                             // of a node's agent
	Instance int                                // known after the claim: see Assigned
	Servers  []string                           // URLs
	Token    func() (string, error)             // read anew for every call: Nomad renews it
	Discover func(ctx context.Context) []string // more servers, asked when none of the known ones answers; may be nil
}

// Agent is the client of the agents' API. Each call goes to the server that
// answered last, then to the others; it is tried once at each. An error that a
// later try may cure is Temporary.
type Agent struct {
	config AgentConfig
	http   *http.Client

	mu      sync.Mutex
	servers []string // the one that answered last first
	reached time.Time
}

// NewAgent makes the client.
func NewAgent(c AgentConfig) *Agent {
	return &Agent{config: c, servers: slices.Clone(c.Servers), http: &http.Client{Transport: &http.Transport{
		DialContext: Dial(2 * time.Minute), ResponseHeaderTimeout: 90 * time.Second, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute,
	}}}
}

// Temporary reports whether a call that ended in err may end better later.
func Temporary(err error) bool {
	switch muster.CodeOf(err) {
	case muster.CodeInternal, muster.CodeUnreachable, muster.CodeUnauthenticated:
		return true
	}
	return false
}

// Failed reports whether a server was reached that then met an error of its
// own: unlike one that is away, it may do so for ever.
func Failed(err error) bool {
	_, failed := errors.AsType[serverError](err)
	return failed
}

// serverError is a server's answer that it met an error of its own.
type serverError struct{ error }

// Unwrap returns what the server said.
func (e serverError) Unwrap() error { return e.error }

// Reached returns when a server last accepted a call; zero for never.
func (a *Agent) Reached() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.reached
}

// Claim claims the instance of this allocation.
func (a *Agent) Claim(ctx context.Context, r *muster.ClaimRequest) (*muster.Assignment, error) {
	var answer muster.Assignment
	if err := a.callJSON(ctx, "claim", r, &answer); err != nil {
		return nil, err
	}
	a.learn(answer.Servers)
	a.config.Instance = answer.Instance
	return &answer, nil
}

// Report tells what the instance does and hears what is wanted of it.
func (a *Agent) Report(ctx context.Context, r *muster.Report) (*muster.Orders, error) {
	var answer muster.Orders
	if err := a.callJSON(ctx, "report", r, &answer); err != nil {
		return nil, err
	}
	a.learn(answer.Servers)
	return &answer, nil
}

// LogMetrics hands in a batch of metrics.
func (a *Agent) LogMetrics(ctx context.Context, r *muster.MetricsReport) error {
	return a.callJSON(ctx, "metrics", r, nil)
}

// Upload returns the bytes of an upload that the spec names.
func (a *Agent) Upload(ctx context.Context, sha256 string) (io.ReadCloser, error) {
	resp, err := a.send(ctx, call{method: http.MethodGet, path: "uploads/" + sha256})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// PutChunk hands in a piece of a log, with the times at which it was written,
// and returns how much of it is kept.
func (a *Agent) PutChunk(ctx context.Context, stream muster.Stream, offset int64, data []byte, times []muster.Mark) (kept int64, err error) {
	var answer muster.ChunkAnswer
	path := fmt.Sprintf("instances/%d/logs/%s/%d", a.config.Instance, stream, offset)
	err = a.decode(ctx, call{method: http.MethodPut, path: path, size: int64(len(data)), body: inMemory(data),
		header: http.Header{muster.ChunkTimesHeader: {muster.FormatMarks(offset, times)}}}, &answer)
	return answer.Kept, err
}

// File is an artifact on its way to the server.
type File struct {
	Path   string // in the run
	Size   int64
	SHA256 string
	Open   func() (io.ReadCloser, error)              // called once a try
	OpenAt func(p muster.Part) (io.ReadCloser, error) // opens a part; nil where the file goes in one piece
}

// PutArtifact hands in a file.
func (a *Agent) PutArtifact(ctx context.Context, f File) (*muster.Artifact, error) {
	path := fmt.Sprintf("instances/%d/artifacts/%s", a.config.Instance, escapePath(f.Path))
	header := http.Header{muster.ContentSHA256Header: {f.SHA256}}
	var answer muster.Artifact
	if f.OpenAt != nil && f.Size > muster.PartSize {
		if err := a.putParts(ctx, f); err != nil {
			return nil, err
		}
		err := a.decode(ctx, call{method: http.MethodPut, path: fmt.Sprintf("%s?size=%d", path, f.Size), header: header}, &answer)
		return &answer, err
	}
	if err := a.decode(ctx, call{method: http.MethodPut, path: path, header: header, size: f.Size, body: f.Open}, &answer); err != nil {
		return nil, err
	}
	return &answer, nil
}

// Checkpoint lists the files of the instance's checkpoint folder that are kept.
func (a *Agent) Checkpoint(ctx context.Context) (all []*muster.Artifact, err error) {
	for cursor := ""; ; {
		var page muster.ArtifactPage
		path := fmt.Sprintf("instances/%d/checkpoint?cursor=%s", a.config.Instance, url.QueryEscape(cursor))
		if err := a.decode(ctx, call{method: http.MethodGet, path: path}, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Artifacts...)
		if cursor = page.Next; cursor == "" {
			return all, nil
		}
	}
}

// OpenCheckpoint returns the bytes of one of them.
func (a *Agent) OpenCheckpoint(ctx context.Context, path string) (io.ReadCloser, error) {
	resp, err := a.send(ctx, call{method: http.MethodGet, path: fmt.Sprintf("instances/%d/checkpoint/%s", a.config.Instance, escapePath(path))})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// DropCheckpoint forgets one of them.
func (a *Agent) DropCheckpoint(ctx context.Context, path string) error {
	return a.decode(ctx, call{method: http.MethodDelete, path: fmt.Sprintf("instances/%d/checkpoint/%s", a.config.Instance, escapePath(path))}, nil)
}

// escapePath escapes each part of a path.
func escapePath(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return strings.Join(segments, "/")
}

// putParts hands in the parts of a file that are not kept yet.
func (a *Agent) putParts(ctx context.Context, f File) error {
	at := fmt.Sprintf("instances/%d/parts/%s", a.config.Instance, f.SHA256)
	var kept muster.Parts
	if err := a.decode(ctx, call{method: http.MethodGet, path: at}, &kept); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(uploading)
	for _, p := range kept.Missing(f.Size) {
		g.Go(func() error {
			sum, err := digestOf(f, p)
			if err != nil {
				return muster.Errorf(muster.CodeInvalid, "the file cannot be read: %v", err)
			}
			return a.decode(ctx, call{method: http.MethodPut, path: fmt.Sprintf("%s/%d", at, p.Offset), header: http.Header{muster.ContentSHA256Header: {sum}},
				size: p.Size, body: func() (io.ReadCloser, error) { return f.OpenAt(p) }}, nil)
		})
	}
	return g.Wait()
}

// digestOf reads a part through.
func digestOf(f File, p muster.Part) (string, error) {
	r, err := f.OpenAt(p)
	if err != nil {
		return "", err
	}
	defer r.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
