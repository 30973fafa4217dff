package store

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/muster-ml/muster"
)

// choice is a query that grows by conditions.
type choice struct {
	where strings.Builder
	args  []any
}

// and adds a condition.
func (c *choice) and(condition string, args ...any) {
	if c.where.Len() > 0 {
		c.where.WriteString(` AND `)
	}
	c.where.WriteString(condition)
	c.args = append(c.args, args...)
}

// runKeys are what runs are sorted by, as of the event whose number is ?1: what
// a run has got since is passed over, so that no run leaves its place in a list
// that somebody reads page by page. What is not here never changes.
var runKeys = map[string]string{
	"created":  `r.id`,
	"name":     `r.name`,
	"queued":   `r.queued_at`,
	"priority": `r.priority`,
	"started": `CASE WHEN r.moved <= ?1 OR EXISTS (SELECT 1 FROM events v WHERE v.run_id = r.id AND v.seq <= ?1 AND v.kind = 'state' AND v.to_state = 'running')
		THEN r.started_at ELSE 0 END`,
	"ended": `CASE WHEN r.moved <= ?1 THEN r.ended_at ELSE 0 END`,
	"state": `instr('queued admitted starting running succeeded failed cancelled', CASE WHEN r.moved <= ?1 THEN r.state ELSE coalesce(
		(SELECT v.to_state FROM events v WHERE v.run_id = r.id AND v.seq <= ?1 AND v.kind = 'state' ORDER BY v.seq DESC LIMIT 1), r.state) END)`,
}

// ListRuns returns a page of runs, and where it ends.
func (s *Store) ListRuns(ctx context.Context, f muster.RunFilter) ([]*muster.Run, *muster.RunPlace, error) {
	w, err := s.FindWorkspace(ctx, f.Workspace)
	if err != nil {
		return nil, nil, err
	}
	f.Sort, f.Limit = cmp.Or(f.Sort, muster.NewestFirst), cmp.Or(f.Limit, 100)
	if err := f.Sort.Validate(); err != nil {
		return nil, nil, err
	}
	if f.After == nil {
		f.After = &muster.RunPlace{}
		if err := s.read.QueryRowContext(ctx, `SELECT coalesce((SELECT max(id) FROM runs), 0), coalesce((SELECT max(seq) FROM events), 0)`).Scan(&f.After.Newest, &f.After.Seq); err != nil {
			return nil, nil, err
		}
	}
	places, err := s.runPlaces(ctx, w, f)
	if err != nil {
		return nil, nil, err
	}
	var next *muster.RunPlace
	if len(places) > f.Limit {
		places = places[:f.Limit]
		next = places[f.Limit-1]
	}
	runs, err := runsAt(ctx, s.read, places)
	return runs, next, err
}

// runPlaces finds the places of one run more than the page holds.
func (s *Store) runPlaces(ctx context.Context, w *muster.Workspace, f muster.RunFilter) ([]*muster.RunPlace, error) {
	by, down := f.Sort.Split()
	order, behind := "ASC", ">"
	if down {
		order, behind = "DESC", "<"
	}
	c := &choice{}
	c.and(`?1 >= 0`, f.After.Seq) // first: the parameters without a number follow it
	c.chooseRuns(w, f)
	key, from := runKeys[by], f.After
	if from.ID > 0 && by == "created" {
		c.and(`r.id `+behind+` ?`, from.ID)
	} else if from.ID > 0 {
		last := any(from.Number)
		if by == "name" {
			last = from.Text
		}
		c.and(`(`+key+`, r.id) `+behind+` (?, ?)`, last, from.ID)
	}
	number, text := key, `''`
	if by == "name" {
		number, text = `0`, key
	}
	sorted := fmt.Sprintf(`%s %s, r.id %s`, key, order, order)
	if by == "created" {
		sorted = `r.id ` + order
	}
	c.args = append(c.args, f.Limit+1)
	return collect(ctx, s.read, func(row scanner) (*muster.RunPlace, error) {
		p := &muster.RunPlace{Newest: from.Newest, Seq: from.Seq}
		return p, row.Scan(&p.ID, &p.Number, &p.Text)
	}, `SELECT r.id, `+number+`, `+text+` FROM runs r WHERE `+c.where.String()+` ORDER BY `+sorted+` LIMIT ?`, c.args...)
}

// chooseRuns adds what a filter says.
func (c *choice) chooseRuns(w *muster.Workspace, f muster.RunFilter) {
	c.and(`r.workspace_id = ?`, w.ID)
	c.and(`r.id <= ?`, f.After.Newest)
	c.and(`r.deleted_at = 0`)
	switch f.Archived {
	case muster.ArchivedAll:
	case muster.ArchivedTrue:
		c.and(`r.archived_at > 0`)
	default:
		c.and(`r.archived_at = 0`)
	}
	if f.Experiment != "" {
		c.and(`r.experiment_id = (SELECT id FROM experiments WHERE workspace_id = ? AND name = ?)`, w.ID, f.Experiment)
	}
	if f.Parent != "" {
		c.and(`r.parent_id = (SELECT id FROM runs WHERE workspace_id = ? AND name = ?)`, w.ID, f.Parent)
	}
	if f.Name != "" {
		c.and(`r.name >= ? AND r.name < ? || char(1114111)`, f.Name, f.Name)
	}
	if f.Cluster != "" {
		c.and(`r.cluster = ?`, f.Cluster)
	}
	if !f.CreatedAfter.IsZero() {
		c.and(`r.created_at > ?`, micros(f.CreatedAfter))
	}
	if !f.EndedAfter.IsZero() {
		c.and(`r.ended_at > ?`, micros(f.EndedAfter))
	}
	for _, tag := range slices.Sorted(maps.Keys(f.Tags)) {
		c.and(`EXISTS (SELECT 1 FROM json_each(r.tags) WHERE key = ? AND value = ?)`, tag, f.Tags[tag])
	}
	if len(f.States) > 0 {
		states := make([]any, len(f.States))
		for i, state := range f.States {
			states[i] = state
		}
		c.and(`r.state IN (?`+strings.Repeat(`, ?`, len(states)-1)+`)`, states...)
	}
}

// runsAt reads the runs at places, in their order.
func runsAt(ctx context.Context, q querier, places []*muster.RunPlace) ([]*muster.Run, error) {
	if len(places) == 0 {
		return nil, nil
	}
	at, ids := map[int64]int{}, make([]any, len(places))
	for i, p := range places {
		at[p.ID], ids[i] = i, p.ID
	}
	runs, err := collect(ctx, q, scanRun, runColumns+`WHERE r.id IN (?`+strings.Repeat(`, ?`, len(ids)-1)+`)`, ids...)
	slices.SortFunc(runs, func(a, b *muster.Run) int { return cmp.Compare(at[a.ID], at[b.ID]) })
	return runs, err
}
