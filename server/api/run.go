package api

import (
	"cmp"
	"context"
	"fmt"

	"github.com/muster-ml/muster"
)

// InRun names a run in the path.
type InRun struct {
	InWorkspace
	Run string `path:"run"`
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
	handle(a, operation{"POST", runs + ":bulk", "create-runs", "Submit up to 1000 runs: all are made, or none", 201, "runs", muster.RoleContributor},
		func(ctx context.Context, in *struct {
			InWorkspace
			Body muster.BulkRequest
		}) (*body[*muster.BulkAnswer], error) {
			return ok(a.createRuns(ctx, in.Workspace, in.Body.Runs))
		})
	handle(a, operation{"GET", runs, "list-runs", "List runs, by pages that stand while runs are added and change", 200, "runs", muster.RoleReader},
		func(ctx context.Context, in *listRuns) (*body[*muster.RunPage], error) {
			return ok(a.listRuns(ctx, in))
		})
	handle(a, operation{"GET", run, "show-run", "Show a run with what it did and left", 200, "runs", muster.RoleReader},
		func(ctx context.Context, in *InRun) (*one[*muster.RunView], error) {
			return a.theRun(ctx, in)
		})
	handle(a, operation{"PATCH", run, "update-run", "Change what people say of a run: names and tags; what is left out stays", 200, "runs", muster.RoleContributor},
		func(ctx context.Context, in *struct {
			InRun
			Body muster.RunChange
		}) (*one[*muster.RunView], error) {
			if _, err := a.Changes.UpdateRun(ctx, in.Workspace, in.Run, in.Body, origin(ctx)); err != nil {
				return nil, err
			}
			return a.theRun(ctx, &in.InRun)
		})
	handle(a, operation{"DELETE", run, "delete-run", "Take a final run out of sight; what it left goes at the next retention, its name stays taken", 204, "runs", muster.RoleOwner},
		func(ctx context.Context, in *InRun) (*struct{}, error) {
			return nil, a.Changes.DeleteRun(ctx, in.Workspace, in.Run, origin(ctx))
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
func (a *API) createRun(ctx context.Context, workspace string, q *muster.RunRequest) (*muster.Run, error) {
	w, err := a.Workspaces.FindWorkspace(ctx, workspace)
	if err != nil {
		return nil, err
	}
	r, err := a.newRun(ctx, w, q)
	if err != nil {
		return nil, err
	}
	by := origin(ctx)
	by.Notes = r.Notes
	if err := a.Runs.CreateRun(ctx, r.Run, by); err != nil {
		return nil, err
	}
	a.Wake()
	return r.Run, nil
}

// createRuns turns requests into queued runs, all or none.
func (a *API) createRuns(ctx context.Context, workspace string, all []muster.RunRequest) (*muster.BulkAnswer, error) {
	w, err := a.Workspaces.FindWorkspace(ctx, workspace)
	if err != nil {
		return nil, err
	}
	made, answer := make([]muster.NewRun, len(all)), &muster.BulkAnswer{}
	for i := range all {
		if made[i], err = a.newRun(ctx, w, &all[i]); err != nil {
			return nil, muster.Within(err, fmt.Sprintf("runs[%d]", i))
		}
		answer.Runs = append(answer.Runs, made[i].Run)
	}
	if err := a.Runs.CreateRuns(ctx, made, origin(ctx)); err != nil {
		return nil, err
	}
	a.Wake()
	return answer, nil
}

// newRun makes of a request a run that can be kept.
func (a *API) newRun(ctx context.Context, w *muster.Workspace, q *muster.RunRequest) (made muster.NewRun, err error) {
	q.Complete()
	if err := q.Validate(); err != nil {
		return made, err
	}
	if q.Parent, err = a.parentOf(ctx, w.Name, q.Parent); err != nil {
		return made, err
	}
	cluster, notes, err := a.place(ctx, w, &q.Spec)
	if err != nil {
		return made, muster.InSpec(err)
	}
	made.Notes = notes
	made.Run = &muster.Run{Workspace: w.Name, Experiment: q.Experiment, Name: q.Name, Parent: q.Parent, DisplayName: q.DisplayName,
		Description: q.Description, Tags: q.Tags, Properties: q.Properties, Cluster: cluster.Name, Spec: q.Spec}
	return made, nil
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
		if err := a.seeUpload(ctx, w.ID, sum); muster.CodeOf(err) == muster.CodeNotFound {
			return muster.Errorf(muster.CodeInvalid, "%s is not uploaded to workspace %s", ref, w.Name).At(at).
				WithCure("PUT it to %s/workspaces/%s/uploads/%s first", base, w.Name, sum)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// theRun tells all that is known of a run.
func (a *API) theRun(ctx context.Context, in *InRun) (*one[*muster.RunView], error) {
	r, err := a.Runs.FindRun(ctx, in.Workspace, in.Run)
	if err != nil {
		return nil, err
	}
	v, err := a.view(ctx, r)
	return thing(v, r.Version, err)
}

// view puts together what is known of a run.
func (a *API) view(ctx context.Context, r *muster.Run) (*muster.RunView, error) {
	r.WaitReason = veiledReason(principal(ctx), r.WaitReason)
	err := a.tellSilence(ctx, r)
	if err != nil {
		return nil, err
	}
	v := &muster.RunView{Run: *r, Inputs: inputsOf(r), Outputs: map[string]muster.OutputSum{}}
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
