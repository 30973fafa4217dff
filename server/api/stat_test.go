package api_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/muster-ml/muster"
)

// TestStats asks for what a run used, all of it and parts.
func TestStats(t *testing.T) {
	d := open(t)
	r := d.submit()
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	var samples []muster.StatSample
	for i := range 2 {
		samples = append(samples, muster.StatSample{RunID: r.ID, Attempt: 1, Instance: i, At: at, Readings: []muster.Reading{
			{Name: "cpu", Unit: "%", Value: 99.5}, {Name: "gpu.sim-V100-0::1.power", Unit: "W", Value: 60}, {Name: "gpu.sim-V100-0::1.ecc_corrected"}}})
	}
	d.must(d.lead().KeepStats(t.Context(), samples))
	for query, want := range map[string]int{"": 6, "?instance=all&name=cpu": 2, "?instance=1": 3, "?name=gpu&instance=0": 2, "?name=gpu.sim-V100-0::1.power": 2, "?name=g": 0, "?attempt=2": 0, "?instance=7": 0} {
		resp, text := d.call("GET", runs+"/r/stats"+query, "")
		var all []muster.Stat
		if err := json.Unmarshal([]byte(text), &all); err != nil || resp.StatusCode != 200 || len(all) != want || all == nil {
			t.Errorf("%s: %s %v, want %d of\n%s", query, resp.Status, err, want, text)
		}
	}
	if _, text := d.call("GET", runs+"/r/stats?name=cpu&instance=1", ""); strings.TrimSpace(text) != `[{"name":"cpu","unit":"%","attempt":1,"instance":1,"at":"2026-01-31T12:00:00Z","value":99.5}]` {
		t.Errorf("a sample is %s", text)
	}
	for query, says := range map[string]string{"?instance=-1": "instance must be a number from 0 on, or all", "?instance=x": "or all", "?attempt=-1": "attempt"} {
		if resp, text := d.call("GET", runs+"/r/stats"+query, ""); resp.StatusCode != 400 || !strings.Contains(text, says) {
			t.Errorf("%s: %s %s", query, resp.Status, text)
		}
	}
	if resp, _ := d.call("GET", runs+"/none/stats", ""); resp.StatusCode != 404 {
		t.Errorf("of a run that is not there: %s", resp.Status)
	}
}
