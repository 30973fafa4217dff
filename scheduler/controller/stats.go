package controller

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/muster-ml/muster"
)

const (
	statsSettle   = 500 * time.Millisecond // how long the stats loop lets rings gather
	statsPatience = 5 * time.Second        // how long all answers of a node may take
	statsAtOnce   = 8                      // nodes that are asked at a time
	statsBatch    = 100                    // samples of one transaction: others write in between
)

// stats samples what instances use whose command runs: all of them together
// every StatsEvery, and one that is new at once.
func (k *Controller) stats(ctx context.Context, ledger muster.Ledger) (time.Duration, error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(statsSettle):
	}
	live, err := ledger.ListLive(ctx)
	if err != nil {
		return 0, err
	}
	due := k.due(live)
	samples := k.sample(ctx, due)
	for batch := range slices.Chunk(samples, statsBatch) {
		if err := ledger.KeepStats(ctx, batch); err != nil {
			return 0, err
		}
	}
	if len(k.sampled) == 0 {
		return 0, nil
	}
	return max(k.StatsEvery-time.Since(k.sampledAll)-statsSettle, time.Millisecond), nil
}

// metered is an instance that is to be sampled.
type metered struct {
	launch   *muster.Launch
	instance *muster.Instance
	devices  []string // ids of those that its allocation was given
}

// due returns the instances to sample now, by node.
func (k *Controller) due(live []*muster.Launch) map[string][]metered {
	every := time.Since(k.sampledAll) >= k.StatsEvery
	now, due := map[muster.InstanceID]bool{}, map[string][]metered{}
	for _, l := range live {
		for i := range l.Instances {
			in := &l.Instances[i]
			if l.State != muster.LaunchDispatched || in.AllocID == "" || in.Phase != muster.PhaseCommand {
				continue
			}
			id := muster.InstanceID{Launch: l.ID, Index: in.Index}
			if now[id] = true; every || !k.sampled[id] {
				due[in.NodeID] = append(due[in.NodeID], metered{launch: l, instance: in})
			}
		}
	}
	if k.sampled = now; every {
		k.sampledAll = time.Now()
	}
	return due
}

// sample asks the nodes. One that is known to be away is not asked, and one that
// does not answer in time is passed over: its samples are missing, and nothing
// else.
func (k *Controller) sample(ctx context.Context, due map[string][]metered) (samples []muster.StatSample) {
	away, devices := map[string]bool{}, map[string][]string{}
	if seen := k.sight.Load(); seen != nil {
		for _, n := range seen.Nodes {
			away[n.ID] = n.Status != "ready"
		}
		for _, a := range seen.Allocs {
			devices[a.ID] = a.Devices
		}
	}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(statsAtOnce)
	for node, instances := range due {
		if away[node] {
			continue
		}
		for i := range instances {
			instances[i].devices = devices[instances[i].instance.AllocID]
		}
		g.Go(func() error {
			all := k.sampleNode(ctx, node, instances)
			mu.Lock()
			defer mu.Unlock()
			samples = append(samples, all...)
			return nil
		})
	}
	_ = g.Wait() // no node fails the others
	return samples
}

// sampleNode asks a node what it and its devices do, once, and then what each of
// its instances does.
func (k *Controller) sampleNode(ctx context.Context, node string, instances []metered) (samples []muster.StatSample) {
	ctx, cancel := context.WithTimeout(ctx, statsPatience)
	defer cancel()
	seen, err := k.Engine.ReadNode(ctx, node)
	if err != nil {
		k.Log.Debug("no statistics", "node", node, "error", err)
		return nil
	}
	for _, m := range instances {
		all, err := k.Engine.ReadAlloc(ctx, m.launch.Namespace, m.instance.AllocID)
		if err != nil {
			k.Log.Debug("no statistics", "node", node, "allocation", m.instance.AllocID, "error", err) // it may have ended
			continue
		}
		all = append(all, seen.Node...)
		for _, id := range m.devices {
			all = append(all, seen.Devices[id]...)
		}
		samples = append(samples, muster.StatSample{RunID: m.launch.RunID, Attempt: m.launch.Attempt, Instance: m.instance.Index, At: time.Now(), Readings: all})
	}
	return samples
}
