package api_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestPage holds that the page shows every operation and schema, and needs
// nothing from elsewhere.
func TestPage(t *testing.T) {
	d := open(t)
	resp, page := d.call("GET", "/api/v1/docs", "", "Authorization", "")
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	if strings.Contains(page, "http://") || strings.Contains(page, "https://") || strings.Contains(page, "<script") || strings.Contains(page, "ZgotmplZ") {
		t.Error("the page needs what is elsewhere, or a template broke")
	}
	text, _ := d.document()
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string
			Parameters  []struct {
				Name, In string
				Example  any
			}
			RequestBody struct {
				Content map[string]struct{ Example any }
			}
		}
		Components struct{ Schemas map[string]any }
	}
	d.must(json.Unmarshal([]byte(text), &doc))
	for path, methods := range doc.Paths {
		for method, o := range methods {
			if !strings.Contains(page, `id="`+o.OperationID+`"`) {
				t.Errorf("the page lacks %s %s", method, path)
			}
			for _, p := range o.Parameters {
				if p.In == "path" && p.Example == nil {
					t.Errorf("%s %s: %s has no example", method, path, p.Name)
				}
			}
			if body, ok := o.RequestBody.Content["application/json"]; ok && body.Example == nil {
				t.Errorf("%s %s: its body has no example", method, path)
			}
		}
	}
	for name := range doc.Components.Schemas {
		if !strings.Contains(page, `id="schema-`+name+`"`) {
			t.Errorf("the page lacks the schema %s", name)
		}
	}
}
