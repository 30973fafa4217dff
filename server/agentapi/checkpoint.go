package agentapi

import (
	"net/http"
	"strings"

	"github.com/muster-ml/muster"
)

// checkpointPage is how many files of a checkpoint folder are listed at a time.
const checkpointPage = 1000

// listCheckpoint lists the files of the instance's checkpoint folder and of the
// first instance's, which often writes for all.
func (a *API) listCheckpoint(w http.ResponseWriter, r *http.Request, c *caller) error {
	page := muster.ArtifactPage{Artifacts: []*muster.Artifact{}}
	cursor := r.URL.Query().Get("cursor")
	prefixes := []string{muster.CheckpointPrefix(0)}
	if c.instance.Index > 0 {
		prefixes = append(prefixes, muster.CheckpointPrefix(c.instance.Index))
	}
	for _, prefix := range prefixes { // in the order of their paths
		files, err := a.Artifacts.ListArtifacts(r.Context(), c.launch.RunID, muster.ArtifactQuery{Prefix: prefix, After: cursor, Limit: checkpointPage + 1 - len(page.Artifacts)})
		if err != nil {
			return err
		}
		page.Artifacts = append(page.Artifacts, files...)
	}
	if len(page.Artifacts) > checkpointPage {
		page.Artifacts = page.Artifacts[:checkpointPage]
		page.Next = page.Artifacts[checkpointPage-1].Path
	}
	return answer(w, page)
}

// checkpointPath returns the artifact that a request names: one of the first
// instance's or, with own, only of the instance's own.
func checkpointPath(r *http.Request, c *caller, own bool) (string, error) {
	path := r.PathValue("path")
	if err := muster.CheckPath(path); err != nil {
		return "", err
	}
	mine := muster.CheckpointPrefix(c.instance.Index)
	if strings.HasPrefix(path, mine) || !own && strings.HasPrefix(path, muster.CheckpointPrefix(0)) {
		return path, nil
	}
	return "", muster.Errorf(muster.CodeForbidden, "%s is no checkpoint of instance %d", path, c.instance.Index)
}

// serveCheckpoint gives one file.
func (a *API) serveCheckpoint(w http.ResponseWriter, r *http.Request, c *caller) error {
	path, err := checkpointPath(r, c, false)
	if err != nil {
		return err
	}
	f, err := a.Artifacts.FindArtifact(r.Context(), c.launch.RunID, path)
	if err != nil {
		return err
	}
	return a.serveBlob(w, r, muster.ArtifactKey(c.launch.RunID, f.Attempt, f.Instance, f.Path))
}

// dropReplaced removes the bytes of a checkpoint of an earlier attempt in whose
// place another was put: unlike other artifacts they are many and large.
func (a *API) dropReplaced(r *http.Request, c *caller, old *muster.Artifact) {
	if old == nil || old.Attempt == c.launch.Attempt || !strings.HasPrefix(old.Path, muster.CheckpointPrefix(c.instance.Index)) {
		return
	}
	if err := a.Blobs.Delete(r.Context(), muster.ArtifactKey(c.launch.RunID, old.Attempt, old.Instance, old.Path)); err != nil {
		a.Logger.Warn("the bytes of a checkpoint that was replaced stay until retention", "path", old.Path, "error", err)
	}
}

// dropCheckpoint forgets one file.
func (a *API) dropCheckpoint(w http.ResponseWriter, r *http.Request, c *caller) error {
	path, err := checkpointPath(r, c, true)
	if err != nil {
		return err
	}
	old, err := a.Artifacts.FindArtifact(r.Context(), c.launch.RunID, path)
	if muster.CodeOf(err) == muster.CodeNotFound {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if err != nil {
		return err
	}
	if err := a.Artifacts.DropArtifact(r.Context(), c.launch.RunID, c.launch.Attempt, path); err != nil {
		return err
	}
	if err := a.Blobs.Delete(r.Context(), muster.ArtifactKey(c.launch.RunID, old.Attempt, old.Instance, path)); err != nil {
		a.Logger.Warn("the bytes of a checkpoint that was removed stay until retention", "path", path, "error", err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
