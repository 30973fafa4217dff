package nomad

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"
)

// measured tells of each call to Nomad: what was asked, how long the answer
// took to begin, and how it failed. An answer that says no is not a failure; one
// of a server in trouble is.
type measured struct {
	http.RoundTripper
	observe func(operation string, took time.Duration, err error)
}

// RoundTrip makes one call.
func (m measured) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	resp, err := m.RoundTripper.RoundTrip(r)
	failed := err
	if err == nil && resp.StatusCode >= 500 {
		failed = fmt.Errorf("status %d", resp.StatusCode)
	}
	if !errors.Is(r.Context().Err(), context.Canceled) { // who hangs up has not been failed by Nomad
		m.observe(operation(r), time.Since(began), failed)
	}
	return resp, err
}

// words are the parts of paths of Nomad's API that are no names of things.
var words = map[string]bool{"allocation": true, "allocations": true, "dispatch": true, "event": true, "job": true, "jobs": true, "jwks.json": true, "leader": true,
	"namespace": true, "namespaces": true, "node": true, "nodes": true, "status": true, "stream": true, "var": true, "vars": true,
	"acl": true, "agent": true, "self": true, "token": true, "pool": true, "pools": true, "regions": true, "health": true, "client": true, "stats": true}

// operation names what is asked, without the names of things: there are few
// operations, and no end of things.
func operation(r *http.Request) string {
	path := strings.TrimPrefix(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "v1/")
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if !words[part] && part != ".well-known" {
			parts[i] = "ID"
		}
	}
	if len(parts) > 2 && parts[0] == "var" {
		parts = parts[:2] // a variable's name has as many parts as it likes
	}
	return r.Method + " " + strings.Join(parts, "/")
}

// measuredClient returns what the library would make by itself, measured.
func measuredClient(c *api.Config, observe func(string, time.Duration, error)) (*http.Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost, t.ForceAttemptHTTP2 = 16, false
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	client := &http.Client{Transport: t}
	if err := api.ConfigureTLS(client, c.TLSConfig); err != nil {
		return nil, err
	}
	client.Transport = measured{client.Transport, observe}
	return client, nil
}
