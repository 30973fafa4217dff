package dev

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/muster-ml/muster/engines"
)

// web speaks to our own server: no proxy stands between.
var web = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}

// startServer starts the Muster server, leaves its address and token where the
// CLI looks for them, and makes what a newcomer needs.
func (p *Platform) startServer(ctx context.Context) error {
	folder, listen := filepath.Join(p.DataDir, "server"), fmt.Sprintf("127.0.0.1:%d", p.state.port("server"))
	p.Addr = "http://" + listen
	argv := append(slices.Clone(p.config.Command), "--data-dir", folder, "--listen", listen,
		"--nomad-addr", p.NomadAddr, "--consul-addr", p.ConsulAddr, "--agent-binary", p.config.Agent, "--site", "default")
	service := &engines.Service{
		Command: engines.Command{Name: Server, Argv: append(argv, p.config.ServerArgs...), Log: p.log(Server), Note: filepath.Join(folder, "process.json")},
		Ready:   func(ctx context.Context) error { return p.request(ctx, "GET", "/readyz", nil) },
		Grace:   15 * time.Second,
	}
	if err := p.start(ctx, service); err != nil {
		return err
	}
	token, err := os.ReadFile(filepath.Join(folder, "token"))
	if err != nil {
		return fmt.Errorf("read the server's token: %w", err)
	}
	p.Token = strings.TrimSpace(string(token))
	if err := writeFile(filepath.Join(p.DataDir, "token"), token); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(p.DataDir, "addr"), []byte(p.Addr+"\n")); err != nil {
		return err
	}
	if err := p.create(ctx, "/api/v1/clusters", map[string]string{"name": "local", "node_pool": "local"}); err != nil {
		return err
	}
	return p.create(ctx, "/api/v1/workspaces", map[string]string{"name": "default", "default_cluster": "local"})
}

// refused is an answer other than 2xx.
type refused struct {
	status int
	text   string
}

func (r refused) Error() string { return r.text }

// create posts a thing; one that is there already will do. It looks first: a
// start that changes nothing leaves nothing in the audit log.
func (p *Platform) create(ctx context.Context, path string, thing map[string]string) error {
	if p.request(ctx, "GET", path+"/"+thing["name"], nil) == nil {
		return nil
	}
	err := p.request(ctx, "POST", path, thing)
	if r, ok := err.(refused); ok && r.status == http.StatusConflict {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", thing["name"], err)
	}
	return nil
}

// request sends one request to the server, with a body if there is one.
func (p *Platform) request(ctx context.Context, method, path string, body any) error {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, p.Addr+path, content)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if p.Token != "" {
		req.Header.Set("Authorization", "Bearer "+p.Token)
	}
	resp, err := web.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return refused{resp.StatusCode, fmt.Sprintf("%s %s: %s: %s", method, path, resp.Status, strings.TrimSpace(string(text)))}
	}
	return nil
}
