package api_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/muster-ml/muster"
)

// fill makes n runs that differ in what they can be sorted by.
func (d *door) fill(prefix string, n int) {
	d.Helper()
	all := make([]muster.NewRun, n)
	for i := range all {
		r := &muster.Run{Workspace: "w", Experiment: fmt.Sprintf("e%d", i%3), Name: fmt.Sprintf("%s-%d", prefix, (i*7919)%n), Cluster: "c", Tags: map[string]string{"i": fmt.Sprint(i % 10)}}
		r.Spec.Command, r.Spec.Priority = "a", 1+i%50
		r.Spec.Complete()
		all[i] = muster.NewRun{Run: r}
	}
	d.must(d.store.CreateRuns(d.Context(), all, muster.Origin{Actor: "anna"}))
}

// page reads one page of runs.
func (d *door) page(query, cursor string) *muster.RunPage {
	d.Helper()
	resp, text := d.call("GET", runs+"?"+query+"&cursor="+url.QueryEscape(cursor), "")
	if resp.StatusCode != 200 {
		d.Fatalf("%s: %s", query, text)
	}
	page := &muster.RunPage{}
	d.must(json.Unmarshal([]byte(text), page))
	return page
}

// stir makes runs arrive and change: the oldest ten that wait begin, and ten
// that wait end.
func (d *door) stir(l *leader, sort string, turn int) {
	d.Helper()
	d.fill(fmt.Sprintf("new%s%d", sort, turn), 10)
	waiting, _, err := d.store.ListQueue(d.Context(), "c", 20)
	d.must(err)
	for _, r := range waiting[:3] {
		x := l.admit(r)
		l.end(x, muster.LaunchPurged, muster.OutcomeSucceeded, muster.RunStarting, muster.RunRunning, muster.RunSucceeded)
	}
	for _, r := range waiting[3:10] {
		d.must(d.store.RequestStop(d.Context(), "w", r.Name, muster.Origin{Actor: "anna"}))
	}
	_, err = l.StopQueued(d.Context())
	d.must(err)
}

// TestListStands lists 5,000 runs by 50 while 500 arrive and 500 change: every
// run that was there comes once, and nothing else. The other sorts do with less.
func TestListStands(t *testing.T) {
	open(t).listStands("-state", 5000, 50)
	few := open(t)
	for _, sort := range []string{"-created", "created", "name", "state", "queued", "priority", "started", "-started", "ended", "-ended"} {
		few.listStands(sort, 200, 5)
	}
}

// listStands makes n runs and lists all that there are by 50, while at each of
// the first turns ten arrive and ten change.
func (d *door) listStands(sort string, n, turns int) {
	d.Helper()
	d.fill("old"+sort, n)
	l, old := d.lead(), map[string]int{}
	for cursor, first := "", true; first || cursor != ""; first = false {
		page := d.page("limit=500&sort=name", cursor)
		for _, r := range page.Runs {
			old[r.Name] = 0
		}
		cursor = page.Next
	}
	for cursor, turn := "", 0; turn == 0 || cursor != ""; turn++ {
		page := d.page("limit=50&sort="+sort, cursor)
		for _, r := range page.Runs {
			if came, was := old[r.Name]; !was || came > 0 {
				d.Errorf("by %s: run %s came again, or was not there", sort, r.Name)
			}
			old[r.Name]++
		}
		if cursor = page.Next; cursor != "" && turn < turns {
			d.stir(l, sort, turn)
		}
	}
	for name, came := range old {
		if came != 1 {
			d.Errorf("by %s: run %s came %d times", sort, name, came)
		}
	}
}

// TestListIsSorted holds the order of each sort, and what each filter chooses.
func TestListIsSorted(t *testing.T) {
	d := open(t)
	d.fill("x", 30)
	l := d.lead()
	d.stir(l, "", 0)
	for sort, key := range map[string]func(r *muster.RunView) string{
		"name":     func(r *muster.RunView) string { return r.Name },
		"priority": func(r *muster.RunView) string { return fmt.Sprintf("%04d", r.Spec.Priority) },
		"started":  func(r *muster.RunView) string { return r.StartedAt.Format("2006-01-02T15:04:05.000000") },
		"ended":    func(r *muster.RunView) string { return r.EndedAt.Format("2006-01-02T15:04:05.000000") },
		"queued":   func(r *muster.RunView) string { return r.QueuedAt.Format("2006-01-02T15:04:05.000000") },
		"state":    func(r *muster.RunView) string { return fmt.Sprint(slices.Index(muster.RunStates(), r.State)) },
	} {
		var keys []string
		for _, r := range d.page("limit=500&sort="+sort, "").Runs {
			keys = append(keys, key(r))
		}
		if len(keys) != 40 || !slices.IsSorted(keys) {
			t.Errorf("by %s: %d runs: %v", sort, len(keys), keys)
		}
		down := d.page("limit=500&sort=-"+sort, "").Runs
		if len(down) != 40 || key(down[0]) != keys[39] {
			t.Errorf("by -%s the first is %s, want %s", sort, key(down[0]), keys[39])
		}
	}
	for query, want := range map[string]int{"name=x-1": 11, "tag=i=3": 4, "tag=i=3&name=x": 3, "state=succeeded": 3, "state=succeeded,cancelled": 10,
		"state=queued": 30, "experiment=e0": 14, "experiment=none": 0, "cluster=c": 40, "cluster=d": 0, "archived=true": 0, "archived=all": 40,
		"created_after=2000-01-01T00:00:00Z": 40, "ended_after=2000-01-01T00:00:00Z": 10, "created_after=2999-01-01T00:00:00Z": 0, "parent=x-1": 0} {
		if got := d.page("limit=500&"+query, "").Runs; len(got) != want {
			t.Errorf("%s: %d runs, want %d", query, len(got), want)
		}
	}
}

// TestCursors refuses what is no cursor of the list.
func TestCursors(t *testing.T) {
	d := open(t)
	d.fill("x", 5)
	next := d.page("limit=2&sort=name", "").Next
	for query, says := range map[string]string{
		"sort=-name&cursor=" + next:              "one of another list",
		"sort=name&state=queued&cursor=x" + next: "is no cursor",
		"sort=name&state=queued&cursor=" + next:  "one of another list",
		"cursor=x":                               "is no cursor",
		"cursor=e30":                             "is no cursor",
		"sort=colour":                            "runs are not sorted by",
		"tag=x":                                  "is no tag with its value",
		"tag=i=3&tag=i=4":                        "is given twice",
		"created_after=yesterday":                "created_after",
		"archived=maybe":                         "archived must be one of",
	} {
		resp, text := d.call("GET", runs+"?"+query, "")
		if resp.StatusCode != 400 || !strings.Contains(text, says) {
			t.Errorf("%s: %s %s", query, resp.Status, text)
		}
	}
}

// TestBulk makes all runs of a request, or none.
func TestBulk(t *testing.T) {
	d := open(t)
	resp, text := d.call("POST", runs+":bulk", `{"runs":[{"name":"a","spec":{"command":"a"}},{"name":"b","parent":"a","spec":{"command":"b"}}]}`)
	var made muster.BulkAnswer
	d.must(json.Unmarshal([]byte(text), &made))
	if resp.StatusCode != 201 || len(made.Runs) != 2 || made.Runs[1].Parent != "a" || made.Runs[0].State != muster.RunQueued || d.woken.Load() != 1 {
		t.Errorf("%s %s", resp.Status, text)
	}
	before := d.everything()
	for body, says := range map[string]string{
		`{"runs":[{"name":"x","spec":{"command":"a"}},{"name":"a","spec":{"command":"a"}}]}`:       `"field":"runs[1].name"`,
		`{"runs":[{"name":"x","spec":{"command":"a"}},{"name":"x","spec":{"command":"a"}}]}`:       `"field":"runs[1].name"`,
		`{"runs":[{"name":"x","spec":{"command":"a"}},{"spec":{"command":"a","compute":"none"}}]}`: `"field":"runs[1].spec.compute"`,
		`{"runs":[{"name":"x","spec":{"command":"a"}},{"spec":{"command":" "}}]}`:                  `"field":"runs[1].spec.command"`,
		`{"runs":[{"name":"x","spec":{"command":"a"}},{"spec":{"comand":"a","command":"a"}}]}`:     `did you mean runs[1].spec.command?`,
		`{"runs":[{"name":"x","spec":{"command":"a"}},{"spec":{"command":"a"},"parent":"none"}]}`:  `"field":"runs[1].parent"`,
		`{"runs":[]}`: "runs",
		`{"runs":[` + strings.Repeat(`{"spec":{"command":"a"}},`, 1000) + `{"spec":{"command":"a"}}]}`: "runs",
	} {
		if resp, text := d.call("POST", runs+":bulk", body); resp.StatusCode/100 != 4 || !strings.Contains(text, says) {
			t.Errorf("%.100s: %s %s", body, resp.Status, text)
		}
	}
	if after := d.everything(); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	if resp, text := d.call("POST", runs+":bulk", `{"runs":[`+strings.Repeat(`{"spec":{"command":"a"}},`, 999)+`{"spec":{"command":"a"}}]}`); resp.StatusCode != 201 {
		t.Errorf("1000 runs: %s %.300s", resp.Status, text)
	}
}
