package store

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// deepen puts n more runs behind one that waits, in one transaction.
func deepen(t testing.TB, s *Store, r *muster.Run, n int) {
	t.Helper()
	_, err := s.write.ExecContext(t.Context(), `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		INSERT INTO runs (workspace_id, experiment_id, name, kind, cluster, spec, priority, state, wait_reason, created_at, queued_at)
		SELECT workspace_id, experiment_id, name || '-' || i, kind, cluster, spec, priority, state, wait_reason, created_at, queued_at + i FROM n, runs WHERE id = ?`, n, r.ID)
	if err != nil {
		t.Fatal(err)
	}
}

// busy makes n more of a run whose launch was dispatched.
func busy(t testing.TB, s *Store, x *muster.Execution, n int) {
	t.Helper()
	const series = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) `
	for _, copies := range []string{
		`INSERT INTO runs (id, workspace_id, experiment_id, name, kind, cluster, spec, priority, state, attempt, created_at, queued_at)
			SELECT 1000000 + i, workspace_id, experiment_id, name || '-' || i, kind, cluster, spec, priority, state, attempt, created_at, queued_at FROM n, runs WHERE id = ?`,
		`INSERT INTO launches (id, region, cluster, node_pool, namespace, child_id, state, reserved_at, groups, each)
			SELECT id || '-' || i, region, cluster, node_pool, namespace, child_id || i, state, reserved_at, groups, each FROM n, launches WHERE id = (SELECT launch_id FROM attempts WHERE run_id = ?)`,
		`INSERT INTO instances (launch_id, idx, grp, node_id) SELECT launch_id || '-' || i, idx, grp, node_id FROM n, instances WHERE launch_id = (SELECT launch_id FROM attempts WHERE run_id = ?)`,
		`INSERT INTO attempts (run_id, number, launch_id, cluster, region, tier, cores, mib, devices, each, admitted_at)
			SELECT 1000000 + i, number, launch_id || '-' || i, cluster, region, tier, cores, mib, devices, each, admitted_at FROM n, attempts WHERE run_id = ?`,
	} {
		if _, err := s.write.ExecContext(t.Context(), series+copies, n, x.Run.ID); err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkTurn is what the leader's loops read again and again, with 10,000
// runs that wait and 1,000 that are live.
func BenchmarkTurn(b *testing.B) {
	s := open(b)
	g := lead(b, s)
	x := start(b, s, g, submit(b, s, "live", ""))
	busy(b, s, x, 999)
	deepen(b, s, submit(b, s, "waits", ""), 9_999)
	b.Run("Backlog", func(b *testing.B) {
		for b.Loop() {
			if all, err := g.Backlog(b.Context()); err != nil || len(all.Waiting["c"]) != 10_000 || len(all.Live) != 1000 {
				b.Fatal(err)
			}
		}
	})
	d := &muster.Decision{}
	all, err := g.Backlog(b.Context())
	must(b, err)
	for _, w := range all.Waiting["c"] {
		d.Waits = append(d.Waits, muster.Wait{RunID: w.RunID, Reason: muster.WaitReason{Code: muster.WaitAhead, Message: "more than 100 runs are before it in the queue"}})
	}
	_, err = g.Apply(b.Context(), d)
	must(b, err)
	b.Run("Apply, no news", func(b *testing.B) {
		for b.Loop() {
			if _, err := g.Apply(b.Context(), d); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Launches", func(b *testing.B) {
		for b.Loop() {
			if all, err := g.Launches(b.Context(), muster.LaunchDispatched); err != nil || len(all) != 1000 {
				b.Fatal(err)
			}
		}
	})
}

// plan returns how SQLite goes through its tables for a query.
func plan(t *testing.T, s *Store, query string, args ...any) []string {
	t.Helper()
	steps, err := collect(t.Context(), s.read, func(row scanner) (step string, err error) {
		var skip any
		err = row.Scan(&skip, &skip, &skip, &step)
		return step, err
	}, "EXPLAIN QUERY PLAN "+query, args...)
	must(t, err)
	return steps
}

// TestPlans holds that no query that is made again and again goes through what
// is over and kept for good, or through a table once for each row of another:
// it may scan the indexes of what waits and what is live, and nothing else. One
// looks at what all waiting runs want, each once.
func TestPlans(t *testing.T) {
	s := open(t)
	live := notPurged + `AND l.state IN (?, ?)`
	both := []any{muster.LaunchReserved, muster.LaunchDispatched}
	may := map[string][]string{
		"from elsewhere": {"SCAN p", "SCAN (subquery-4)", "SCAN (subquery-5)", "CORRELATED LIST SUBQUERY 2", "SCAN json_each VIRTUAL TABLE INDEX 3:"},
	}
	for what, q := range map[string]struct {
		query string
		args  []any
	}{
		"a queue":         {ofCluster, []any{"c", 1000}},
		"from elsewhere":  {fromElsewhere, []any{"c", 1000}},
		"all queues":      {runColumns + queued + inQueue + `LIMIT ?`, []any{1000}},
		"how many of one": {`SELECT count(*) FROM runs r ` + queued + `AND r.cluster = ?`, []any{"c"}},
		"how many wait":   {`SELECT count(*) FROM runs r ` + queued, nil},
		"depths":          {queueDepths, nil},
		"agents heard":    {countAgents, []any{0}},
		"a cluster's":     {holdCluster, []any{"c"}},
		"an idle cluster": {dropIdle, []any{"c", 1}},
		"a run":           {runColumns + `WHERE w.name = ? AND r.name = ?`, []any{"w", "r"}},
		"live launches":   {launchColumns + `WHERE ` + live, both},
		"their instances": {`SELECT * FROM instances WHERE launch_id IN (SELECT l.id FROM launches l WHERE ` + live + `)`, both},
		"their attempts":  {attemptColumns + `WHERE launch_id IN (SELECT l.id FROM launches l WHERE ` + live + `)`, both},
		"their runs":      {runColumns + `WHERE r.id IN (SELECT run_id FROM attempts WHERE launch_id IN (SELECT l.id FROM launches l WHERE ` + live + `))`, both},
	} {
		for _, step := range plan(t, s, q.query, q.args...) {
			scan := strings.HasPrefix(step, "SCAN ") && !strings.Contains(step, "INDEX runs_queue") && !strings.Contains(step, "INDEX launches_live")
			if (scan || strings.Contains(step, "CORRELATED") || strings.Contains(step, "AUTOMATIC")) && !slices.Contains(may[what], step) {
				t.Errorf("%s: %s", what, step)
			}
		}
	}
}

// places writes where runs stand.
func places(runs []*muster.Run) string {
	var all []string
	for _, r := range runs {
		all = append(all, fmt.Sprint(r.Cluster, r.Position, " ", r.Name))
	}
	return strings.Join(all, ", ")
}

// TestDeepQueue holds what is told of a queue of 10,000: its beginning, how
// long it is, and the position of one run of it.
func TestDeepQueue(t *testing.T) {
	const deep = 10_000
	s := open(t)
	must(t, s.CreateCluster(t.Context(), &muster.Cluster{Name: "b", NodePool: "other", Provider: muster.ProviderNone, Tier: muster.TierDedicated}, muster.Origin{}))
	deepen(t, s, submit(t, s, "r", ""), deep-2)
	submit(t, s, "urgent", "")
	_, err := s.write.ExecContext(t.Context(), `UPDATE runs SET priority = 75 WHERE name = 'urgent'; UPDATE runs SET cluster = 'b' WHERE name IN ('r-1', 'r-7')`)
	must(t, err)
	began := time.Now()
	all, total, err := s.ListQueue(t.Context(), "", 1000)
	must(t, err)
	t.Logf("ListQueue: %s", time.Since(began))
	if got := places(all[:5]); total != deep || len(all) != 1000 || got != "b1 r-1, b2 r-7, c1 urgent, c2 r, c3 r-2" {
		t.Errorf("%d of %d: %s", len(all), total, got)
	}
	if all, total, err = s.ListQueue(t.Context(), "b", 1); err != nil || total != 2 || len(all) != 1 || all[0].Name != "r-1" {
		t.Errorf("cluster b: %d, %v", total, err)
	}
	_, err = s.write.ExecContext(t.Context(), `UPDATE runs SET spec = json_set(spec, '$.alternatives', json('["x","b","b"]')) WHERE name IN ('r-3', 'r-9')`)
	must(t, err)
	for limit, want := range map[int]string{10: "b1 r-1, b2 r-7, c4 r-3, c9 r-9", 3: "b1 r-1, b2 r-7, c4 r-3", 2: "b1 r-1, b2 r-7", 1: "b1 r-1"} {
		all, total, err := s.ListQueue(t.Context(), "b", limit)
		must(t, err)
		if got := places(all); got != want || total != 4 {
			t.Errorf("%d with an alternative's: %s; %d wait", limit, got, total)
		}
	}
	_, err = s.write.ExecContext(t.Context(), `UPDATE runs SET spec = json_set(spec, '$.alternatives', json('["c"]')) WHERE name = 'r-7'`)
	must(t, err)
	all, _, err = s.ListQueue(t.Context(), "c", 1000)
	must(t, err)
	if got := places(all[998:]); got != "c999 r-999, c1000 r-1000" { // its own are before b2 r-7
		t.Errorf("cluster c ends with %s", got)
	}
	began = time.Now()
	last := state(t, s, fmt.Sprint("r-", deep-2))
	t.Logf("FindRun: %s", time.Since(began))
	if last.Position != deep-2 || state(t, s, "r-7").Position != 2 {
		t.Errorf("positions %d and %d", last.Position, state(t, s, "r-7").Position)
	}
}
