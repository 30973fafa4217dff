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
	numbered := r
	w.number = max(w.number+1, scaling.Heard+1, time.Now().UnixNano()) // also where the clock is set back
	numbered.Number = w.number
	_, server := w.plugin.present()
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if err := server.ReportMachines(ctx, w.cluster, numbered); err != nil {
		return w.refuse(err)
	}
	if w.refused {
		w.log.Info("the server hears us again")
	}
	w.sent, w.sentAt, w.refused = &r, time.Now(), false
	w.mu.Lock()
	defer w.mu.Unlock()
	w.evicted = slices.DeleteFunc(w.evicted, func(name string) bool { return slices.Contains(r.Evicted, name) })
	return nil
}

// refuse deals with a report that the server does not take. Where it hears another
// autoscaler nothing is scaled, and that is said once.
func (w *worker) refuse(err error) error {
	if muster.CodeOf(err) != muster.CodeConflict {
		return fmt.Errorf("tell of machines: %w", err)
	}
	if !w.refused {
		w.log.Error("another autoscaler has machines in this cluster: nothing is scaled here until it has none; stop one of the two", "folder", w.all.Dir, "source", w.source, "error", err)
	}
	w.sent, w.refused = nil, true
	return nil
}

// present is what there is to tell.
func (w *worker) present(scaling *muster.Scaling) muster.MachineReport {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := muster.MachineReport{Source: w.source, Machines: []muster.Machine{}, Evicted: slices.Clone(w.evicted), Failure: w.failure}
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
