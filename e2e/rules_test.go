package e2e

import (
	"strings"
	"testing"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/dev"
)

// TestRules changes what a live cluster takes: runs of which workspaces, as which
// user, on which operating system.
func TestRules(t *testing.T) {
	p := open(t, dev.Config{})
	waits := func(name string, code muster.WaitCode, text string) {
		p.until(name, "the reason "+string(code), func(v view) bool {
			return v.WaitReason != nil && v.WaitReason.Code == code && strings.Contains(v.WaitReason.Message, text)
		})
	}
	p.muster("workspace", "create", "others")
	p.muster("cluster", "pause", "local")
	early := p.submit(small("id -un", ""), "--name", "early")
	waits(early, muster.WaitPaused, "")
	p.muster("cluster", "update", "local", "--allow", "others", "--run-as", "nobody")
	p.muster("cluster", "resume", "local")
	waits(early, muster.WaitClosed, "cluster local is not for workspace default any more")
	if r := p.try("run", "submit", p.file(small("id", ""))); r.code == 0 || !strings.Contains(r.err, "local") {
		t.Errorf("a workspace that it is not for: %d %s", r.code, r.err)
	}
	p.muster("cluster", "update", "local", "--allow", "")
	p.ends(early, muster.RunSucceeded)
	if user := p.muster("run", "logs", early, "--stream", "stdout"); user != "nobody\n" {
		t.Errorf("it runs as %q", user)
	}
	p.muster("cluster", "update", "local", "--os", "plan9")
	elsewhere := p.submit(small("true", ""), "--name", "elsewhere")
	waits(elsewhere, muster.WaitNodes, "no ready node")
	if nodes := p.muster("node", "list", "-o", "json"); !strings.Contains(nodes, "and its cluster wants plan9") {
		t.Errorf("the node does not say why:\n%s", nodes)
	}
	p.muster("cluster", "update", "local", "--os", "")
	p.ends(elsewhere, muster.RunSucceeded)
}
