package api

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/muster-ml/muster"
)

// forRuns are the operations that the user's code in a run may ask for, of its
// own run and those below it.
var forRuns = map[string]bool{
	"whoami": true, "create-run": true, "create-runs": true, "list-runs": true, "show-run": true, "update-run": true, "cancel-run": true, "run-events": true,
	"follow-logs": true, "get-log": true, "list-metrics": true, "list-stats": true, "list-artifacts": true, "get-artifact": true,
	"has-upload": true, "put-upload": true, "list-parts": true, "put-part": true, "complete-upload": true,
}

// isWorkloadIdentity reports whether a bearer token says of itself that it is
// that of an allocation. Whether that is true is found out where it counts.
func isWorkloadIdentity(token string) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Allocation string `json:"nomad_allocation_id"`
	}
	return err == nil && json.Unmarshal(text, &claims) == nil && claims.Allocation != ""
}

// confine refuses a run what is not about itself or the runs below it; run is
// the one that the path names, "" for none.
func (a *API) confine(ctx context.Context, p *muster.Principal, o operation, workspace, run string) error {
	if p.Run == "" {
		return nil
	}
	if !forRuns[o.id] {
		return muster.Errorf(muster.CodeForbidden, "%s may not do this: the code of a run sees to its own run and those below it", p.Name).
			WithCure("use a token: muster token create makes one")
	}
	if run == "" {
		return nil
	}
	return a.within(ctx, p, workspace, run)
}

// within refuses a run that is not the caller's own or below it.
func (a *API) within(ctx context.Context, p *muster.Principal, workspace, run string) error {
	in, err := a.Runs.IsWithin(ctx, p.RunID, workspace, run)
	if err == nil && !in {
		return muster.Errorf(muster.CodeForbidden, "%s may not do this: run %s is neither itself nor below it", p.Name, run).
			WithCure("use a token: muster token create makes one")
	}
	return err
}

// parentOf returns of which run the caller may make or list children: a run's
// own code is below its run unless it names another there.
func (a *API) parentOf(ctx context.Context, workspace, parent string) (string, error) {
	p := principal(ctx)
	if p.Run == "" {
		return parent, nil
	}
	parent = cmp.Or(parent, p.Run)
	return parent, a.within(ctx, p, workspace, parent)
}
