package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/muster-ml/muster"
)

// routes leads each request to what answers it.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/api/", s.people)
	mux.Handle("/agent/v1/", s.agents)
	mux.HandleFunc("GET /{$}", welcome)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	if s.scraped == nil {
		mux.Handle("GET /metrics", s.scrape())
	}
	return mux
}

// welcome tells somebody who opens the address in a browser what there is.
func welcome(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintf(w, "Muster %s\n\nThe API is below /api/v1, described by /api/v1/openapi.json.\nHealth: /healthz, /readyz. Prometheus: /metrics.\n", muster.Version)
}

// ready answers whether runs can be taken and started.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	_, seen := s.controller.Sight()
	for what, err := range map[string]error{"store": s.store.Ping(ctx), "nomad": errors.Join(s.nomad.Ping(ctx), seen)} {
		if err != nil {
			http.Error(w, what+": "+err.Error(), http.StatusServiceUnavailable)
			return
		}
	}
	fmt.Fprintln(w, "ok")
	if s.consul == nil {
		return
	}
	if err := s.consul.Registered(); err != nil { // no run waits for Consul
		fmt.Fprintln(w, "consul:", err)
		return
	}
	fmt.Fprintln(w, "consul: ok")
}
