package api

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/muster-ml/muster"
)

// listRuns chooses a page of runs.
type listRuns struct {
	InWorkspace
	Experiment   string    `query:"experiment" doc:"Only this experiment's." example:"iris"`
	Parent       string    `query:"parent" doc:"Only the children of this run."`
	State        []string  `query:"state" doc:"Only those in one of these states, separated by commas." example:"queued,running"`
	Name         string    `query:"name" doc:"Only those whose name begins so." example:"nightly-"`
	Tag          []string  `query:"tag,explode" doc:"KEY=VALUE: only those with this tag; may be given again." example:"team=vision"`
	Cluster      string    `query:"cluster" doc:"Only those of this cluster." example:"gpu"`
	CreatedAfter time.Time `query:"created_after" doc:"Only those that were submitted later." example:"2026-01-31T12:00:00Z"`
	EndedAfter   time.Time `query:"ended_after" doc:"Only those that ended later." example:"2026-01-31T12:00:00Z"`
	Archived     string    `query:"archived" enum:"false,true,all" default:"false" doc:"Those that are not archived, those that are, or both."`
	Sort         string    `query:"sort" default:"-created" doc:"What to sort by: created, name, state, queued, started, ended or priority; with - before it the highest first." example:"-started"`
	Limit        int       `query:"limit" minimum:"1" maximum:"500" default:"50"`
	Cursor       string    `query:"cursor" doc:"From the page before."`
}

// filter puts the question into a filter, without its place.
func (in *listRuns) filter() (f muster.RunFilter, err error) {
	f = muster.RunFilter{Workspace: in.Workspace, Experiment: in.Experiment, Parent: in.Parent, Name: in.Name, Cluster: in.Cluster,
		CreatedAfter: in.CreatedAfter.UTC(), EndedAfter: in.EndedAfter.UTC(), Archived: muster.Archived(in.Archived), Sort: muster.RunSort(in.Sort)}
	for _, s := range in.State {
		state := muster.RunState(s)
		if !slices.Contains(muster.RunStates(), state) {
			return f, muster.Errorf(muster.CodeInvalid, "%q is no state of a run", s).At("state").WithCure("use one of %s", words(muster.RunStates()))
		}
		f.States = append(f.States, state)
	}
	for _, tag := range in.Tag {
		key, value, ok := strings.Cut(tag, "=")
		if !ok || key == "" {
			return f, muster.Errorf(muster.CodeInvalid, "%q is no tag with its value", tag).At("tag").WithCure("write KEY=VALUE")
		}
		if f.Tags == nil {
			f.Tags = map[string]string{}
		}
		if _, twice := f.Tags[key]; twice {
			return f, muster.Errorf(muster.CodeInvalid, "the tag %s is given twice", key).At("tag").WithCure("a run has one value of each")
		}
		f.Tags[key] = value
	}
	return f, f.Sort.Validate()
}

// listRuns returns a page.
func (a *API) listRuns(ctx context.Context, in *listRuns) (_ *muster.RunPage, err error) {
	if in.Parent, err = a.parentOf(ctx, in.Workspace, in.Parent); err != nil {
		return nil, err
	}
	f, err := in.filter()
	if err != nil {
		return nil, err
	}
	question := f
	if f.After, err = readCursor[muster.RunPlace](question, in.Cursor); err != nil {
		return nil, err
	}
	f.Limit = in.Limit
	runs, next, err := a.Runs.ListRuns(ctx, f)
	if err != nil {
		return nil, err
	}
	page := &muster.RunPage{Runs: []*muster.RunView{}, Next: writeCursor(question, next)}
	var ids []int64
	for _, r := range runs {
		ids = append(ids, r.ID)
	}
	metrics, err := a.Metrics.LatestMetrics(ctx, ids)
	if err != nil {
		return nil, err
	}
	params, err := a.Metrics.ListParameters(ctx, ids)
	if err != nil {
		return nil, err
	}
	for _, r := range runs {
		r.WaitReason = veiledReason(principal(ctx), r.WaitReason)
		page.Runs = append(page.Runs, &muster.RunView{Run: *r, Metrics: metrics[r.ID], Parameters: params[r.ID], Inputs: inputsOf(r)})
	}
	return page, nil
}
