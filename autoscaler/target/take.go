package target

import (
	"time"

	"github.com/muster-ml/muster"
)

// take makes somebody take the machine away while the worker goes on.
func (w *worker) take(m *machine, how func() error, evicted bool) {
	w.mu.Lock()
	m.state, m.since = muster.MachineStopping, time.Now()
	w.mu.Unlock()
	w.takers.Go(func() {
		for err := how(); err != nil; err = how() {
			w.log.Error("machine cannot be taken away", "name", m.Name, "error", err)
			select {
			case <-w.plugin.ctx.Done():
				return // who comes next finds it
			case <-time.After(tryAgain):
			}
		}
		w.mu.Lock()
		delete(w.machines, m.Name)
		if evicted {
			w.evicted = append(w.evicted, m.Name)
		}
		w.mu.Unlock()
		w.log.Info("machine is gone", "name", m.Name)
		w.again()
	})
}

// end takes away all of a cluster that is gone.
func (w *worker) end() error {
	w.log.Info("the cluster is gone: its machines stop")
	w.mu.Lock()
	var left []*machine
	for _, m := range w.machines {
		if m.state != muster.MachineStopping {
			left = append(left, m)
		}
	}
	w.mu.Unlock()
	for _, m := range left {
		w.take(m, func() error { return m.Stop(stopWithin, nil) }, false)
	}
	w.takers.Wait()
	return w.all.Forget(w.cluster, faultsFile)
}
