package muster

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Role is what a principal may do; each includes those before it.
type Role string

// The roles. The first three are held in a workspace, the last on the platform.
const (
	RoleReader        Role = "reader"        // sees what is in the workspace
	RoleContributor   Role = "contributor"   // submits and cancels runs
	RoleOwner         Role = "owner"         // gives access to the workspace
	RoleAdministrator Role = "administrator" // makes workspaces and clusters; is owner of every workspace
)

// Roles lists the roles, the least first.
func Roles() []Role { return []Role{RoleReader, RoleContributor, RoleOwner, RoleAdministrator} }

// Includes reports whether whoever has r may do all that other may.
func (r Role) Includes(other Role) bool {
	mine, least := slices.Index(Roles(), r), slices.Index(Roles(), other)
	return least >= 0 && mine >= least
}

// Grant is a role and where it is held.
type Grant struct {
	Role      Role   `json:"role"`
	Workspace string `json:"workspace,omitempty"` // "" is every workspace
}

// Validate refuses a role that does not exist, and an administrator of one
// workspace.
func (g Grant) Validate() error {
	switch {
	case !slices.Contains(Roles(), g.Role):
		return Errorf(CodeInvalid, "%q is no role", string(g.Role)).At("role").WithCure("use reader, contributor, owner or administrator")
	case g.Role == RoleAdministrator && g.Workspace != "":
		return Errorf(CodeInvalid, "an administrator has no workspace: the role is that of the platform").At("workspace").
			WithCure("leave the workspace out, or use owner")
	}
	return nil
}

// String shows it as ROLE, or ROLE@WORKSPACE.
func (g Grant) String() string {
	if g.Workspace == "" {
		return string(g.Role)
	}
	return string(g.Role) + "@" + g.Workspace
}

// ReadGrant reads what String writes.
func ReadGrant(s string) (Grant, error) {
	role, workspace, in := strings.Cut(s, "@")
	g := Grant{Role: Role(role), Workspace: workspace}
	if in {
		if err := CheckName("workspace", workspace); err != nil {
			return g, err
		}
	}
	return g, g.Validate()
}

// Principal is who calls.
type Principal struct {
	Name      string    `json:"name"`
	Grants    []Grant   `json:"grants"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // when what he proved himself with stops working
	Run       string    `json:"run,omitempty"`       // the run whose code calls: it sees to itself and the runs below it
	RunID     int64     `json:"-"`
}

// Access is something that a caller wants to do.
type Access struct {
	Action    string // the operation, such as create-run
	Role      Role   // the least that it takes
	Workspace string // where; "" is the platform, where a role in any workspace counts
}

// May refuses, as CodeForbidden, what the principal has no right to. It does
// not tell whether the workspace exists.
func (p *Principal) May(a Access) error {
	for _, g := range p.Grants {
		if g.Role.Includes(a.Role) && (g.Workspace == "" || a.Workspace == "" || g.Workspace == a.Workspace) {
			return nil
		}
	}
	takes, of := article(string(a.Role)), "an owner"
	switch {
	case a.Role == RoleAdministrator:
		of = "an administrator"
	case a.Workspace != "":
		takes, of = fmt.Sprintf("%s of workspace %s", takes, a.Workspace), "an owner of "+a.Workspace
	}
	return Errorf(CodeForbidden, "%s may not do this: it takes %s", p.Name, takes).WithCure("ask %s; muster whoami shows what you may do", of)
}

// Sees reports whether the principal may read a workspace.
func (p *Principal) Sees(workspace string) bool {
	return p.May(Access{Role: RoleReader, Workspace: workspace}) == nil
}
