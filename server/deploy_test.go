package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// promtool builds Prometheus's own checker of rules, of the module in
// tools/prometheus, without the ways to find targets, which rules do not need.
func promtool(t *testing.T) func(input string, args ...string) {
	t.Helper()
	file, err := filepath.Abs("../.cache/promtool")
	if err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-C", "../tools/prometheus", "-tags", "remove_all_sd", "-o", file, "github.com/prometheus/prometheus/cmd/promtool")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build promtool: %v\n%s", err, out)
	}
	return func(input string, args ...string) {
		t.Helper()
		check := exec.Command(file, args...)
		check.Stdin = strings.NewReader(input)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// documented returns the kinds of the metrics in docs/monitoring.md, by name.
func documented(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(muster_\\w+)` \\| (\\w+) \\|").FindAllStringSubmatch(string(text), -1) {
		all[m[1]] = m[2]
	}
	return all
}

// checkNames fails where a query uses a metric that is not documented, and so
// not served: see TestMetricsAreDocumented.
func checkNames(t *testing.T, where, query string) {
	t.Helper()
	kinds := documented(t)
	names := regexp.MustCompile(`\bmuster_\w+`).FindAllString(query, -1)
	for _, name := range names {
		base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
		if kinds[name] == "" && kinds[base] != "histogram" || kinds[name] == "histogram" {
			t.Errorf("%s uses %s, which is not served", where, name)
		}
	}
}

// TestMetricsAreWell holds that Prometheus finds nothing wrong with the names,
// kinds and texts of the metrics.
func TestMetricsAreWell(t *testing.T) {
	s := openServer(t, nil)
	work(t, s)
	promtool(t)(get(t, s, "/metrics", nil).Body.String(), "check", "metrics")
}

// TestAlerts holds that Prometheus takes the alert rules, that they fire when
// they should and else do not, and that all they use is served.
func TestAlerts(t *testing.T) {
	check := promtool(t)
	check("", "check", "rules", "--lint-fatal", "../deploy/prometheus/alerts.yml")
	check("", "test", "rules", "../deploy/prometheus/alerts_test.yml")
	text, err := os.ReadFile("../deploy/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	queries := regexp.MustCompile(`(?s)expr: (.*?)\n +(?:for|labels):`).FindAllStringSubmatch(string(text), -1)
	if alerts := bytes.Count(text, []byte("- alert:")); len(queries) != alerts {
		t.Errorf("%d alerts and %d queries", alerts, len(queries))
	}
	for _, q := range queries {
		checkNames(t, "alerts.yml", q[1])
	}
}

// TestDashboard holds that Prometheus understands every query of the dashboard,
// and that all they use is served.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../deploy/grafana/muster.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Type, Title string
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("$__rate_interval", "5m", "$cluster", ".*")
	rules, n := &strings.Builder{}, 0
	rules.WriteString("groups: [{name: dashboard, rules: [\n")
	for _, p := range board.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q asks nothing", p.Title)
		}
		for _, q := range p.Targets {
			checkNames(t, "panel "+p.Title, q.Expr)
			expr, err := json.Marshal(fill.Replace(q.Expr))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(rules, "{record: \"panel:%d\", expr: %s},\n", n, expr)
			n++
		}
	}
	rules.WriteString("]}]\n")
	if n < 30 {
		t.Errorf("the dashboard has %d queries: is this the right file?", n)
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t)("", "check", "rules", file)
}
