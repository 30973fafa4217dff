package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// scrape serves what Prometheus reads.
func (s *Server) scrape() http.Handler {
	return promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{})
}

// observe starts what watches the server until ctx ends: the counting of what
// happens to runs, and the listener for Prometheus where it has its own.
func (s *Server) observe(ctx context.Context, g *errgroup.Group) error {
	last, err := s.store.LastEvent(ctx)
	if err != nil {
		return fmt.Errorf("find the last event: %w", err)
	}
	g.Go(func() error { s.follow(ctx, last, s.count); return nil })
	if s.tracer != nil {
		g.Go(func() error { return s.traceEvents(ctx) })
	}
	if s.scraped == nil {
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.scrape())
	door := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	g.Go(func() error {
		if err := door.Serve(s.scraped); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error { <-ctx.Done(); return door.Close() })
	return nil
}
