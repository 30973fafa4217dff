package api_test

import (
	"strings"
	"testing"

	"github.com/muster-ml/muster"
)

// TestRegistries logs in and out, and submits a run whose image lies there. The
// password is in the vault and nowhere else.
func TestRegistries(t *testing.T) {
	d := open(t)
	const registries, password = "/api/v1/workspaces/w/registries", "very-secret"
	resp, text := d.call("PUT", registries+"/r.example:5000", `{"username":"ci","password":"`+password+`"}`)
	if resp.StatusCode != 200 || strings.Contains(text, password) {
		t.Fatalf("%s: %s", resp.Status, text)
	}
	_, key := muster.VaultKeys("r.example:5000")
	if got := d.vault.kept[key].Reveal(); got != password {
		t.Errorf("the vault has %q", got)
	}
	for image, want := range map[string]string{"r.example:5000/a/b:1": `"registry":"r.example:5000"`, "other.example/a:1": ""} {
		_, text := d.call("POST", runs, `{"spec":{"command":"x","environment":"`+image+`"}}`)
		if strings.Contains(text, `"registry"`) != (want != "") || !strings.Contains(text, want) {
			t.Errorf("%s: %s", image, text)
		}
	}
	if resp, text := d.call("DELETE", registries+"/r.example:5000", ""); resp.StatusCode != 204 || len(d.vault.kept) != 0 {
		t.Errorf("%s: %s, and the vault has %v", resp.Status, text, d.vault.kept)
	}
	for body, says := range map[string]string{
		`{"username":"","password":"x"}`:     "the user name is empty",
		`{"username":"ci","password":""}`:    "the password is empty",
		`{"username":"ci"}`:                  "password is missing",
		`{"username":"ci","pasword":"oops"}`: "pasword is not known",
	} {
		if resp, text := d.call("PUT", registries+"/r.example", body); resp.StatusCode != 400 || !strings.Contains(text, says) {
			t.Errorf("%s: %s %s", body, resp.Status, text)
		}
	}
	if resp, text := d.call("PUT", registries+"/Bad%20Host", `{"username":"ci","password":"x"}`); resp.StatusCode != 400 || !strings.Contains(text, "is not the host of a registry") {
		t.Errorf("%s: %s", resp.Status, text)
	}
	if resp, text := d.call("DELETE", registries+"/none", ""); resp.StatusCode != 404 {
		t.Errorf("%s: %s", resp.Status, text)
	}
	if everything := d.everything(); strings.Contains(everything, password) {
		t.Errorf("the password is in\n%s", everything)
	}
}

// TestNoLoginIsLeft holds that what is in the vault can always be taken out:
// after a vault that was away, and with its workspace.
func TestNoLoginIsLeft(t *testing.T) {
	d := open(t)
	const registries = "/api/v1/workspaces/w/registries/"
	login := func() {
		if resp, text := d.call("PUT", registries+"r.example", `{"username":"ci","password":"x"}`); resp.StatusCode != 200 {
			t.Fatal(text)
		}
	}
	login()
	d.vault.away = true
	if resp, text := d.call("DELETE", registries+"r.example", ""); resp.StatusCode != 503 {
		t.Errorf("%s: %s", resp.Status, text)
	}
	d.vault.away = false
	if resp, text := d.call("DELETE", registries+"r.example", ""); resp.StatusCode != 204 || len(d.vault.kept) != 0 {
		t.Errorf("%s: %s, and the vault has %v", resp.Status, text, d.vault.kept)
	}
	login()
	d.submit()
	if resp, text := d.call("DELETE", "/api/v1/workspaces/w?confirm=w", ""); resp.StatusCode != 409 || len(d.vault.kept) == 0 {
		t.Errorf("with a run that goes on: %s: %s, and the vault has %v", resp.Status, text, d.vault.kept)
	}
	if resp, text := d.call("POST", runs+"/r/cancel", ""); resp.StatusCode != 202 {
		t.Fatal(text)
	}
	if _, err := d.lead().StopQueued(t.Context()); err != nil {
		t.Fatal(err)
	}
	if resp, text := d.call("DELETE", "/api/v1/workspaces/w?confirm=w", ""); resp.StatusCode != 204 || len(d.vault.kept) != 0 {
		t.Errorf("%s: %s, and the vault has %v", resp.Status, text, d.vault.kept)
	}
}
