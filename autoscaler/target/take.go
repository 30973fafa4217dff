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

// deny looks at the server's answer, and reports whether the cluster is gone: the
// server knows none of the name, and no machine is here. While there is one that
// is no reason to end it. The server drops a cluster after its last machine, so
// that this server may be another, or have lost what it knew.
func (w *worker) deny(answer error) (gone bool) {
	if muster.CodeOf(answer) != muster.CodeNotFound {
		w.denied = false
		return false
	}
	w.mu.Lock()
	n := len(w.machines)
	w.mu.Unlock()
	if n > 0 && !w.denied {
		w.denied = true
		w.log.Error("the server knows no such cluster: its machines stay as they are; muster-autoscaler clear ends them", "machines", n)
	}
	return n == 0
}
