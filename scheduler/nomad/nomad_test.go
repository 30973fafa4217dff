package nomad_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/jobspecs"
	"github.com/muster-ml/muster/scheduler/nomad"
)

// look sees the node, a foreign job by what it takes, and our own.
func look(l *lab) {
	l.must(l.Ping(l.Context()))
	l.foreign("plain", "default", "", nil)
	_, child := l.run(l.launch("look", "ws-look"))
	ours := l.alloc(child)
	s, err := l.Look(l.Context())
	l.must(err)
	if len(s.Nodes) != 1 {
		l.Fatalf("%d nodes", len(s.Nodes))
	}
	n := s.Nodes[0]
	if n.Name != "one" || n.Pool != "pool" || !n.Ready() || n.Total.MHz != muster.Whole(4000) || n.Total.MiB != muster.Whole(4096) || n.Cores <= 0 || n.Total.DiskMiB <= 0 {
		l.Errorf("node %+v", n)
	}
	foreign := l.alloc("plain")
	if foreign.Ours || foreign.NodeID != n.ID || foreign.Used.MHz != muster.Whole(700) || foreign.Used.MiB != muster.Whole(128) {
		l.Errorf("the foreign allocation is %+v", foreign)
	}
	if !ours.Ours || ours.Group != "main" || ours.Index != 0 || ours.NodeName != "one" || ours.Used.MHz != muster.Whole(500) || ours.Used.DiskMiB != muster.Whole(muster.LaunchDiskMiB) || ours.Created.IsZero() {
		l.Errorf("our allocation is %+v", ours)
	}
	if len(s.Jobs) != 1 || s.Jobs[0].ID != child || s.Jobs[0].Launch != "look" || s.Jobs[0].Namespace != "ws-look" || s.Jobs[0].Status != "running" {
		l.Errorf("jobs %+v", s.Jobs)
	}
	l.foreign("over", "default", "true", nil)
	l.eventually("a foreign job that is over is not seen", func() bool {
		allocs, _, err := l.api.Jobs().Allocations("over", true, nil)
		l.must(err)
		return len(allocs) == 1 && allocs[0].ClientStatus == "complete"
	})
	s, err = l.Look(l.Context())
	l.must(err)
	for _, a := range s.Allocs {
		if a.JobID == "over" {
			l.Errorf("seen: %+v", a)
		}
	}
}

// dispatch makes one child, however often and by how many it is asked for.
func dispatch(l *lab) {
	x := l.launch("twice", "ws-twice")
	job, child := l.run(x)
	if !strings.HasPrefix(job, jobspecs.Prefix(installation)) || !strings.HasPrefix(child, job+"/dispatch-twice-") {
		l.Errorf("job %s, child %s", job, child)
	}
	restarted, err := nomad.New(l.config)
	l.must(err)
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			who := l.Nomad
			if i%2 == 1 {
				who = restarted
			}
			if _, again, err := who.Dispatch(l.Context(), x); err != nil || again != child {
				l.Errorf("again: %s, %v", again, err)
			}
		})
	}
	wait.Wait()
	if _, other := l.run(l.launch("other", "ws-twice")); other == child {
		l.Error("two launches are one child")
	}
	s, err := l.Look(l.Context())
	l.must(err)
	if len(s.Jobs) != 2 {
		l.Errorf("%d jobs, want 2: %+v", len(s.Jobs), s.Jobs)
	}
	l.refused(x)
}

// refused asks for what Nomad does not take.
func (l *lab) refused(x *muster.Launch) {
	l.Helper()
	bad := *x
	bad.ID, bad.Namespace = "bad", "not a namespace"
	_, _, err := l.Dispatch(l.Context(), &bad)
	if muster.CodeOf(err) != muster.CodeRefused || !strings.Contains(err.Error(), "Nomad refuses") {
		l.Errorf("a namespace with spaces: %v", err)
	}
}

// unplaced dispatches what has no room, and wants to hear why.
func unplaced(l *lab) {
	why := func(x *muster.Launch) string {
		l.Helper()
		_, child := l.run(x)
		var text string
		l.eventually("Nomad says why", func() bool {
			var err error
			text, err = l.WhyUnplaced(l.Context(), x.Namespace, child)
			l.must(err)
			return strings.Contains(text, "pool")
		})
		return text
	}
	large := l.launch("large", "ws-unplaced")
	large.Each[0].MiB = muster.Whole(9000)
	if text := why(large); text != "1 node in the pool, 0 filtered, 1 exhausted: memory 1" {
		l.Errorf("of one that is too large it says %q", text)
	}
	odd := l.launch("odd", "ws-unplaced")
	odd.Each[0].Devices = []muster.Devices{{Type: "gpu", Count: muster.Whole(1)}}
	if text := why(odd); text != "1 node in the pool, 1 filtered, 0 exhausted: missing devices 1" {
		l.Errorf("of one that wants a GPU it says %q", text)
	}
	fits := l.launch("fits", "ws-unplaced")
	_, child := l.run(fits)
	l.alloc(child)
	if text, err := l.WhyUnplaced(l.Context(), fits.Namespace, child); text != "" || err != nil {
		l.Errorf("of one that is placed it says %q, %v", text, err)
	}
	if text, err := l.WhyUnplaced(l.Context(), fits.Namespace, "nothing"); text != "" || err != nil {
		l.Errorf("of one that does not exist it says %q, %v", text, err)
	}
}

// forgotten takes away what a dispatch has made, and dispatches again.
func forgotten(l *lab) {
	const namespace = "ws-forgotten"
	job, first := l.run(l.launch("f0", namespace))
	q := &api.WriteOptions{Namespace: namespace}
	deregister := func(id string, purge bool) {
		l.Helper()
		_, _, err := l.api.Jobs().Deregister(id, purge, q)
		l.must(err)
	}
	for i, c := range []struct {
		name string
		do   func()
	}{
		{"stopped", func() { deregister(job, false) }},
		{"purged", func() { deregister(job, true) }},
		{"its namespace deleted", func() {
			deregister(first, true)
			deregister(job, true)
			l.eventually("the namespace goes", func() bool {
				jobs, _, err := l.api.Jobs().List(&api.QueryOptions{Namespace: namespace})
				l.must(err)
				for _, j := range jobs {
					deregister(j.ID, true)
				}
				_, err = l.api.Namespaces().Delete(namespace, nil)
				return err == nil
			})
		}},
	} {
		c.do()
		x := l.launch("f"+string(rune('1'+i)), namespace)
		if _, _, err := l.Dispatch(l.Context(), x); err != nil {
			l.Fatalf("after the shape was %s: %v", c.name, err)
		}
		_, child := l.run(x)
		l.alloc(child)
	}
}

// stopJob stops what there is, and is content with what is not.
func stopJob(l *lab) {
	for _, c := range [][2]string{{"default", "nothing"}, {"default", "shape/dispatch-1"}, {"ws-nothing", "nothing"}} {
		for _, purge := range []bool{false, true} {
			if err := l.StopJob(l.Context(), c[0], c[1], purge); err != nil {
				l.Errorf("%s in %s: %v", c[1], c[0], err)
			}
		}
	}
	x := l.launch("stop", "ws-stop")
	_, child := l.run(x)
	l.alloc(child)
	l.must(l.StopJob(l.Context(), x.Namespace, child, false))
	l.eventually("it is stopped", func() bool {
		s, err := l.Look(l.Context())
		l.must(err)
		for _, a := range s.Allocs {
			if a.JobID == child {
				return a.Ended() && a.Desired == "stop" && len(s.Jobs) == 1 && s.Jobs[0].Stopped
			}
		}
		return false
	})
	l.must(l.StopJob(l.Context(), x.Namespace, child, true))
	s, err := l.Look(l.Context())
	l.must(err)
	if len(s.Jobs) != 0 {
		l.Errorf("purged, and still there: %+v", s.Jobs)
	}
}

// watch wakes when something changes, also in a namespace that is made later.
func watch(l *lab) {
	ctx, cancel := context.WithCancel(l.Context())
	defer cancel()
	var wakes, streams atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil { // as the controller does: a stream that ends is opened again
			streams.Add(1)
			if err := l.Watch(ctx, func() { wakes.Add(1) }); err == nil {
				l.Errorf("the stream ended with %v", err)
			}
		}
	}()
	defer func() { cancel(); <-done }()
	quiet := func() int64 {
		before, since := wakes.Load(), time.Now()
		l.eventually("a quiet moment", func() bool {
			if now := wakes.Load(); now != before {
				before, since = now, time.Now()
			}
			return time.Since(since) > 700*time.Millisecond
		})
		return before
	}
	l.eventually("the first wake", func() bool { return wakes.Load() > 0 })
	before := quiet()
	l.foreign("wakes", "default", "", nil)
	l.eventually("a wake by a foreign job", func() bool { return wakes.Load() > before })
	_, child := l.run(l.launch("w1", "ws-made-later"))
	l.alloc(child)
	before = quiet()
	began := time.Now()
	l.must(l.StopJob(l.Context(), "ws-made-later", child, false))
	l.eventually("a wake by a job of the new namespace", func() bool { return wakes.Load() > before })
	if took := time.Since(began); took > 2*time.Second {
		l.Errorf("it took %s", took)
	}
	if n := streams.Load(); n != 2 {
		l.Errorf("%d streams were opened, want one more for the new namespace", n)
	}
}

// away is a Nomad that does not answer: the caller is told so, and soon.
func away(l *lab) {
	config := l.config
	config.Address = "http://127.0.0.1:1"
	gone, err := nomad.New(config)
	l.must(err)
	if err := gone.Watch(l.Context(), func() {}); muster.CodeOf(err) != muster.CodeUnreachable {
		l.Errorf("watch: %v", err)
	}
	unreachable(l, gone)
}

// silent is a Nomad that takes calls and never answers.
func silent(l *lab) {
	hang := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hang.Close()
	config := l.config
	config.Address, config.Limit = hang.URL, 50*time.Millisecond
	mute, err := nomad.New(config)
	l.must(err)
	unreachable(l, mute)
}

// unreachable holds that whatever is said to such a Nomad ends, and how.
func unreachable(l *lab, gone *nomad.Nomad) {
	l.Helper()
	_, _, dispatched := gone.Dispatch(l.Context(), l.launch("x", "ws-x"))
	_, looked := gone.Look(l.Context())
	_, identified := gone.Identify(l.Context(), sign(l.T, newKey(l.T), "", nil))
	_, node := gone.ReadNode(l.Context(), "x")
	_, alloc := gone.ReadAlloc(l.Context(), "ws-x", "x")
	for what, err := range map[string]error{"ping": gone.Ping(l.Context()), "read a node": node, "read an allocation": alloc, "look": looked, "dispatch": dispatched, "identify": identified,
		"stop": gone.StopJob(l.Context(), "ws-x", "x", true)} {
		if muster.CodeOf(err) != muster.CodeUnreachable {
			l.Errorf("%s: %v", what, err)
		}
	}
}

func TestBadAddress(t *testing.T) {
	if _, err := nomad.New(nomad.Config{Address: "http://a b/"}); muster.CodeOf(err) != muster.CodeInvalid {
		t.Errorf("got %v", err)
	}
}
