package store

import (
	"fmt"
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
// it may scan the indexes of what waits and what is live, and nothing else.
func TestPlans(t *testing.T) {
	s := open(t)
	live := notPurged + `AND l.state IN (?, ?)`
	both := []any{muster.LaunchReserved, muster.LaunchDispatched}
	for what, q := range map[string]struct {
		query string
		args  []any
	}{
		"a queue":         {runColumns + queued + forCluster + inQueue + `LIMIT 1000`, []any{"c"}},
		"all queues":      {runColumns + queued + inQueue + `LIMIT ?`, []any{1000}},
		"their places":    {queuePlaces, nil},
		"how many wait":   {`SELECT count(*) FROM runs r ` + queued, nil},
		"depths":          {queueDepths, nil},
		"agents heard":    {countAgents, []any{0}},
		"a run":           {runColumns + `WHERE w.name = ? AND r.name = ?`, []any{"w", "r"}},
		"live launches":   {launchColumns + `WHERE ` + live, both},
		"their instances": {`SELECT * FROM instances WHERE launch_id IN (SELECT l.id FROM launches l WHERE ` + live + `)`, both},
		"their attempts":  {attemptColumns + `WHERE launch_id IN (SELECT l.id FROM launches l WHERE ` + live + `)`, both},
		"their runs":      {runColumns + `WHERE r.id IN (SELECT run_id FROM attempts WHERE launch_id IN (SELECT l.id FROM launches l WHERE ` + live + `))`, both},
	} {
		for _, step := range plan(t, s, q.query, q.args...) {
			scan := strings.HasPrefix(step, "SCAN ") && !strings.HasPrefix(step, "SCAN (subquery") && !strings.Contains(step, "VIRTUAL TABLE") && !strings.Contains(step, "INDEX runs_queue") && !strings.Contains(step, "INDEX launches_live")
			if scan || strings.Contains(step, "CORRELATED") || strings.Contains(step, "AUTOMATIC") {
				t.Errorf("%s: %s", what, step)
			}
		}
	}
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
	var first []string
	for _, r := range all[:5] {
		first = append(first, fmt.Sprint(r.Cluster, r.Position, " ", r.Name))
	}
	if got := strings.Join(first, ", "); total != deep || len(all) != 1000 || got != "b1 r-1, b2 r-7, c1 urgent, c2 r, c3 r-2" {
		t.Errorf("%d of %d: %s", len(all), total, got)
	}
	if all, total, err = s.ListQueue(t.Context(), "b", 1); err != nil || total != 2 || len(all) != 1 || all[0].Name != "r-1" {
		t.Errorf("cluster b: %d, %v", total, err)
	}
	_, err = s.write.ExecContext(t.Context(), `UPDATE runs SET spec = json_set(spec, '$.alternatives', json('["x","b"]')) WHERE name = 'r-3'`)
	must(t, err)
	if all, total, err = s.ListQueue(t.Context(), "b", 10); err != nil || total != 3 || all[2].Name != "r-3" || all[2].Position != 4 {
		t.Errorf("with an alternative's: %d, %v", total, err)
	}
	began = time.Now()
	last := state(t, s, fmt.Sprint("r-", deep-2))
	t.Logf("FindRun: %s", time.Since(began))
	if last.Position != deep-2 || state(t, s, "r-7").Position != 2 {
		t.Errorf("positions %d and %d", last.Position, state(t, s, "r-7").Position)
	}
}
