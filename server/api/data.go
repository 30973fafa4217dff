package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/muster-ml/muster"
)

// inUpload names an upload, and holds its bytes.
type inUpload struct {
	InWorkspace
	SHA256 string `path:"sha256" doc:"Of the bytes, in hex."`
	bytes  io.Reader
}

// Resolve keeps the request's body: it is a stream and read only once.
func (in *inUpload) Resolve(ctx huma.Context) []error {
	in.bytes = patient{ctx}
	return nil
}

func (a *API) registerData() {
	const upload, run = "/workspaces/{workspace}/uploads/{sha256}", "/workspaces/{workspace}/runs/{run}"
	handle(a, operation{"HEAD", upload, "has-upload", "Is this upload here already?", 204, "uploads", muster.RoleReader},
		func(ctx context.Context, in *inUpload) (*struct{}, error) {
			workspace, err := a.uploadsOf(ctx, in.InWorkspace, in.SHA256)
			if err != nil {
				return nil, err
			}
			return nil, a.seeUpload(ctx, workspace, in.SHA256)
		})
	handle(a, operation{"PUT", upload, "put-upload", "Upload a packed code folder or input", 204, "uploads", muster.RoleContributor},
		func(ctx context.Context, in *inUpload) (*struct{}, error) { return nil, a.putUpload(ctx, in) })
	handle(a, operation{"GET", run + "/artifacts", "list-artifacts", "List the files that a run left", 200, "artifacts", muster.RoleReader},
		func(ctx context.Context, in *listArtifacts) (*body[*muster.ArtifactPage], error) {
			return ok(a.listArtifacts(ctx, in))
		})
	handle(a, operation{"GET", run + "/artifacts/{path...}", "get-artifact", "Download a file that a run left; ranges work", 200, "artifacts", muster.RoleReader},
		func(ctx context.Context, in *struct {
			InRun
			Path string `path:"path"`
		}) (*huma.StreamResponse, error) {
			return a.artifact(ctx, in.InRun, in.Path)
		})
	handle(a, operation{"GET", run + "/metrics", "list-metrics", "List what a run logged, by name, step and time", 200, "metrics", muster.RoleReader},
		func(ctx context.Context, in *struct {
			InRun
			Name    string `query:"name" doc:"Only this metric."`
			Attempt int    `query:"attempt" minimum:"0" doc:"Only what this attempt logged; 0 is of each step what the last attempt did that has it."`
		}) (*body[[]muster.Metric], error) {
			r, attempts, err := a.attempts(ctx, in.InRun)
			if err == nil && in.Attempt > 0 {
				err = checkAttempt(attempts, in.Attempt)
			}
			if err != nil {
				return nil, err
			}
			return list(a.Metrics.ListMetrics(ctx, r.ID, muster.MetricQuery{Name: in.Name, Attempt: in.Attempt}))
		})
	handle(a, operation{"GET", run + "/stats", "list-stats", "List what a run, its nodes and its devices used, by name, instance and time", 200, "metrics", muster.RoleReader},
		func(ctx context.Context, in *listStats) (*body[[]muster.Stat], error) {
			return list(a.listStats(ctx, in))
		})
}

// listStats chooses statistics of a run.
type listStats struct {
	InRun
	Name     string `query:"name" doc:"Only these, or those that begin so up to a dot: gpu is all of the GPUs."`
	Attempt  int    `query:"attempt" minimum:"0" doc:"0 is the last that has any."`
	Instance string `query:"instance" default:"all" doc:"Its number, or all. An answer of more than 65536 values is thinned out."`
}

// listStats returns the samples.
func (a *API) listStats(ctx context.Context, in *listStats) ([]muster.Stat, error) {
	instance, err := instanceOf(in.Instance)
	if err != nil {
		return nil, err
	}
	r, err := a.Runs.FindRun(ctx, in.Workspace, in.Run)
	if err != nil {
		return nil, err
	}
	if instance >= 0 {
		attempts, err := a.Attempts.ListAttempts(ctx, r.ID)
		if err != nil {
			return nil, err
		}
		if last := cmp.Or(in.Attempt, len(attempts)); last > 0 {
			if err := checkInstance(attempts, last, instance); err != nil {
				return nil, err
			}
		}
	}
	return a.Stats.ListStats(ctx, r.ID, muster.StatQuery{Name: in.Name, Attempt: in.Attempt, Instance: instance})
}

// listArtifacts chooses a page of a run's files.
type listArtifacts struct {
	InRun
	Prefix  string `query:"prefix" doc:"Only paths that begin so."`
	Folders bool   `query:"folders" doc:"Sum up what has a slash behind the prefix: a view of one level."`
	Limit   int    `query:"limit" minimum:"1" maximum:"5000" default:"1000"`
	Cursor  string `query:"cursor" doc:"From the page before."`
}

// listArtifacts returns a page.
func (a *API) listArtifacts(ctx context.Context, in *listArtifacts) (*muster.ArtifactPage, error) {
	r, err := a.Runs.FindRun(ctx, in.Workspace, in.Run)
	if err != nil {
		return nil, err
	}
	files, err := a.Artifacts.ListArtifacts(ctx, r.ID, muster.ArtifactQuery{Prefix: in.Prefix, After: in.Cursor, Folders: in.Folders, Limit: in.Limit + 1})
	if err != nil {
		return nil, err
	}
	page := &muster.ArtifactPage{Artifacts: files}
	if len(files) > in.Limit {
		page.Artifacts, page.Next = files[:in.Limit], files[in.Limit-1].Path
	}
	if page.Artifacts == nil {
		page.Artifacts = []*muster.Artifact{}
		page.RemovedAt, err = a.Archive.FilesRemoved(ctx, r.ID)
	}
	return page, err
}

// uploadsOf finds the workspace whose upload is asked for.
func (a *API) uploadsOf(ctx context.Context, in InWorkspace, sum string) (workspaceID int64, err error) {
	if err := muster.CheckSHA256(sum); err != nil {
		return 0, err
	}
	w, err := a.Workspaces.FindWorkspace(ctx, in.Workspace)
	if err != nil {
		return 0, err
	}
	return w.ID, nil
}

// seeUpload finds an upload, and keeps it from retention for a while: who is told
// that it is here does not send it, and names it in a run.
func (a *API) seeUpload(ctx context.Context, workspaceID int64, sum string) error {
	key := muster.UploadKey(workspaceID, sum)
	if _, err := a.Blobs.Size(ctx, key); err != nil {
		return err
	}
	if err := a.Archive.SeeUpload(ctx, workspaceID, sum); err != nil {
		return err
	}
	_, err := a.Blobs.Size(ctx, key) // retention may have been quicker
	return err
}

// putUpload keeps an upload whose bytes are those that its name promises.
func (a *API) putUpload(ctx context.Context, in *inUpload) error {
	workspace, err := a.uploadsOf(ctx, in.InWorkspace, in.SHA256)
	if err != nil {
		return err
	}
	if a.seeUpload(ctx, workspace, in.SHA256) == nil {
		return nil // the same bytes by their name; the rest of the body is not read
	}
	_, sum, err := a.Blobs.Put(ctx, muster.UploadKey(workspace, in.SHA256), in.SHA256, in.bytes)
	if errors.Is(err, muster.ErrDigest) {
		return muster.Errorf(muster.CodeInvalid, "the bytes have SHA-256 %s, and not %s", sum, in.SHA256).At("sha256").WithCure("send them again")
	}
	return err
}

// removed says that retention has removed something.
func removed(what string, at time.Time) error {
	return muster.Errorf(muster.CodeNotFound, "%s removed by retention on %s", what, at.Format(time.DateOnly)).
		WithCure("muster run archive keeps what a run left; muster workspace show tells how long it is kept otherwise")
}

// artifact streams a file.
func (a *API) artifact(ctx context.Context, in InRun, file string) (*huma.StreamResponse, error) {
	if err := muster.CheckPath(file); err != nil {
		return nil, err
	}
	r, err := a.Runs.FindRun(ctx, in.Workspace, in.Run)
	if err != nil {
		return nil, err
	}
	f, err := a.Artifacts.FindArtifact(ctx, r.ID, file)
	if err != nil {
		return nil, err
	}
	if !f.DeletedAt.IsZero() {
		return nil, removed(file+" was", f.DeletedAt)
	}
	blob := &seeker{ctx: ctx, blobs: a.Blobs, key: muster.ArtifactKey(r.ID, f.Attempt, f.Instance, f.Path), size: f.Size}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		defer blob.Close()
		q, w := humago.Unwrap(c)
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", path.Base(f.Path)))
		w.Header().Set("ETag", `"`+f.SHA256+`"`)
		w.Header().Set(muster.ContentSHA256Header, f.SHA256)
		http.ServeContent(w, q, "", time.Time{}, blob)
	}}, nil
}
