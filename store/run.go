package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/muster-ml/muster"
)

// CreateRun keeps a new run, and its experiment on first use.
func (s *Store) CreateRun(ctx context.Context, r *muster.Run, by muster.Origin) error {
	return s.inTx(ctx, "create run", func(t *tx) error {
		if err := t.createRun(ctx, muster.NewRun{Run: r, Notes: by.Notes}, by); err != nil {
			return err
		}
		return t.answer(ctx, by.Receipt, http.StatusCreated, r)
	})
}

// CreateRuns keeps new runs: all of them, or none.
func (s *Store) CreateRuns(ctx context.Context, all []muster.NewRun, by muster.Origin) error {
	return s.inTx(ctx, "create runs", func(t *tx) error {
		made := muster.BulkAnswer{Runs: []*muster.Run{}}
		for i, r := range all {
			if err := t.createRun(ctx, r, by); err != nil {
				return muster.Within(err, fmt.Sprintf("runs[%d]", i))
			}
			made.Runs = append(made.Runs, r.Run)
		}
		return t.answer(ctx, by.Receipt, http.StatusCreated, made)
	})
}

func (t *tx) createRun(ctx context.Context, r muster.NewRun, by muster.Origin) error {
	w, err := findWorkspace(ctx, t, r.Workspace)
	if err != nil {
		return err
	}
	parent, err := findParent(ctx, t, w, r.Parent)
	if err != nil {
		return err
	}
	cluster, err := findCluster(ctx, t, r.Cluster)
	if err != nil {
		return err
	}
	if cluster.Deleting {
		return muster.Errorf(muster.CodeRefused, "cluster %s is being deleted", cluster.Name).At("spec.compute").WithCure("name another; muster cluster list shows them")
	}
	var experiment int64
	if err := t.QueryRowContext(ctx, `INSERT INTO experiments (workspace_id, name, runs, created_at) VALUES (?, ?, 1, ?)
		ON CONFLICT DO UPDATE SET runs = runs + 1, deleted_at = 0 RETURNING id`, w.ID, r.Experiment, micros(t.now)).Scan(&experiment); err != nil {
		return err
	}
	r.WorkspaceID, r.Namespace, r.Kind, r.State = w.ID, w.Namespace, cmp.Or(r.Kind, muster.KindCommand), muster.RunQueued
	r.CreatedAt, r.QueuedAt, r.Version = t.now, t.now, 1
	r.WaitReason = &muster.WaitReason{Code: muster.WaitNew, Message: "the scheduler has not looked at it yet"}
	err = t.QueryRowContext(ctx, `INSERT INTO runs (workspace_id, experiment_id, name, kind, parent_id, display_name, description, tags, properties,
		cluster, spec, priority, state, wait_reason, created_at, queued_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		w.ID, experiment, r.Name, r.Kind, parent, r.DisplayName, r.Description, jsonMap(r.Tags), jsonMap(r.Properties),
		r.Cluster, toJSON(r.Spec), r.Spec.Priority, r.State, toJSON(r.WaitReason), micros(t.now), micros(t.now)).Scan(&r.ID)
	if isDuplicate(err) {
		return t.nameTaken(ctx, r)
	}
	if err != nil {
		return err
	}
	return t.describeRun(ctx, r, by)
}

// nameTaken refuses a run by the name of another, be that one deleted.
func (t *tx) nameTaken(ctx context.Context, r muster.NewRun) error {
	var deleted bool
	if err := t.QueryRowContext(ctx, `SELECT deleted_at > 0 FROM runs WHERE workspace_id = ? AND name = ?`, r.WorkspaceID, r.Name).Scan(&deleted); err != nil {
		return err
	}
	message := "run %s exists already in workspace %s"
	if deleted {
		message = "the name %s was taken by a run of workspace %s that is deleted"
	}
	return muster.Errorf(muster.CodeConflict, message, r.Name, r.Workspace).At("name").
		WithCure("names are unique for ever: choose another, or leave it out and one is made")
}

// findParent returns the id of the run that is to be the parent, nil for none.
func findParent(ctx context.Context, t *tx, w *muster.Workspace, name string) (any, error) {
	if name == "" {
		return nil, nil
	}
	p, err := findRun(ctx, t, w.Name, name)
	if e, ok := errors.AsType[*muster.Error](err); ok {
		return nil, e.At("parent")
	}
	if err != nil {
		return nil, err
	}
	if p.State.Final() || p.Stop != "" {
		why := "has ended (" + string(p.State) + ")"
		if !p.State.Final() {
			why = "is told to end"
		}
		return nil, muster.Errorf(muster.CodeConflict, "run %s %s, and gets no more children", name, why).At("parent")
	}
	return p.ID, nil
}

// describeRun writes the data that a new run names, and its first events.
func (t *tx) describeRun(ctx context.Context, r muster.NewRun, by muster.Origin) error {
	data := func(direction, name string, ref muster.Ref) error {
		_, err := t.exec(ctx, `INSERT INTO run_data (run_id, direction, name, ref) VALUES (?, ?, ?, ?)`, r.ID, direction, name, ref)
		return err
	}
	if r.Spec.Code != "" {
		if err := data("code", "code", r.Spec.Code); err != nil {
			return err
		}
	}
	for name, in := range r.Spec.Inputs {
		if in.Ref != "" {
			if err := data("input", name, in.Ref); err != nil {
				return err
			}
		}
	}
	for name := range r.Spec.Outputs {
		if err := data("output", name, muster.Ref("runs:/"+r.Name+"/"+name)); err != nil {
			return err
		}
	}
	message := fmt.Sprintf("submitted to cluster %s", r.Cluster)
	if err := t.event(ctx, r.Run, muster.Event{Kind: muster.EventState, To: r.State, Message: message, Actor: by.Actor, RequestID: by.RequestID}); err != nil {
		return err
	}
	for _, note := range slices.Concat(r.Spec.Warnings, r.Notes) {
		if err := t.event(ctx, r.Run, muster.Event{Kind: muster.EventNote, Message: note, Actor: by.Actor, RequestID: by.RequestID}); err != nil {
			return err
		}
	}
	return nil
}

const runColumns = `SELECT r.id, r.version, r.workspace_id, w.name, w.namespace, e.name, r.name, r.kind, coalesce(p.name, ''), r.display_name, r.description,
	r.tags, r.properties, r.cluster, CASE WHEN a.cluster <> r.cluster THEN a.cluster ELSE '' END, r.spec, r.state, r.reason, r.wait_reason, r.stop, r.exit_code,
	r.failures, r.platform_failures, r.losses, r.evictions, r.not_before, r.created_at, r.queued_at, r.started_at, r.ended_at,
	CASE WHEN r.ended_at = 0 AND r.state <> 'queued' THEN coalesce(i.phase, '') ELSE '' END, r.archived_at
	FROM runs r JOIN workspaces w ON w.id = r.workspace_id JOIN experiments e ON e.id = r.experiment_id LEFT JOIN runs p ON p.id = r.parent_id
	LEFT JOIN attempts a ON a.run_id = r.id AND a.number = r.attempt LEFT JOIN instances i ON i.launch_id = a.launch_id AND i.idx = 0 `

func scanRun(row scanner) (*muster.Run, error) {
	r, wait := &muster.Run{}, &muster.WaitReason{}
	var exit sql.NullInt64
	if err := row.Scan(&r.ID, &r.Version, &r.WorkspaceID, &r.Workspace, &r.Namespace, &r.Experiment, &r.Name, &r.Kind, &r.Parent, &r.DisplayName, &r.Description,
		jsonCol{&r.Tags}, jsonCol{&r.Properties}, &r.Cluster, &r.PlacedOn, jsonCol{&r.Spec}, &r.State, &r.Reason, jsonCol{wait}, &r.Stop, &exit,
		&r.Failures, &r.PlatformFailures, &r.Losses, &r.Evictions, timeCol{&r.NotBefore}, timeCol{&r.CreatedAt}, timeCol{&r.QueuedAt}, timeCol{&r.StartedAt}, timeCol{&r.EndedAt},
		&r.Phase, timeCol{&r.ArchivedAt}); err != nil {
		return nil, err
	}
	if wait.Code != "" {
		r.WaitReason = wait
	}
	if exit.Valid {
		code := int(exit.Int64)
		r.ExitCode = &code
	}
	return r, nil
}

// FindRun returns the run of that name, with its position while it waits.
func (s *Store) FindRun(ctx context.Context, workspace, name string) (*muster.Run, error) {
	r, err := findRun(ctx, s.read, workspace, name)
	if err != nil || r.State != muster.RunQueued {
		return r, err
	}
	err = s.read.QueryRowContext(ctx, `SELECT 1 + count(*) FROM runs r JOIN runs q ON q.cluster = r.cluster AND q.state = 'queued' AND q.held_by = ''
		AND (q.priority > r.priority OR q.priority = r.priority AND (q.queued_at, q.id) < (r.queued_at, r.id)) WHERE r.id = ?`, r.ID).Scan(&r.Position)
	return r, err
}

func findRun(ctx context.Context, q querier, workspace, name string) (*muster.Run, error) {
	r, err := scanRun(q.QueryRowContext(ctx, runColumns+`WHERE w.name = ? AND r.name = ? AND r.deleted_at = 0`, workspace, name))
	if !errors.Is(err, sql.ErrNoRows) {
		return r, err
	}
	if _, err := findWorkspace(ctx, q, workspace); err != nil {
		return nil, err
	}
	return nil, muster.Errorf(muster.CodeNotFound, "there is no run %s in workspace %s", name, workspace).
		WithCure("muster run list shows what there is")
}

// queued chooses the runs that stand in a queue, in the words of its index.
const queued = `WHERE r.state = 'queued' AND r.held_by = '' `

// inQueue is the order of the queues.
const inQueue = `ORDER BY r.cluster, r.priority DESC, r.queued_at, r.id `

// ofCluster are the first of a cluster's own queue.
const ofCluster = runColumns + queued + `AND r.cluster = ? ` + inQueue + `LIMIT ?`

// fromElsewhere are those of other clusters' queues that name a cluster as an
// alternative, with their places there, and how many these are. It reads what
// all runs of those queues want, once.
const fromElsewhere = `SELECT p.id, p.place, count(*) OVER () FROM (
		SELECT r.id, r.cluster, row_number() OVER (PARTITION BY r.cluster ORDER BY r.priority DESC, r.queued_at, r.id) AS place FROM runs r ` + queued + `AND r.cluster <> ?1
	) p JOIN runs q ON q.id = p.id WHERE ?1 IN (SELECT value FROM json_each(q.spec, '$.alternatives')) ORDER BY p.cluster, p.place LIMIT ?2`

// ListQueue returns the first of the waiting runs by cluster and position, and
// how many wait: all, or those that may start on one cluster, its own before
// others'. All is of one moment of the database.
func (s *Store) ListQueue(ctx context.Context, cluster string, limit int) (runs []*muster.Run, total int, err error) {
	t, err := s.read.BeginTx(ctx, nil)
	if err != nil {
		return nil, 0, err
	}
	defer t.Rollback()
	count, list, args := `SELECT count(*) FROM runs r `+queued, runColumns+queued+inQueue+`LIMIT ?`, []any{}
	if cluster != "" {
		count, list, args = count+`AND r.cluster = ?`, ofCluster, append(args, cluster)
	}
	if err := t.QueryRowContext(ctx, count, args...).Scan(&total); err != nil {
		return nil, 0, err
	}
	if runs, err = collect(ctx, t, scanRun, list, append(args, limit)...); err != nil {
		return nil, 0, err
	}
	for i, r := range runs { // the list begins with the first of each cluster
		r.Position = 1
		if i > 0 && runs[i-1].Cluster == r.Cluster {
			r.Position += runs[i-1].Position
		}
	}
	if cluster == "" {
		return runs, total, nil
	}
	others := 0
	places, err := collect(ctx, t, func(row scanner) (*muster.RunPlace, error) {
		p := &muster.RunPlace{}
		return p, row.Scan(&p.ID, &p.Number, &others)
	}, fromElsewhere, cluster, limit)
	if err != nil {
		return nil, 0, err
	}
	more, err := runsAt(ctx, t, places[:min(len(places), limit-len(runs))])
	for i, r := range more {
		r.Position = int(places[i].Number)
	}
	return append(runs, more...), total + others, err
}

// RequestStop marks a run, and every run below it, as wanted to end.
func (s *Store) RequestStop(ctx context.Context, workspace, name string, by muster.Origin) error {
	return s.inTx(ctx, "request stop", func(t *tx) error {
		r, err := findRun(ctx, t, workspace, name)
		if err != nil {
			return err
		}
		if r.State.Final() {
			return muster.Errorf(muster.CodeConflict, "run %s has ended (%s)", name, r.State)
		}
		if err := by.Check(r.Version); err != nil {
			return err
		}
		rows, err := collect(ctx, t, scanRun, `WITH RECURSIVE below(id) AS (SELECT ? UNION SELECT c.id FROM runs c JOIN below b ON c.parent_id = b.id) `+
			runColumns+`WHERE r.id IN (SELECT id FROM below) AND r.ended_at = 0 AND r.stop = ''`, r.ID)
		if err != nil {
			return err
		}
		for _, below := range rows {
			stop, message := muster.StopCancel, "cancel requested"
			if below.ID != r.ID {
				stop, message = muster.StopParent, "cancel requested for "+r.Name+", of which this run is a descendant"
			}
			if _, err := t.exec(ctx, `UPDATE runs SET stop = ? WHERE id = ? AND stop = ''`, stop, below.ID); err != nil {
				return err
			}
			if err := t.event(ctx, below, muster.Event{Kind: muster.EventStop, Message: message, Actor: by.Actor, RequestID: by.RequestID}); err != nil {
				return err
			}
		}
		return nil
	})
}

// IsWithin reports whether the run of that name is the ancestor or below it.
func (s *Store) IsWithin(ctx context.Context, ancestor int64, workspace, name string) (within bool, err error) {
	err = s.read.QueryRowContext(ctx, `WITH RECURSIVE above(id) AS (
			SELECT r.id FROM runs r JOIN workspaces w ON w.id = r.workspace_id WHERE w.name = ? AND r.name = ?
			UNION SELECT r.parent_id FROM runs r JOIN above a ON r.id = a.id WHERE r.parent_id IS NOT NULL)
		SELECT EXISTS (SELECT 1 FROM above WHERE id = ?)`, workspace, name, ancestor).Scan(&within)
	return within, err
}

// FindRunByID returns the run of that id.
func (s *Store) FindRunByID(ctx context.Context, id int64) (*muster.Run, error) {
	r, err := scanRun(s.read.QueryRowContext(ctx, runColumns+`WHERE r.id = ?`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, muster.Errorf(muster.CodeNotFound, "there is no run %d", id)
	}
	return r, err
}

// CountRuns returns how many runs are in each state.
func (s *Store) CountRuns(ctx context.Context) (map[muster.RunState]int, error) {
	counts := map[muster.RunState]int{}
	for _, state := range muster.RunStates() {
		counts[state] = 0
	}
	type count struct {
		state muster.RunState
		n     int
	}
	rows, err := collect(ctx, s.read, func(row scanner) (c count, err error) {
		err = row.Scan(&c.state, &c.n)
		return c, err
	}, `SELECT state, count(*) FROM runs GROUP BY state`)
	for _, c := range rows {
		counts[c.state] = c.n
	}
	return counts, err
}
