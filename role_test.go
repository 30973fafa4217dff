package muster

import "testing"

// TestMay holds who may do what where.
func TestMay(t *testing.T) {
	for _, c := range []struct {
		grant, action, workspace string
		may                      bool
	}{
		{"reader@w", "reader", "w", true},
		{"reader@w", "reader", "", true},
		{"reader@w", "reader", "v", false},
		{"reader@w", "contributor", "w", false},
		{"owner@w", "contributor", "w", true},
		{"owner@w", "owner", "v", false},
		{"owner@w", "administrator", "", false},
		{"owner", "owner", "v", true},
		{"owner", "administrator", "", false},
		{"administrator", "owner", "v", true},
		{"administrator", "administrator", "", true},
		{"administrator", "king", "", false},
	} {
		g, err := ReadGrant(c.grant)
		if err != nil || g.String() != c.grant {
			t.Fatalf("%s: %s %v", c.grant, g, err)
		}
		p := &Principal{Name: "anna", Grants: []Grant{g}}
		err = p.May(Access{Role: Role(c.action), Workspace: c.workspace})
		if (err == nil) != c.may || err != nil && CodeOf(err) != CodeForbidden {
			t.Errorf("%s: %s in %q: %v", c.grant, c.action, c.workspace, err)
		}
	}
	if err := (&Principal{Name: "nobody"}).May(Access{Role: RoleReader}); CodeOf(err) != CodeForbidden {
		t.Errorf("somebody without a role: %v", err)
	}
	two := &Principal{Grants: []Grant{{RoleReader, "a"}, {RoleOwner, "b"}}}
	if two.May(Access{Role: RoleOwner, Workspace: "b"}) != nil || two.May(Access{Role: RoleOwner, Workspace: "a"}) == nil || !two.Sees("a") || two.Sees("c") {
		t.Error("two roles are mixed up")
	}
}
