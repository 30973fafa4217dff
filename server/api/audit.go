package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/muster-ml/muster"
)

// maxTarget is how much of a path the account keeps, in bytes.
const maxTarget = 500

// account is what a request leaves to be told about it; the guard writes it down.
type account struct {
	made      string // the name of what was made
	workspace string // that it is about, where its path names none
}

// accountKey finds the account in a request's context.
type accountKey struct{}

// writes reports whether a route changes anything.
func (o operation) writes() bool { return o.method != http.MethodGet && o.method != http.MethodHead }

// reports are the operations by which a part of Muster tells what it sees, again
// and again: one that is done changes nothing that a person wants.
var reports = map[string]bool{"put-machines": true}

// writeDown keeps who asked for a write and what came of it. It is written when
// the request is over, whatever became of the caller; one that cannot be kept
// is in the log.
func (a *API) writeDown(c huma.Context, o operation) {
	ctx := context.WithoutCancel(c.Context())
	by, path := origin(ctx), strings.TrimPrefix(c.URL().Path, base)
	e := &muster.AuditEntry{Actor: by.Actor, Action: o.id, Workspace: c.Param("workspace"), Target: path, RequestID: by.RequestID, Outcome: muster.AuditDone}
	if told, _ := ctx.Value(accountKey{}).(*account); told != nil {
		e.Workspace = cmp.Or(e.Workspace, told.workspace)
		if told.made != "" {
			e.Target += "/" + told.made
		}
	}
	e.Target, e.Workspace = strings.ToValidUTF8(e.Target[:min(len(e.Target), maxTarget)], ""), strings.ToValidUTF8(e.Workspace[:min(len(e.Workspace), muster.MaxName)], "")
	if status := c.Status(); status >= 300 || status == 0 {
		e.Outcome = string(muster.CodeOfStatus(status))
	}
	if e.Outcome == muster.AuditDone && reports[o.id] {
		return
	}
	if err := a.Audit.WriteAudit(ctx, e); err != nil {
		a.Logger.Error("an entry of the audit is lost", "error", err, "entry", *e)
	}
}

// tellMade leaves in the account the name of what a handler made: of an answer
// whose body has one.
func tellMade(ctx context.Context, o operation, answer any) {
	told, _ := ctx.Value(accountKey{}).(*account)
	if told == nil || o.status != http.StatusCreated {
		return
	}
	v := reflect.Indirect(reflect.ValueOf(answer)).FieldByName("Body")
	if v = reflect.Indirect(v); v.Kind() == reflect.Struct {
		if name := v.FieldByName("Name"); name.IsValid() && name.Kind() == reflect.String {
			told.made = name.String()
		}
	}
}

// tellWorkspace leaves in the account which workspace a request is about whose
// path names none.
func tellWorkspace(ctx context.Context, workspace string) {
	if told, _ := ctx.Value(accountKey{}).(*account); told != nil {
		told.workspace = workspace
	}
}

// listAudit chooses a page of the account.
type listAudit struct {
	Workspace string `query:"workspace" doc:"Only what was done in this one."`
	Limit     int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Cursor    string `query:"cursor" doc:"From the page before."`
}

func (a *API) registerAudit() {
	handle(a, operation{"GET", "/audit", "list-audit", "Who did what, newest first, in the workspaces that one owns", 200, "audit", muster.RoleOwner},
		func(ctx context.Context, in *listAudit) (*body[*muster.AuditPage], error) {
			return ok(a.audit(ctx, in))
		})
}

// audit returns a page of what the caller may see.
func (a *API) audit(ctx context.Context, in *listAudit) (*muster.AuditPage, error) {
	f := muster.AuditFilter{Limit: in.Limit + 1, Workspaces: owned(principal(ctx))}
	if in.Workspace != "" {
		if err := principal(ctx).May(muster.Access{Action: "list-audit", Role: muster.RoleOwner, Workspace: in.Workspace}); err != nil {
			return nil, err
		}
		f.Workspaces = []string{in.Workspace}
	}
	if in.Cursor != "" {
		before, err := strconv.ParseInt(strings.TrimPrefix(in.Cursor, "a"), 10, 64)
		if err != nil || before < 1 {
			return nil, muster.Errorf(muster.CodeInvalid, "%q is no cursor", in.Cursor).At("cursor").WithCure("take it from the page before")
		}
		f.Before = before
	}
	all, err := a.Audit.ListAudit(ctx, f)
	if err != nil {
		return nil, err
	}
	page := &muster.AuditPage{Entries: all}
	if len(all) > in.Limit {
		page.Entries = all[:in.Limit]
		page.Next = fmt.Sprintf("a%d", all[in.Limit-1].Seq)
	}
	if all == nil {
		page.Entries = []*muster.AuditEntry{} // [], not null
	}
	return page, nil
}

// owned lists the workspaces whose account the principal may read; nil is all,
// and the platform's.
func owned(p *muster.Principal) []string {
	all := []string{}
	for _, g := range p.Grants {
		switch {
		case g.Role == muster.RoleAdministrator:
			return nil
		case g.Role == muster.RoleOwner && g.Workspace != "":
			all = append(all, g.Workspace)
		}
	}
	return all
}
