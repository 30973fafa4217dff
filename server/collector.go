package server

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/muster-ml/muster"
)

// agentSilence is how long an agent may be silent and still counts as heard: it
// reports at least once a minute, and its times are kept every ten seconds.
const agentSilence = 90 * time.Second

var (
	runsDesc   = prometheus.NewDesc("muster_runs", "Runs by state.", []string{"state"}, nil)
	queueDesc  = prometheus.NewDesc("muster_queue_runs", "Runs that wait.", []string{"workspace", "cluster", "reason"}, nil)
	oldestDesc = prometheus.NewDesc("muster_queue_oldest_seconds", "How long the first of the runs that wait has waited.", []string{"workspace", "cluster", "reason"}, nil)
	leaderDesc = prometheus.NewDesc("muster_leader", "1 while this server leads.", nil, nil)
	termDesc   = prometheus.NewDesc("muster_leader_term", "The term in which this server leads or led last.", nil, nil)
	sightDesc  = prometheus.NewDesc("muster_nomad_seen_age_seconds", "How long ago Nomad was last listed.", nil, nil)
	agentsDesc = prometheus.NewDesc("muster_agents_heard", "Agents of runs that go on, heard of within 90 seconds.", nil, nil)
	freeDesc   = prometheus.NewDesc("muster_data_free_bytes", "Free bytes of the disk with the data folder.", nil, nil)
	sizeDesc   = prometheus.NewDesc("muster_data_size_bytes", "Size of the disk with the data folder.", nil, nil)
)

// collector reads the server's own numbers when it is asked.
type collector struct{ s *Server }

// Describe names the numbers.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{runsDesc, queueDesc, oldestDesc, leaderDesc, termDesc, sightDesc, agentsDesc, freeDesc, sizeDesc} {
		ch <- d
	}
}

// Collect reads the numbers. One that cannot be read makes the answer an error.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c.collectRuns(ctx, ch)
	c.collectQueue(ctx, ch)
	leader := 0.0
	if c.s.controller.Leading() {
		leader = 1
	}
	gauge(ch, leaderDesc, leader)
	gauge(ch, termDesc, float64(c.s.controller.Term()))
	if sight, err := c.s.controller.Sight(); err == nil {
		gauge(ch, sightDesc, time.Since(sight.At).Seconds())
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(c.s.DataDir, &disk); err != nil {
		ch <- prometheus.NewInvalidMetric(freeDesc, err)
		return
	}
	gauge(ch, freeDesc, float64(disk.Bavail)*float64(disk.Bsize))
	gauge(ch, sizeDesc, float64(disk.Blocks)*float64(disk.Bsize))
}

// collectRuns counts runs and agents.
func (c collector) collectRuns(ctx context.Context, ch chan<- prometheus.Metric) {
	counts, err := c.s.store.CountRuns(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(runsDesc, err)
		return
	}
	for _, state := range muster.RunStates() {
		gauge(ch, runsDesc, float64(counts[state]), string(state))
	}
	agents, err := c.s.store.CountAgents(ctx, time.Now().Add(-agentSilence))
	if err != nil {
		ch <- prometheus.NewInvalidMetric(agentsDesc, err)
		return
	}
	gauge(ch, agentsDesc, float64(agents))
}

// collectQueue counts those who wait. While Nomad is away that is why all of
// them do.
func (c collector) collectQueue(ctx context.Context, ch chan<- prometheus.Metric) {
	queues, err := c.s.store.QueueDepths(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(queueDesc, err)
		return
	}
	type key struct{ workspace, cluster, reason string }
	runs, oldest := map[key]int{}, map[key]time.Time{}
	for _, q := range queues {
		k := key{q.Workspace, q.Cluster, string(q.Reason)}
		if away := c.s.controller.Away(); away != nil {
			k.reason = string(away.Code)
		}
		runs[k] += q.Runs
		if t, known := oldest[k]; !known || q.Oldest.Before(t) {
			oldest[k] = q.Oldest
		}
	}
	for k, n := range runs {
		gauge(ch, queueDesc, float64(n), k.workspace, k.cluster, k.reason)
		gauge(ch, oldestDesc, time.Since(oldest[k]).Seconds(), k.workspace, k.cluster, k.reason)
	}
}

// gauge tells of one number.
func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}
