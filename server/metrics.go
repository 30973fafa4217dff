package server

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

var (
	runsDesc   = prometheus.NewDesc("muster_runs", "Runs by state.", []string{"state"}, nil)
	leaderDesc = prometheus.NewDesc("muster_leader", "1 while this server leads.", nil, nil)
	sightDesc  = prometheus.NewDesc("muster_nomad_seen_age_seconds", "How long ago Nomad was last listed.", nil, nil)
)

// metrics serves what Prometheus reads.
func (s *Server) metrics() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collector{s})
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// collector reads the server's own numbers when it is asked.
type collector struct{ s *Server }

// Describe names the numbers.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{runsDesc, leaderDesc, sightDesc} {
		ch <- d
	}
}

// Collect reads the numbers.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	counts, err := c.s.store.CountRuns(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(runsDesc, err)
	}
	for state, n := range counts {
		ch <- prometheus.MustNewConstMetric(runsDesc, prometheus.GaugeValue, float64(n), string(state))
	}
	leader := 0.0
	if c.s.controller.Leading() {
		leader = 1
	}
	ch <- prometheus.MustNewConstMetric(leaderDesc, prometheus.GaugeValue, leader)
	if sight, err := c.s.controller.Sight(); err == nil {
		ch <- prometheus.MustNewConstMetric(sightDesc, prometheus.GaugeValue, time.Since(sight.At).Seconds())
	}
}
