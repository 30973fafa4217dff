package api_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// TestTokens makes, lists and revokes tokens as an owner and as others.
func TestTokens(t *testing.T) {
	d := open(t)
	callers := d.callers()
	for _, c := range []struct {
		caller, body string
		status       int
		says         string
	}{
		{"o", `{"name":"ci","role":"contributor","workspace":"w","expires_in":3600}`, 201, `"secret":"muster_`},
		{"o", `{"name":"ci","role":"reader","workspace":"w"}`, 409, "token ci exists already"},
		{"o", `{"name":"heir","role":"owner","workspace":"w"}`, 201, `"created_by":"of-o"`},
		{"o", `{"name":"x","role":"reader","workspace":"elsewhere"}`, 403, "it takes an owner of workspace elsewhere"},
		{"o", `{"name":"x","role":"administrator"}`, 403, "it takes an administrator"},
		{"o", `{"name":"x","role":"reader"}`, 400, "a token with role reader needs a workspace"},
		{"a", `{"name":"x","role":"administrator","workspace":"w"}`, 400, "an administrator has no workspace"},
		{"a", `{"name":"x","role":"reader","workspace":"none"}`, 404, "there is no workspace none"},
		{"a", `{"name":"scheduler","role":"reader","workspace":"w"}`, 400, "scheduler is the name of a part of Muster"},
		{"a", `{"name":"a b","role":"reader","workspace":"w"}`, 400, "is not a name for a token"},
		{"a", `{"name":"x","role":"king"}`, 400, "role must be one of"},
		{"a", `{"name":"x","role":"reader","workspace":"w","expires_in":-1}`, 400, "expires in -1 seconds is of no use"},
		{"a", `{"name":"x","role":"reader","workspace":"w","expires_in":1e300}`, 400, "use 1 second to 10 years"},
	} {
		if resp, text := d.as(callers[c.caller], "POST", "/tokens", c.body); resp.StatusCode != c.status || !strings.Contains(text, c.says) {
			t.Errorf("%s %s: %s %s", c.caller, c.body, resp.Status, text)
		}
	}
	for caller, want := range map[string]string{"o": "ci heir of-c of-o of-r", "f": "of-f", "a": "anna ci heir of-c of-expired of-f of-o of-r"} {
		_, text := d.as(callers[caller], "GET", "/tokens", "")
		var all []*muster.Token
		d.must(json.Unmarshal([]byte(text), &all))
		var names []string
		for _, k := range all {
			names = append(names, k.Name)
		}
		if got := strings.Join(names, " "); got != want || strings.Contains(text, "hash") || strings.Contains(text, "muster_") {
			t.Errorf("%s lists %s, want %s\n%s", caller, got, want, text)
		}
	}
	for _, c := range []struct {
		caller, name string
		status       int
	}{{"f", "ci", 404}, {"o", "of-f", 404}, {"o", "ci", 204}, {"o", "ci", 404}, {"o", "anna", 404}, {"a", "anna", 409}, {"a", "of-f", 204}} {
		if resp, text := d.as(callers[c.caller], "DELETE", "/tokens/"+c.name, ""); resp.StatusCode != c.status {
			t.Errorf("%s revokes %s: %s %s", c.caller, c.name, resp.Status, text)
		}
	}
	if resp, _ := d.as(callers["f"], "GET", "/whoami", ""); resp.StatusCode != 401 {
		t.Errorf("a revoked token: %s", resp.Status)
	}
}

// TestWhoami tells a token its name, its roles and its end, and keeps when it
// was used.
func TestWhoami(t *testing.T) {
	d := open(t)
	_, text := d.call("POST", "/api/v1/tokens", `{"name":"ci","role":"owner","workspace":"w","expires_in":3600}`)
	var k muster.NewToken
	d.must(json.Unmarshal([]byte(text), &k))
	_, text = d.as(k.Secret, "GET", "/whoami", "")
	var p muster.Principal
	d.must(json.Unmarshal([]byte(text), &p))
	if p.Name != "ci" || len(p.Grants) != 1 || p.Grants[0].String() != "owner@w" || time.Until(p.ExpiresAt) > time.Hour || time.Until(p.ExpiresAt) < 50*time.Minute {
		t.Errorf("whoami: %s", text)
	}
	kept, err := d.store.FindToken(t.Context(), muster.HashToken(k.Secret))
	if err != nil || kept.LastUsedAt.IsZero() || kept.LastUsedAt != kept.LastUsedAt.Truncate(muster.TokenUseStep) || time.Since(kept.LastUsedAt) > 2*time.Minute {
		t.Errorf("last used %v: %v", kept, err)
	}
}
