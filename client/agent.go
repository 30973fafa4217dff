package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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
	Launch   string
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

// learn takes over the servers that an answer names, and keeps the one that
// gave it first.
func (a *Agent) learn(servers []string) {
	if len(servers) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.servers) == 0 {
		a.servers = slices.Clone(servers)
		return
	}
	first := a.servers[0]
	a.servers = append([]string{first}, slices.DeleteFunc(slices.Clone(servers), func(s string) bool { return s == first })...)
}

// call is one request, to whichever server answers it.
type call struct {
	method string
	path   string // below /agent/v1/launches/{launch}/
	header http.Header
	size   int64
	body   func() (io.ReadCloser, error)
}

// inMemory returns the body that data makes.
func inMemory(data []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

// callJSON posts a question and reads the answer.
func (a *Agent) callJSON(ctx context.Context, path string, question, answer any) error {
	data, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	return a.decode(ctx, call{method: http.MethodPost, path: path, header: header, size: int64(len(data)), body: inMemory(data)}, answer)
}

// decode sends a call and reads its answer; nil wants none.
func (a *Agent) decode(ctx context.Context, c call, answer any) error {
	resp, err := a.send(ctx, c)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return muster.Errorf(muster.CodeUnreachable, "the server's answer broke off: %v", err)
	}
	return nil
}

// send tries the known servers in turn and then those that are discovered,
// until one gives an answer that the others would give too.
func (a *Agent) send(ctx context.Context, c call) (*http.Response, error) {
	a.mu.Lock()
	servers := slices.Clone(a.servers)
	a.mu.Unlock()
	resp, err := a.sendTo(ctx, c, servers)
	if !Temporary(err) || a.config.Discover == nil || ctx.Err() != nil {
		return resp, err
	}
	found := slices.DeleteFunc(a.config.Discover(ctx), func(s string) bool { return slices.Contains(servers, s) })
	if len(found) == 0 {
		return resp, err
	}
	return a.sendTo(ctx, c, found)
}

// sendTo tries servers in turn.
func (a *Agent) sendTo(ctx context.Context, c call, servers []string) (*http.Response, error) {
	var errs []error
	for _, server := range servers {
		resp, err := a.try(ctx, c, server)
		if err == nil {
			a.accepted(server)
		}
		if !Temporary(err) || ctx.Err() != nil {
			return resp, err
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return nil, muster.Errorf(muster.CodeUnreachable, "no Muster server is known")
	}
	return nil, errors.Join(errs...)
}

// accepted remembers the server that accepted a call.
func (a *Agent) accepted(server string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reached = time.Now()
	if len(a.servers) == 0 || a.servers[0] != server {
		a.servers = append([]string{server}, slices.DeleteFunc(a.servers, func(s string) bool { return s == server })...)
	}
}

// try sends a call to one server. The error says what it answered.
func (a *Agent) try(ctx context.Context, c call, server string) (*http.Response, error) {
	token, err := a.config.Token()
	if err != nil {
		return nil, fmt.Errorf("read workload identity: %w", err)
	}
	target := fmt.Sprintf("%s/agent/v1/launches/%s/%s", strings.TrimSuffix(server, "/"), url.PathEscape(a.config.Launch), c.path)
	req, err := http.NewRequestWithContext(ctx, c.method, target, nil)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if c.header != nil {
		req.Header = c.header.Clone()
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set(muster.AgentAPIHeader, muster.AgentAPI)
	if c.body != nil {
		if req.Body, err = c.body(); err != nil {
			return nil, muster.Errorf(muster.CodeInvalid, "the file cannot be read: %v", err)
		}
		req.ContentLength = c.size
		if c.size == 0 {
			_ = req.Body.Close()
			req.Body = http.NoBody
		}
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, muster.Errorf(muster.CodeUnreachable, "no answer from %s: %v", server, err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, agentProblem(server, resp)
}

// agentProblem reads what a server answered instead of success.
func agentProblem(server string, resp *http.Response) error {
	var p struct{ Code, Detail, Field, Cure string }
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err := json.Unmarshal(text, &p); err != nil || p.Code == "" {
		return muster.Errorf(muster.CodeUnreachable, "%s answered %s, and not as a Muster server does", server, resp.Status)
	}
	said := &muster.Error{Code: muster.Code(p.Code), Message: p.Detail, Field: p.Field, Cure: p.Cure}
	if said.Code == muster.CodeInternal {
		return serverError{said}
	}
	return said
}
