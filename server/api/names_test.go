package api_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/muster-ml/muster"
)

// TestNames reads a list by pages while things are made: each that was there
// comes once.
func TestNames(t *testing.T) {
	d := open(t)
	for i := range 25 {
		d.must(d.store.CreateWorkspace(t.Context(), &muster.Workspace{Name: fmt.Sprintf("a-%02d", i)}))
	}
	seen := map[string]int{}
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		resp, text := d.call("GET", "/api/v1/workspaces?limit=4&name=a-&cursor="+url.QueryEscape(cursor), "")
		var page []muster.Workspace
		d.must(json.Unmarshal([]byte(text), &page))
		for _, w := range page {
			seen[w.Name]++
		}
		cursor = resp.Header.Get(muster.NextHeader)
		d.must(d.store.CreateWorkspace(t.Context(), &muster.Workspace{Name: fmt.Sprintf("a-%02d-new", pages)}))
	}
	for i := range 25 {
		if n := seen[fmt.Sprintf("a-%02d", i)]; n != 1 {
			t.Errorf("a-%02d came %d times", i, n)
		}
	}
	for path, want := range map[string]int{"workspaces": 33, "workspaces?name=w": 1, "clusters?limit=1": 1, "tokens?name=x": 0, "workspaces/w/experiments?limit=3": 0} {
		resp, text := d.call("GET", "/api/v1/"+path, "")
		var page []any
		if err := json.Unmarshal([]byte(text), &page); err != nil || len(page) != want || resp.Header.Get(muster.NextHeader) != "" {
			t.Errorf("%s: %d, want %d: %v %s", path, len(page), want, err, text)
		}
	}
	if resp, text := d.call("GET", "/api/v1/workspaces?cursor=x", ""); resp.StatusCode != 400 || !strings.Contains(text, "is no cursor") {
		t.Errorf("%s %s", resp.Status, text)
	}
}
