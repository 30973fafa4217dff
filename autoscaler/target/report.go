package target

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/muster-ml/muster"
)

// tellEvery is how often the server hears of machines when nothing changes.
const tellEvery = 10 * time.Second

// report tells the server of the machines, when something has changed or it has
// not heard for a while.
func (w *worker) report(ctx context.Context, scaling *muster.Scaling) error {
	r := w.present(scaling)
	if w.sent != nil && reflect.DeepEqual(r, *w.sent) && time.Since(w.sentAt) < tellEvery {
		return nil
	}
	_, server := w.plugin.present()
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if err := server.ReportMachines(ctx, w.cluster, r); err != nil {
		return fmt.Errorf("tell of machines: %w", err)
	}
	w.sent, w.sentAt = &r, time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.evicted = slices.DeleteFunc(w.evicted, func(name string) bool { return slices.Contains(r.Evicted, name) })
	return nil
}

// present is what there is to tell.
func (w *worker) present(scaling *muster.Scaling) muster.MachineReport {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := muster.MachineReport{Machines: []muster.Machine{}, Evicted: slices.Clone(w.evicted), Failure: w.failure}
	for name, m := range w.machines {
		r.Machines = append(r.Machines, muster.Machine{Name: name, State: m.state, Since: m.since})
	}
	slices.SortFunc(r.Machines, func(a, b muster.Machine) int { return strings.Compare(a.Name, b.Name) })
	// Who took a machine may have died before he could tell.
	for _, e := range scaling.Evict {
		if w.machines[e.Machine] == nil && !e.At.After(time.Now()) {
			r.Evicted = append(r.Evicted, e.Machine)
		}
	}
	slices.Sort(r.Evicted)
	r.Evicted = slices.Compact(r.Evicted)
	return r
}
