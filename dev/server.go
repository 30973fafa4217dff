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

	"github.com/muster-ml/muster"
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
	if err := p.believed(ctx, filepath.Join(folder, "token")); err != nil {
		return err
	}
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

// believed asks whether the server knows the token in its folder.
func (p *Platform) believed(ctx context.Context, file string) error {
	err := p.request(ctx, "GET", "/api/v1/whoami", nil)
	if muster.CodeOf(err) != muster.CodeUnauthenticated {
		return err
	}
	return muster.Errorf(muster.CodeUnauthenticated, "the server of muster dev does not know the token in %s: somebody has revoked it", file).
		WithCure("write the secret of another administrator's token into that file, or begin anew with another folder by --data-dir")
}

// create posts a thing; one that is there already will do. It looks first: a
// start that changes nothing leaves nothing in the audit log. What cannot be made
// as its name was another's is no error: a person has taken it away.
func (p *Platform) create(ctx context.Context, path string, thing map[string]string) error {
	if p.request(ctx, "GET", path+"/"+thing["name"], nil) == nil {
		return nil
	}
	err := p.request(ctx, "POST", path, thing)
	if muster.CodeOf(err) == muster.CodeConflict {
		if p.request(ctx, "GET", path+"/"+thing["name"], nil) != nil {
			p.Lacks = append(p.Lacks, err.Error())
		}
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
		return problem(fmt.Sprintf("%s %s", method, path), resp.Status, text)
	}
	return nil
}

// problem reads what the server answered instead of success.
func problem(asked, status string, text []byte) error {
	var said struct{ Code, Detail, Field, Cure string }
	if err := json.Unmarshal(text, &said); err != nil || said.Code == "" {
		return fmt.Errorf("%s: %s: %s", asked, status, bytes.TrimSpace(text))
	}
	return &muster.Error{Code: muster.Code(said.Code), Message: said.Detail, Field: said.Field, Cure: said.Cure}
}
