package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/muster-ml/muster"
)

// base is what the paths of a caller's requests begin with.
func (c *AgentConfig) base() string {
	if c.Cluster != "" {
		return "/agent/v1/nodes/" + url.PathEscape(c.Cluster) + "/"
	}
	return "/agent/v1/launches/" + url.PathEscape(c.Launch) + "/"
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
	path   string // below the caller's own: see AgentConfig.base
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
	target := strings.TrimSuffix(server, "/") + a.config.base() + c.path
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
