package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// routes is every route, an example of it that names things of workspace w, and
// who may: reader, contributor and owner of w, an owner elsewhere, and the
// administrator, by their first letters (f is foreign), and u, the user's code in run r; * needs no token.
var routes = map[string]struct{ path, body, may string }{
	"GET /whoami":                                 {"/whoami", "", "rcofau"},
	"GET /tokens":                                 {"/tokens", "", "ofa"},
	"POST /tokens":                                {"/tokens", `{"name":"new","role":"reader","workspace":"w"}`, "oa"},
	"DELETE /tokens/{token}":                      {"/tokens/none", "", "ofa"},
	"GET /login":                                  {"/login", "", "*"},
	"GET /policies":                               {"/policies", "", "a"},
	"GET /audit":                                  {"/audit", "", "ofa"},
	"POST /clusters":                              {"/clusters", `{"name":"d","node_pool":"d"}`, "a"},
	"GET /clusters":                               {"/clusters", "", "rcofa"},
	"GET /clusters/{cluster}":                     {"/clusters/c", "", "rcofa"},
	"PATCH /clusters/{cluster}":                   {"/clusters/c", `{}`, "a"},
	"DELETE /clusters/{cluster}":                  {"/clusters/c?confirm=x", "", "a"},
	"GET /clusters/{cluster}/events":              {"/clusters/c/events", "", "rcofa"},
	"POST /clusters/{cluster}/evictions":          {"/clusters/c/evictions", `{"nodes":1}`, "a"},
	"GET /clusters/{cluster}/scaling":             {"/clusters/c/scaling", "", "a"},
	"PUT /clusters/{cluster}/machines":            {"/clusters/c/machines", `{"machines":[]}`, "a"},
	"GET /sizes":                                  {"/sizes", "", "rcofa"},
	"GET /nodes":                                  {"/nodes", "", "rcofa"},
	"GET /nodes/{node}":                           {"/nodes/n", "", "rcofa"},
	"PATCH /nodes/{node}":                         {"/nodes/n", `{"excluded":""}`, "a"},
	"GET /nodes/{node}/log":                       {"/nodes/n/log", "", "a"},
	"GET /clusters/{cluster}/secrets":             {"/clusters/c/secrets", "", "a"},
	"PUT /clusters/{cluster}/secrets/{secret}":    {"/clusters/c/secrets/TOKEN", `{"value":"x"}`, "a"},
	"DELETE /clusters/{cluster}/secrets/{secret}": {"/clusters/c/secrets/none", "", "a"},
	"GET /queue":                                  {"/queue", "", "rcofa"},
	"POST /workspaces":                            {"/workspaces", `{"name":"x"}`, "a"},
	"GET /workspaces":                             {"/workspaces", "", "rcofa"},
	"GET /workspaces/{workspace}":                 {"/workspaces/w", "", "rcoa"},
	"PATCH /workspaces/{workspace}":               {"/workspaces/w", `{}`, "oa"},
	"DELETE /workspaces/{workspace}":              {"/workspaces/w?confirm=x", "", "oa"},
	"PATCH /workspaces/{workspace}/experiments/{experiment}":      {"/workspaces/w/experiments/e", `{}`, "coa"},
	"DELETE /workspaces/{workspace}/experiments/{experiment}":     {"/workspaces/w/experiments/none", "", "oa"},
	"PATCH /workspaces/{workspace}/runs/{run}":                    {"/workspaces/w/runs/r", `{}`, "coau"},
	"DELETE /workspaces/{workspace}/runs/{run}":                   {"/workspaces/w/runs/none", "", "oa"},
	"GET /workspaces/{workspace}/experiments":                     {"/workspaces/w/experiments", "", "rcoa"},
	"GET /workspaces/{workspace}/experiments/{experiment}":        {"/workspaces/w/experiments/e", "", "rcoa"},
	"GET /workspaces/{workspace}/events":                          {"/workspaces/w/events", "", "rcoa"},
	"HEAD /workspaces/{workspace}/uploads/{sha256}":               {"/workspaces/w/uploads/" + noSum, "", "rcoau"},
	"PUT /workspaces/{workspace}/uploads/{sha256}":                {"/workspaces/w/uploads/" + noSum, "x", "coau"},
	"GET /workspaces/{workspace}/uploads/{sha256}/parts":          {"/workspaces/w/uploads/" + noSum + "/parts", "", "coau"},
	"PUT /workspaces/{workspace}/uploads/{sha256}/parts/{offset}": {"/workspaces/w/uploads/" + noSum + "/parts/0", "x", "coau"},
	"POST /workspaces/{workspace}/uploads/{sha256}/complete":      {"/workspaces/w/uploads/" + noSum + "/complete", `{"size":1}`, "coau"},
	"GET /workspaces/{workspace}/registries":                      {"/workspaces/w/registries", "", "rcoa"},
	"PUT /workspaces/{workspace}/registries/{host}":               {"/workspaces/w/registries/r.example", `{"username":"u","password":"p"}`, "oa"},
	"DELETE /workspaces/{workspace}/registries/{host}":            {"/workspaces/w/registries/none", "", "oa"},
	"POST /workspaces/{workspace}/runs":                           {"/workspaces/w/runs", `{"spec":{"command":"a"}}`, "coau"},
	"POST /workspaces/{workspace}/runs:bulk":                      {"/workspaces/w/runs:bulk", `{"runs":[{"spec":{"command":"a"}}]}`, "coau"},
	"GET /workspaces/{workspace}/runs":                            {"/workspaces/w/runs", "", "rcoau"},
	"GET /workspaces/{workspace}/runs/{run}":                      {"/workspaces/w/runs/r", "", "rcoau"},
	"POST /workspaces/{workspace}/runs/{run}/archive":             {"/workspaces/w/runs/none/archive", "", "coa"},
	"POST /workspaces/{workspace}/runs/{run}/restore":             {"/workspaces/w/runs/none/restore", "", "coa"},
	"PUT /workspaces/{workspace}/retention":                       {"/workspaces/w/retention", `{"keep_artifacts":0,"keep_logs":0}`, "oa"},
	"GET /workspaces/{workspace}/retention":                       {"/workspaces/w/retention", "", "rcoa"},
	"POST /workspaces/{workspace}/retention":                      {"/workspaces/w/retention", "", "oa"},
	"POST /workspaces/{workspace}/runs/{run}/cancel":              {"/workspaces/w/runs/r/cancel", "", "coau"},
	"GET /workspaces/{workspace}/runs/{run}/events":               {"/workspaces/w/runs/r/events", "", "rcoau"},
	"GET /workspaces/{workspace}/runs/{run}/logs":                 {"/workspaces/w/runs/none/logs", "", "rcoa"},
	"GET /workspaces/{workspace}/runs/{run}/logs/{stream}":        {"/workspaces/w/runs/r/logs/stdout", "", "rcoau"},
	"GET /workspaces/{workspace}/runs/{run}/metrics":              {"/workspaces/w/runs/r/metrics", "", "rcoau"},
	"GET /workspaces/{workspace}/runs/{run}/stats":                {"/workspaces/w/runs/r/stats", "", "rcoau"},
	"GET /workspaces/{workspace}/runs/{run}/artifacts":            {"/workspaces/w/runs/r/artifacts", "", "rcoau"},
	"GET /workspaces/{workspace}/runs/{run}/artifacts/{path}":     {"/workspaces/w/runs/r/artifacts/x", "", "rcoau"},
}

// noSum is the name of an upload that is not there.
const noSum = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// callers makes the tokens of the table: by letter those that are known, by
// name those that are not.
func (d *door) callers() map[string]string {
	d.Helper()
	d.must(d.store.CreateWorkspace(d.Context(), &muster.Workspace{Name: "elsewhere", DefaultCluster: "c"}))
	secrets := map[string]string{"none": "", "forged": "muster_forged", "forged identity": ofRunR + "x", "a": secret, "u": ofRunR}
	for caller, k := range map[string]muster.Token{
		"r":       {Role: muster.RoleReader, Workspace: "w"},
		"c":       {Role: muster.RoleContributor, Workspace: "w"},
		"o":       {Role: muster.RoleOwner, Workspace: "w"},
		"f":       {Role: muster.RoleOwner, Workspace: "elsewhere"},
		"expired": {Role: muster.RoleAdministrator, ExpiresAt: time.Now().Add(-time.Minute)},
		"revoked": {Role: muster.RoleAdministrator},
	} {
		k.Name, secrets[caller] = "of-"+caller, "muster_secret-of-"+caller
		k.Hash = muster.HashToken(secrets[caller])
		d.must(d.store.CreateToken(d.Context(), &k))
	}
	d.must(d.store.RevokeToken(d.Context(), "of-revoked"))
	return secrets
}

// TestAccess calls every route of the document as everybody.
func TestAccess(t *testing.T) {
	d := open(t)
	d.submit()
	callers := d.callers()
	_, paths := d.document()
	described := map[string]bool{}
	for path, methods := range paths {
		for method := range methods {
			described[strings.ToUpper(method)+" "+strings.TrimPrefix(path, "/api/v1")] = true
		}
	}
	for route := range described {
		if _, ok := routes[route]; !ok {
			t.Errorf("the table of access lacks %s", route)
		}
	}
	for route, r := range routes {
		if !described[route] {
			t.Errorf("the document lacks %s", route)
			continue
		}
		method, _, _ := strings.Cut(route, " ")
		for caller, key := range callers {
			header := ""
			if key != "" {
				header = "Bearer " + key
			}
			resp, text := d.call(method, "/api/v1"+r.path, r.body, "Authorization", header)
			want := 0
			switch {
			case r.may == "*" || len(caller) == 1 && strings.Contains(r.may, caller):
			case len(caller) > 1:
				want = 401
			default:
				want = 403
			}
			if got := refused(resp.StatusCode); got != want || resp.StatusCode == 405 || resp.StatusCode == 500 {
				t.Errorf("%s as %s: %s, want %d\n%s", route, caller, resp.Status, want, text)
			}
			if resp.StatusCode >= 400 && resp.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s as %s: %s is no problem", route, caller, resp.Header.Get("Content-Type"))
			}
			if strings.Contains(text, "elsewhere") && strings.Contains("rco", caller) {
				t.Errorf("%s tells %s of another workspace:\n%s", route, caller, text)
			}
		}
	}
}

// refused returns the status when it refuses the caller, else 0.
func refused(status int) int {
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		return status
	}
	return 0
}

// as calls with another token.
func (d *door) as(key, method, path, body string) (*http.Response, string) {
	d.Helper()
	return d.call(method, "/api/v1"+path, body, "Authorization", "Bearer "+key)
}

// TestRefusal holds what a caller is told who may not, and that it is the same
// of a workspace that does not exist.
func TestRefusal(t *testing.T) {
	d := open(t)
	callers := d.callers()
	for _, c := range []struct{ caller, method, path, says string }{
		{"r", "POST", "/workspaces/w/runs", "of-r may not do this: it takes a contributor of workspace w"},
		{"r", "POST", "/workspaces/w/runs", "ask an owner of w; muster whoami shows what you may do"},
		{"f", "GET", "/workspaces/w/runs", "of-f may not do this: it takes a reader of workspace w"},
		{"f", "GET", "/workspaces/none/runs", "of-f may not do this: it takes a reader of workspace none"},
		{"o", "POST", "/clusters", "of-o may not do this: it takes an administrator"},
		{"r", "GET", "/tokens", "of-r may not do this: it takes an owner"},
		{"expired", "GET", "/whoami", "token of-expired expired at "},
		{"revoked", "GET", "/whoami", "this token is not known here"},
		{"forged", "GET", "/whoami", "this token is not known here"},
	} {
		resp, text := d.as(callers[c.caller], c.method, c.path, "")
		if refused(resp.StatusCode) == 0 || !strings.Contains(text, c.says) || !strings.Contains(text, `"cure":`) {
			t.Errorf("%s %s as %s: %s %s", c.method, c.path, c.caller, resp.Status, text)
		}
	}
}

// TestOthersAreHidden shows of another workspace's waiting runs their place
// alone.
func TestOthersAreHidden(t *testing.T) {
	d := open(t)
	callers := d.callers()
	for workspace, run := range map[string]string{"w": "ours", "elsewhere": "theirs"} {
		body := `{"name":"` + run + `","tags":{"of":"` + run + `"},"spec":{"command":"echo ` + run + `","priority":60}}`
		if resp, text := d.call("POST", "/api/v1/workspaces/"+workspace+"/runs", body); resp.StatusCode != 201 {
			t.Fatal(text)
		}
	}
	_, text := d.as(callers["r"], "GET", "/queue", "")
	var queue []*muster.Run
	d.must(json.Unmarshal([]byte(text), &queue))
	seen := map[string]int{}
	for _, r := range queue {
		seen[r.Workspace+"/"+r.Name]++
		if r.Cluster != "c" || r.Position < 1 || r.Spec.Priority != 60 || r.WaitReason == nil {
			t.Errorf("the place of a run is hidden: %+v", r)
		}
	}
	if len(queue) != 2 || seen["w/ours"] != 1 || seen["/"] != 1 || strings.Contains(text, "theirs") || strings.Contains(text, "elsewhere") {
		t.Errorf("a reader of w sees %s", text)
	}
	if _, text := d.as(callers["r"], "GET", "/workspaces", ""); strings.Contains(text, "elsewhere") || !strings.Contains(text, `"w"`) {
		t.Errorf("a reader of w sees the workspaces %s", text)
	}
	if _, text := d.call("GET", "/api/v1/queue", ""); !strings.Contains(text, "theirs") || !strings.Contains(text, "ours") {
		t.Errorf("the administrator sees %s", text)
	}
}

// TestStreamsEnd ends a stream whose caller has lost his right meanwhile, by
// revocation and by time.
func TestStreamsEnd(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.submit()
	for _, way := range []string{"revoked", "expired"} {
		k := &muster.Token{Name: way, Role: muster.RoleReader, Workspace: "w", Hash: muster.HashToken(way)}
		if way == "expired" {
			k.ExpiresAt = time.Now().Add(2 * time.Second)
		}
		d.must(d.store.CreateToken(t.Context(), k))
		req, err := http.NewRequestWithContext(t.Context(), "GET", d.url+"/api/v1/workspaces/w/events", nil)
		d.must(err)
		req.Header.Set("Authorization", "Bearer "+way)
		req.Header.Set("Accept", "text/event-stream")
		resp, err := http.DefaultClient.Do(req)
		d.must(err)
		defer resp.Body.Close()
		if way == "revoked" {
			d.must(d.store.RevokeToken(t.Context(), way))
		}
		if text := readFor(t, resp.Body, 15*time.Second); resp.StatusCode != 200 || !strings.Contains(text, "event: event") {
			t.Errorf("%s: %s\n%s", way, resp.Status, text)
		}
		if resp, _ := d.as(way, "GET", "/whoami", ""); resp.StatusCode != 401 {
			t.Errorf("%s: the next request: %s", way, resp.Status)
		}
	}
}

// readFor reads all of a stream, which must end within the time.
func readFor(t *testing.T, r io.ReadCloser, within time.Duration) string {
	t.Helper()
	late := time.AfterFunc(within, func() { r.Close() })
	text, err := io.ReadAll(r)
	if !late.Stop() || err != nil {
		t.Errorf("the stream did not end within %s: %v", within, err)
	}
	return string(text)
}
