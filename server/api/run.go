package api

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/muster-ml/muster"
)

// InRun names a run in the path.
type InRun struct {
	InWorkspace
	Run string `path:"run"`
}

// listRuns chooses a page of runs.
type listRuns struct {
	InWorkspace
	Experiment string   `query:"experiment" doc:"Only this experiment's."`
	Parent     string   `query:"parent" doc:"Only the children of this run."`
	State      []string `query:"state" doc:"Only those in one of these states."`
	Limit      int      `query:"limit" minimum:"1" maximum:"500" default:"50"`
	Cursor     string   `query:"cursor" doc:"From the page before."`
}

func (a *API) registerRuns() {
	const runs, run = "/workspaces/{workspace}/runs", "/workspaces/{workspace}/runs/{run}"
	handle(a, operation{"POST", runs, "create-run", "Submit a run", 201, "runs", muster.RoleContributor},
		func(ctx context.Context, in *struct {
			InWorkspace
			Body muster.RunRequest
		}) (*body[*muster.Run], error) {
			return ok(a.createRun(ctx, in.Workspace, &in.Body))
		})
	handle(a, operation{"GET", runs, "list-runs", "List runs, newest first", 200, "runs", muster.RoleReader},
		func(ctx context.Context, in *listRuns) (*body[*muster.RunPage], error) {
			return ok(a.listRuns(ctx, in))
		})
	handle(a, operation{"GET", run, "show-run", "Show a run with what it did and left", 200, "runs", muster.RoleReader},
		func(ctx context.Context, in *InRun) (*body[*muster.RunView], error) {
			r, err := a.Runs.FindRun(ctx, in.Workspace, in.Run)
			if err != nil {
				return nil, err
			}
			return ok(a.view(ctx, r))
		})
	handle(a, operation{"POST", run + "/cancel", "cancel-run", "Cancel a run and all below it", 202, "runs", muster.RoleContributor},
		func(ctx context.Context, in *InRun) (*body[*muster.Run], error) {
			if err := a.Runs.RequestStop(ctx, in.Workspace, in.Run, origin(ctx)); err != nil {
				return nil, err
			}
			a.Wake()
			return ok(a.Runs.FindRun(ctx, in.Workspace, in.Run))
		})
}

// createRun turns a request into a queued run, or refuses it whole.
func (a *API) createRun(ctx context.Context, workspace string, q *muster.RunRequest) (_ *muster.Run, err error) {
	if q.Parent, err = a.parentOf(ctx, workspace, q.Parent); err != nil {
		return nil, err
	}
	q.Complete()
	if err := q.Validate(); err != nil {
		return nil, err
	}
	w, err := a.Workspaces.FindWorkspace(ctx, workspace)
	if err != nil {
		return nil, err
	}
	cluster, err := a.cluster(ctx, w, q.Spec.Compute)
	if err != nil {
		return nil, err
	}
	by := origin(ctx)
	if err := a.contain(ctx, w, cluster, &q.Spec, &by); err != nil {
		return nil, err
	}
	if q.Spec.Tier != "" && q.Spec.Tier != cluster.Tier {
		by.Notes = append(by.Notes, fmt.Sprintf("asked for tier %s, and cluster %s is %s", q.Spec.Tier, cluster.Name, cluster.Tier))
	}
	if err := a.checkUploads(ctx, w, &q.Spec); err != nil {
		return nil, err
	}
	r := &muster.Run{Workspace: workspace, Experiment: q.Experiment, Name: q.Name, Parent: q.Parent, DisplayName: q.DisplayName,
		Description: q.Description, Tags: q.Tags, Properties: q.Properties, Cluster: cluster.Name, Spec: q.Spec}
	if err := a.Runs.CreateRun(ctx, r, by); err != nil {
		return nil, err
	}
	a.Wake()
	return r, nil
}

// contain finds what this site offers for the run's environment, and notes it.
func (a *API) contain(ctx context.Context, w *muster.Workspace, cluster *muster.Cluster, s *muster.Spec, by *muster.Origin) error {
	engine, err := a.hasEngine(ctx, cluster.Name)
	if err != nil {
		return err
	}
	image, note, err := a.Site.Resolve(s.Environment, engine)
	if err != nil {
		return err
	}
	if note != "" {
		by.Notes = append(by.Notes, note)
	}
	if image == "" {
		if s.Container != nil {
			by.Notes = append(by.Notes, "shm_size and docker_args are passed over: the command runs on the node itself")
		}
		s.Container = nil
		return nil
	}
	if s.Container == nil {
		s.Container = &muster.Container{}
	}
	s.Container.Image = image
	s.Container.Registry, err = a.registryOf(ctx, w.Name, image)
	return err
}

// hasEngine reports whether a node of the cluster has a container engine. A
// cluster without a node that was seen may have one: its runs wait, and are told
// why.
func (a *API) hasEngine(ctx context.Context, cluster string) (bool, error) {
	nodes, err := a.nodes(ctx, cluster)
	if muster.CodeOf(err) == muster.CodeUnreachable {
		return true, nil
	}
	has := func(n *muster.Node) bool { return n.Engine }
	return len(nodes) == 0 || slices.ContainsFunc(nodes, has), err
}

// cluster finds where a run goes. "local" and "serverless" are what Azure ML
// calls compute that is not named.
func (a *API) cluster(ctx context.Context, w *muster.Workspace, compute string) (*muster.Cluster, error) {
	if compute != "" && compute != "local" && compute != "serverless" {
		c, err := a.Clusters.FindCluster(ctx, compute)
		if e, is := err.(*muster.Error); is && e.Code == muster.CodeNotFound {
			return nil, muster.Errorf(muster.CodeRefused, "%s", e.Message).At("compute").WithCure("%s", e.Cure)
		}
		return c, err
	}
	if w.DefaultCluster == "" {
		return nil, muster.Errorf(muster.CodeRefused, "the run names no compute, and workspace %s has no default cluster", w.Name).At("compute").
			WithCure("name a cluster as compute; muster cluster list shows them")
	}
	return a.Clusters.FindCluster(ctx, w.DefaultCluster)
}

// checkUploads refuses a spec that names an upload which is not here.
func (a *API) checkUploads(ctx context.Context, w *muster.Workspace, s *muster.Spec) error {
	refs := map[string]muster.Ref{"code": s.Code}
	for name, in := range s.Inputs {
		refs["inputs."+name] = in.Ref
	}
	for at, ref := range refs {
		sum, is := ref.Upload()
		if !is {
			continue
		}
		if _, err := a.Blobs.Size(ctx, muster.UploadKey(w.ID, sum)); muster.CodeOf(err) == muster.CodeNotFound {
			return muster.Errorf(muster.CodeInvalid, "%s is not uploaded to workspace %s", ref, w.Name).At(at).
				WithCure("PUT it to %s/workspaces/%s/uploads/%s first", base, w.Name, sum)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// listRuns returns a page.
func (a *API) listRuns(ctx context.Context, in *listRuns) (_ *muster.RunPage, err error) {
	if in.Parent, err = a.parentOf(ctx, in.Workspace, in.Parent); err != nil {
		return nil, err
	}
	f := muster.RunFilter{Workspace: in.Workspace, Experiment: in.Experiment, Parent: in.Parent, Limit: in.Limit + 1}
	for _, s := range in.State {
		state := muster.RunState(s)
		if !slices.Contains(muster.RunStates(), state) {
			return nil, muster.Errorf(muster.CodeInvalid, "%q is no state of a run", s).At("state").WithCure("use one of %v", muster.RunStates())
		}
		f.States = append(f.States, state)
	}
	if in.Cursor != "" {
		before, err := strconv.ParseInt(strings.TrimPrefix(in.Cursor, "r"), 10, 64)
		if err != nil || before < 1 {
			return nil, muster.Errorf(muster.CodeInvalid, "%q is no cursor", in.Cursor).At("cursor").WithCure("take it from the page before")
		}
		f.Before = before
	}
	runs, err := a.Runs.ListRuns(ctx, f)
	if err != nil {
		return nil, err
	}
	page := &muster.RunPage{Runs: []*muster.RunView{}}
	if len(runs) > in.Limit {
		runs = runs[:in.Limit]
		page.Next = fmt.Sprintf("r%d", runs[in.Limit-1].ID)
	}
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
		page.Runs = append(page.Runs, &muster.RunView{Run: *r, Metrics: metrics[r.ID], Parameters: params[r.ID], Inputs: inputsOf(r)})
	}
	return page, nil
}

// view puts together what is known of a run.
func (a *API) view(ctx context.Context, r *muster.Run) (*muster.RunView, error) {
	v := &muster.RunView{Run: *r, Inputs: inputsOf(r), Outputs: map[string]muster.OutputSum{}}
	var err error
	if v.Attempts, err = a.Attempts.ListAttempts(ctx, r.ID); err != nil {
		return nil, err
	}
	if v.Attempts == nil {
		v.Attempts = []*muster.Attempt{}
	}
	metrics, err := a.Metrics.LatestMetrics(ctx, []int64{r.ID})
	if err != nil {
		return nil, err
	}
	params, err := a.Metrics.ListParameters(ctx, []int64{r.ID})
	if err != nil {
		return nil, err
	}
	v.Metrics, v.Parameters = metrics[r.ID], params[r.ID]
	if v.Outputs, err = a.Artifacts.SumArtifacts(ctx, r.ID); err != nil {
		return nil, err
	}
	for name := range r.Spec.Outputs {
		if _, has := v.Outputs[name]; !has {
			v.Outputs[name] = muster.OutputSum{}
		}
	}
	return v, nil
}

// inputsOf puts each input into a word.
func inputsOf(r *muster.Run) map[string]string {
	words := map[string]string{}
	for name, in := range r.Spec.Inputs {
		if in.Literal != nil {
			words[name] = *in.Literal
		} else {
			words[name] = cmp.Or(string(in.Ref), "-")
		}
	}
	return words
}
