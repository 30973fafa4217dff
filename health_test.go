package muster

import (
	"testing"
	"time"
)

// TestHear goes through what an agent may tell, and holds what follows: how often
// in a row the node was unusable, and what is told of it.
func TestHear(t *testing.T) {
	h, now := &NodeHealth{Name: "n"}, noon
	for i, step := range []struct {
		after    time.Duration
		r        NodeReport
		news     string
		failures int
		unfit    string
	}{
		{0, NodeReport{Boot: "b", State: HealthPreparing, Reason: "it begins"}, "is made ready: it begins", 0, ""},
		{1, NodeReport{Boot: "b", State: HealthPreparing, Reason: "it begins"}, "", 0, ""},
		{1, NodeReport{Boot: "b", Generation: "g", State: HealthPreparing, Reason: "try 1"}, "", 0, ""},
		{1, NodeReport{Boot: "b", Generation: "g", State: HealthUnusable, Reason: "exit code 1"}, "is unusable: exit code 1", 1, "exit code 1"},
		{1, NodeReport{Boot: "b", Generation: "g", State: HealthUnusable, Reason: "exit code 2"}, "", 1, "exit code 2"},
		{1, NodeReport{Boot: "b", Generation: "g", State: HealthReady}, "is ready", 1, ""},
		{1, NodeReport{Boot: "c", Generation: "g", State: HealthUnusable, Reason: "a check"}, "is unusable: a check", 2, "a check"},
		{1, NodeReport{Boot: "c", Generation: "g", State: HealthReady}, "is ready", 2, ""},
		{calm + 1, NodeReport{Boot: "c", Generation: "g", State: HealthReady}, "", 0, ""},
		{1, NodeReport{Boot: "c", Generation: "g", State: HealthUnusable, Reason: "a"}, "is unusable: a", 1, "a"},
		{1, NodeReport{Boot: "c", Generation: "g", State: HealthReady}, "is ready", 1, ""},
		{1, NodeReport{Boot: "c", Generation: "g", State: HealthUnusable, Reason: "b"}, "is unusable: b", 2, "b"},
		{1, NodeReport{Boot: "c", Generation: "g", State: HealthReady}, "is ready", 2, ""},
		{1, NodeReport{Boot: "c", Generation: "g", State: HealthUnusable, Reason: "c"}, "is in quarantine, as it has become unusable 3 times in a row: c", 3, "in quarantine, it has become unusable 3 times in a row: c"},
		{1, NodeReport{Boot: "d", Generation: "g", State: HealthReady}, "is well again, and stays in quarantine", 3, "in quarantine, it has become unusable 3 times in a row: c"},
		{calm + 1, NodeReport{Boot: "d", Generation: "g", State: HealthReady}, "", 3, "in quarantine, it has become unusable 3 times in a row: c"},
		{1, NodeReport{Boot: "d", Generation: "h", State: HealthReady}, "is ready", 0, ""},
		{1, NodeReport{Boot: "d", Generation: "i", State: HealthReady}, "", 0, ""},
	} {
		now = now.Add(step.after)
		if _, news := h.Hear(&step.r, now); news != step.news || h.Failures != step.failures || h.Unfit() != step.unfit {
			t.Errorf("step %d: %q, %d failures, unfit %q; want %q, %d, %q", i, news, h.Failures, h.Unfit(), step.news, step.failures, step.unfit)
		}
	}
}

// TestGeneration holds that a node is made ready anew after a change of what made
// it so, and not after others.
func TestGeneration(t *testing.T) {
	c := &Cluster{ClusterSettings: ClusterSettings{Setup: &Setup{Command: "a"}}}
	first := c.Generation()
	c.Health, c.Max = &Health{Engine: true}, 7
	if c.Generation() != first {
		t.Error("other settings make it another")
	}
	c.SecretsVersion = 3
	second := c.Generation()
	c.Setup.AsRoot = true
	if second == first || c.Generation() == second {
		t.Error("a secret or a change of the set-up leaves it as it was")
	}
}

// TestAgain holds that nodes which cannot be used are counted in a row, each once.
func TestAgain(t *testing.T) {
	var f *BuyFailure
	for i, step := range []struct {
		kind  FailureKind
		node  string
		tries int
	}{{FailSetup, "a", 1}, {FailSetup, "a", 1}, {FailSetup, "b", 2}, {FailUnfit, "c", 1}, {FailUnfit, "d", 2}} {
		f = f.Again(step.kind, NodeRecord{ID: step.node, Name: step.node}, "why", noon)
		if f.Kind != step.kind || f.Tries != step.tries || !f.OfNodes() || !f.Until.After(noon) {
			t.Errorf("step %d: %+v", i, f)
		}
	}
}

// TestNoMore holds that a set-up and health are taken off a cluster by one that
// says nothing, and that this is told once.
func TestNoMore(t *testing.T) {
	c := &Cluster{ClusterSettings: ClusterSettings{Setup: &Setup{Command: "true"}, Health: &Health{Engine: true}}}
	change := ClusterChange{Setup: &Setup{}, Health: &Health{}}
	if told := change.Apply(c); told != "no set-up, no health check" || c.Setup != nil || c.Health != nil || c.Prepares() {
		t.Errorf("%q leaves %+v", told, c)
	}
	if told := change.Apply(c); told != "" {
		t.Errorf("nothing is changed, and it says %q", told)
	}
	if made := (&ClusterRequest{Name: "c", ClusterSettings: ClusterSettings{Health: &Health{}}}).Cluster(); made.Prepares() {
		t.Errorf("health that says nothing is %+v", made.Health)
	}
}
