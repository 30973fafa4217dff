package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
)

// check is one thing that muster doctor looked at.
type check struct {
	Name    string `json:"name"`
	State   string `json:"state"` // ok, warn or fail
	Message string `json:"message"`
	Cure    string `json:"cure,omitempty"`
}

// The states of a check.
const (
	checkOK   = "ok"
	checkWarn = "warn"
	checkFail = "fail"
)

// doctorCommand finds out what is wrong.
func doctorCommand() *cli.Command {
	return &cli.Command{Name: "doctor", Usage: "check this machine, the server and its clusters; exit code 1 when something fails", Action: doctor}
}

func doctor(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	d := &diagnosis{Context: c}
	d.settings()
	d.server()
	d.machine()
	passed := "" // where all is well, a filter for what is not finds nothing
	if !slices.ContainsFunc(d.checks, func(k check) bool { return k.State != checkOK }) {
		passed = "All checks are ok."
	}
	if err := list(c, d.checks, listing[check]{
		passed: passed,
		head:   []string{"STATE", "CHECK", "FINDING", "CURE"},
		row:    func(k check) []string { return []string{k.State, k.Name, k.Message, orDash(k.Cure)} },
		fields: map[string]string{"CHECK": "name", "FINDING": "message"},
		wrap:   true,
	}); err != nil {
		return err
	}
	failed := 0
	for _, k := range d.checks {
		failed += boolean(k.State == checkFail)
	}
	if failed > 0 {
		return cli.Exit(count(failed, "check")+" failed", 1)
	}
	return nil
}

// diagnosis collects checks.
type diagnosis struct {
	*cli.Context
	checks []check
}

// add adds a check.
func (d *diagnosis) add(name, state, cure, format string, args ...any) {
	d.checks = append(d.checks, check{name, state, fmt.Sprintf(format, args...), cure})
}

// judge adds a check that an error decides, and reports whether it is well.
func (d *diagnosis) judge(name string, err error, format string, args ...any) bool {
	if err == nil {
		d.add(name, checkOK, "", format, args...)
		return true
	}
	message, cure := err.Error(), ""
	if e, ok := errors.AsType[*muster.Error](err); ok {
		message, cure = e.Message, e.Cure
	}
	d.add(name, checkFail, cure, "%s", message)
	return false
}

// settings checks what the command line knows.
func (d *diagnosis) settings() {
	d.add("command line", checkOK, "", "muster %s", muster.Version)
	p, err := readSettings()
	if err != nil {
		d.judge("settings", err, "")
		return
	}
	for _, s := range settings(d.Context, p)[:2] {
		if s.Value == "" {
			cure := "muster dev starts a server here; muster login, --addr or MUSTER_ADDR names another"
			if s.Name == "token" {
				cure = "muster login, --token or MUSTER_TOKEN gives one; the server writes its first into DATA-DIR/token"
			}
			d.add(s.Name, checkFail, cure, "no %s is known", s.Name)
			continue
		}
		d.add(s.Name, checkOK, "", "%s, from %s", s.Value, strings.TrimSpace(s.Source+" "+s.From))
	}
}

// server checks the server and what it tells.
func (d *diagnosis) server() {
	api, err := connect(d.Context)
	if err != nil {
		return // the address is told already
	}
	defer api.Close()
	ctx, cancel := context.WithTimeout(d.Context.Context, 20*time.Second)
	defer cancel()
	begun := time.Now()
	health, err := api.Glance(ctx, "/healthz")
	if !d.judge("server", err, "answers in %s", length(time.Since(begun))) {
		return
	}
	d.version(ctx, api)
	d.clock(begun, health.At)
	d.ready(ctx, api)
	d.leader(ctx, api)
	d.caller(ctx, api)
	if _, err := api.Workspace(ctx, workspaceOf(d.Context)); d.judge("workspace", err, "%s can be read with this token", workspaceOf(d.Context)) {
		d.clusters(ctx, api)
		d.nodes(ctx, api)
	}
}

// caller asks who we are for the server.
func (d *diagnosis) caller(ctx context.Context, api *client.Client) {
	p, err := api.Whoami(ctx)
	if err != nil {
		d.judge("role", err, "")
		return
	}
	var roles []string
	for _, g := range p.Grants {
		roles = append(roles, strings.TrimSpace(string(g.Role)+" "+g.Workspace))
	}
	state, cure := checkOK, ""
	if !p.ExpiresAt.IsZero() && time.Until(p.ExpiresAt) < soon {
		state, cure = checkWarn, "muster login, or a new token by muster token create"
	}
	d.add("role", state, cure, "%s, %s; expires %s", p.Name, strings.Join(roles, ", "), expiry(p.ExpiresAt))
}

// soon is how long before the end of a token it is warned of.
const soon = 3 * 24 * time.Hour

// version compares the server's release with ours.
func (d *diagnosis) version(ctx context.Context, api *client.Client) {
	version, err := api.ServerVersion(ctx)
	if err == nil && version != muster.Version {
		d.add("server version", checkWarn, "use the same release of both", "the server is %s, and this is %s", version, muster.Version)
		return
	}
	d.judge("server version", err, "%s", version)
}

// How far two clocks may be apart: beyond the first times look odd, beyond the
// second tokens that expire go wrong.
const (
	oddSkew = 5 * time.Second
	badSkew = 5 * time.Minute
)

// clock compares the server's clock with ours.
func (d *diagnosis) clock(begun, server time.Time) {
	if server.IsZero() {
		d.add("clock", checkWarn, "", "the server does not tell its time")
		return
	}
	skew := max(begun.Truncate(time.Second).Sub(server), time.Until(server), 0)
	state, cure := checkOK, ""
	if skew > oddSkew {
		state, cure = checkWarn, "set both clocks by NTP"
	}
	if skew > badSkew {
		state = checkFail
	}
	d.add("clock", state, cure, "%s apart from the server's", length(skew))
}

// ready asks whether the server can take and start runs.
func (d *diagnosis) ready(ctx context.Context, api *client.Client) {
	g, err := api.Glance(ctx, "/readyz")
	if err == nil && g.Status != 200 {
		err = muster.Errorf(muster.CodeUnreachable, "not ready: %s", strings.TrimSpace(g.Text)).
			WithCure("see the server's log, and whether Nomad and the disk of its data folder are well")
	}
	d.judge("ready", err, "store and Nomad answer")
	if err == nil {
		d.consul(g.Text)
	}
}

// consul reads of a server that is ready whether it is registered in Consul,
// where it uses one.
func (d *diagnosis) consul(ready string) {
	_, said, uses := strings.Cut(strings.TrimSpace(ready), "consul: ")
	switch {
	case !uses:
	case said == "ok":
		d.add("registration", checkOK, "", "the server stands in Consul")
	default:
		d.add("registration", checkWarn, "runs go on; see that Consul answers, and --consul-addr and --consul-token of the server", "the server does not stand in Consul: %s", said)
	}
}

// leaderRE finds in the metrics whether the server leads.
var leaderRE = regexp.MustCompile(`(?m)^muster_leader(?:\{[^}]*\})? (\d+)`)

// leader asks whether the server leads.
func (d *diagnosis) leader(ctx context.Context, api *client.Client) {
	g, err := api.Glance(ctx, "/metrics")
	if err != nil {
		d.judge("leader", err, "")
		return
	}
	m := leaderRE.FindStringSubmatch(g.Text)
	switch {
	case m == nil:
		d.add("leader", checkWarn, "", "the server does not tell whether it leads")
	case m[1] == "0":
		d.add("leader", checkWarn, "see the log of the server that leads", "this server does not lead: another one starts the runs, or none does")
	default:
		d.add("leader", checkOK, "", "this server leads")
	}
}

// clusters asks whether each cluster has nodes.
func (d *diagnosis) clusters(ctx context.Context, api *client.Client) {
	all, err := api.Clusters(ctx)
	if err != nil {
		d.judge("clusters", err, "")
		return
	}
	if len(all) == 0 {
		d.add("clusters", checkFail, "muster cluster create --node-pool POOL NAME makes one", "there is no cluster, so no run can start")
	}
	for _, k := range all {
		d.cluster(k)
	}
}

// cluster asks whether a cluster has the nodes that it shall have. One whose nodes
// come and go may well have none.
func (d *diagnosis) cluster(k *muster.Cluster) {
	state, cure := checkOK, ""
	words := fmt.Sprintf("%s in node pool %s, %d ready", count(k.Nodes, "node"), k.NodePool, k.Ready)
	if k.Wanted != nil {
		words += fmt.Sprintf(", %d wanted", k.Wanted.Nodes)
	}
	wants := !k.Provider.Elastic() || k.Wanted != nil && k.Wanted.Nodes > 0
	switch {
	case !k.SilentSince.IsZero():
		state, cure = checkWarn, "see that muster-autoscaler runs, and its log; runs of this cluster wait"
		words += "; its autoscaler was " + silenceOf(k)
	case k.Failure != nil:
		state, cure = checkWarn, fmt.Sprintf("muster cluster show %s says more; it is tried again at %s", k.Name, clock(k.Failure.Until))
		words += ": " + k.Failure.Message
	case k.Paused:
		state, cure = checkWarn, "muster cluster resume "+k.Name
		words += ", and it is paused"
	case k.Ready == 0 && wants:
		state, cure = checkWarn, "nomad node status shows the nodes of the pool; runs of this cluster wait"
	}
	d.add("cluster "+k.Name, state, cure, "%s", words)
}

// nodes repeats what the nodes say of themselves.
func (d *diagnosis) nodes(ctx context.Context, api *client.Client) {
	all, err := api.Nodes(ctx, "")
	if err != nil {
		d.judge("nodes", err, "")
		return
	}
	for _, n := range all {
		if n.State == muster.NodeLeaving {
			continue // as it shall
		}
		if !n.Ready() {
			why := cmp.Or(n.Reason, "Nomad says "+n.Status)
			d.add("node "+n.Name, checkWarn, "muster node show "+n.Name+"; nomad node status "+n.ID, "%s: %s", n.State, why)
		}
		for _, note := range n.Notes {
			d.add("node "+n.Name, checkWarn, "", "%s", note)
		}
	}
}
