package apm

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hashicorp/nomad-autoscaler/sdk"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/autoscaler"
)

// TestQuery asks a server that knows, one that does not, and none.
func TestQuery(t *testing.T) {
	var wanted *muster.Scaling
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/clusters/c/scaling" || wanted == nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			json.NewEncoder(w).Encode(map[string]string{"code": "unreachable", "detail": "no leader yet"})
			return
		}
		json.NewEncoder(w).Encode(wanted)
	}))
	p := &Plugin{}
	if info, err := p.PluginInfo(); err != nil || info.Name != autoscaler.Driver || info.PluginType != sdk.PluginTypeAPM {
		t.Errorf("info %+v, %v", info, err)
	}
	if err := p.SetConfig(autoscaler.Settings{Addr: server.URL}.Map()); err != nil {
		t.Fatal(err)
	}
	if m, err := p.Query("c", sdk.TimeRange{}); err == nil || !strings.Contains(err.Error(), "no leader yet") {
		t.Errorf("while it does not know: %v, %v", m, err)
	}
	wanted = &muster.Scaling{Wanted: muster.Wanted{Nodes: 3}}
	many, err := p.QueryMultiple("c", sdk.TimeRange{})
	if err != nil || len(many) != 1 || len(many[0]) != 1 || many[0][0].Value != 3 || many[0][0].Timestamp.IsZero() {
		t.Errorf("metrics %v, %v", many, err)
	}
	server.Close()
	// At those words the agent would drop all its policies.
	if _, err := p.Query("c", sdk.TimeRange{}); err == nil || strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "EOF") {
		t.Errorf("without a server: %v", err)
	}
}
