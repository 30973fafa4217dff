package jobfile

import (
	"fmt"
	"io"

	"gopkg.in/yaml.v3"

	"github.com/muster-ml/muster"
)

// Compute is a file of compute that was read, Azure ML's amlcompute.
type Compute struct {
	Request  muster.ClusterRequest
	Warnings []string // keys that mean nothing here
	Written
}

// What Azure ML's files leave out, and the most seconds of a time in them.
const (
	defaultMaxInstances = 1
	maxIdleSeconds      = 7 * 24 * 3600
)

// ReadCompute reads a file of compute; name is its path, for errors.
func ReadCompute(r io.Reader, name string) (*Compute, error) {
	f := &file{content: aCluster, name: name, set: map[any]string{}}
	if name == "-" {
		f.name = "stdin"
	}
	text, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read the cluster file: %w", err)
	}
	root, err := f.parse(text)
	if err != nil {
		return nil, err
	}
	j := &job{file: f}
	c := &Compute{Written: Written{f, root}}
	q, idle := &c.Request, 0
	q.Max = defaultMaxInstances
	const nothing = "means nothing here and is passed over"
	if err := j.mapping(root, "", readers{
		"$schema": pass, "description": pass, "tags": pass,
		"type": func(n *node, field string) error {
			if n.Value != "amlcompute" {
				return j.errorf(n, field, "type is %s", quote(n)).WithCure("clusters are of type amlcompute")
			}
			return nil
		},
		"name":                        j.checkedName("cluster", &q.Name),
		"size":                        j.text(&q.Size),
		"tier":                        choice(j, &q.Tier, map[string]muster.Tier{"dedicated": muster.TierDedicated, "low_priority": muster.TierLowPriority, "lowpriority": muster.TierLowPriority}),
		"min_instances":               j.integer(&q.Min, 0, muster.MaxNodes),
		"max_instances":               j.integer(&q.Max, 1, muster.MaxNodes),
		"idle_time_before_scale_down": j.integer(&idle, 1, maxIdleSeconds),
		"location":                    j.means(nothing), "network_settings": j.means(nothing), "identity": j.means(nothing), "enable_node_public_ip": j.means(nothing),
		"ssh_public_access_enabled": j.means(nothing), "ssh_settings": j.means(nothing), "created_on": j.means(nothing), "resource_id": j.means(nothing),
		"x-muster": func(n *node, field string) error {
			provider := ""
			defer func() { q.Provider = muster.Provider(provider) }()
			return j.mapping(n, field, readers{"provider": j.text(&provider), "group": j.words(&q.Group), "workspaces": j.texts(&q.Workspaces), "node_pool": j.text(&q.NodePool),
				"run_as": j.text(&q.RunAs), "os": j.text(&q.OS), "on_shrink": choice(j, &q.OnShrink, map[string]muster.OnShrink{"wait": muster.ShrinkWait, "requeue": muster.ShrinkRequeue, "terminate": muster.ShrinkTerminate}), "setup": j.readSetup(&q.Setup), "health": j.readHealth(&q.Health)})
		},
	}); err != nil {
		return nil, err
	}
	if q.Name == "" {
		return nil, j.errorf(root, "name", "the cluster has no name").WithCure("say how it is called: name: gpu")
	}
	q.Idle = muster.Seconds(float64(idle))
	c.Warnings = j.Request.Spec.Warnings
	return c, nil
}

// readSetup reads what makes nodes ready.
func (j *job) readSetup(to **muster.Setup) func(n *node, field string) error {
	return func(n *node, field string) error {
		s := &muster.Setup{}
		*to = s
		return j.mapping(n, field, readers{"command": j.text(&s.Command), "environment_variables": j.words(&s.Env), "secrets": j.texts(&s.Secrets), "as_root": j.yes(&s.AsRoot),
			"timeout": j.seconds(&s.Timeout), "retries": j.integer(&s.Retries, 0, 10)})
	}
}

// readHealth reads what nodes must be.
func (j *job) readHealth(to **muster.Health) func(n *node, field string) error {
	return func(n *node, field string) error {
		h := &muster.Health{}
		*to = h
		return j.mapping(n, field, readers{"container_engine": j.yes(&h.Engine), "clock": j.seconds(&h.Clock), "checks": j.readChecks(h),
			"free_disk": func(n *node, field string) error {
				amount, err := j.memory(n, field)
				h.DiskMiB = amount.Units()
				return err
			}})
	}
}

// readChecks reads a list of checks.
func (j *job) readChecks(h *muster.Health) func(n *node, field string) error {
	return func(n *node, field string) error {
		if n.null() {
			return nil
		}
		if n.Kind != yaml.SequenceNode {
			return j.errorf(n, field, "%s is a list, and this is %s", field, describe(n)).WithCure("begin each check with a line - name: NAME")
		}
		for i, each := range n.Content {
			check, at := muster.Check{}, fmt.Sprintf("%s[%d]", field, i)
			if err := j.mapping((*node)(each), at, readers{"name": j.text(&check.Name), "command": j.text(&check.Command), "timeout": j.seconds(&check.Timeout)}); err != nil {
				return err
			}
			h.Checks = append(h.Checks, check)
		}
		return nil
	}
}

// yes reads true or false.
func (j *job) yes(to *bool) func(n *node, field string) error {
	return choice(j, to, map[string]bool{"true": true, "false": false})
}

// seconds reads a number of seconds.
func (j *job) seconds(to *muster.Duration) func(n *node, field string) error {
	return func(n *node, field string) error {
		if n.null() {
			return nil
		}
		v, err := j.number(n, field, 1, maxIdleSeconds)
		*to = muster.Seconds(v)
		return err
	}
}

// Change returns what the file says as a change of a cluster that is there: what
// it leaves out stays.
func (c *Compute) Change() muster.ClusterChange {
	q := &c.Request
	change := muster.ClusterChange{Setup: q.Setup, Health: q.Health, Group: q.Group}
	if q.Size != "" {
		change.Size = &q.Size
	}
	if c.root.get("min_instances") != nil {
		change.Min = &q.Min
	}
	if c.root.get("max_instances") != nil {
		change.Max = &q.Max
	}
	if q.Idle != 0 {
		change.Idle = &q.Idle
	}
	if q.Workspaces != nil {
		change.Workspaces = &q.Workspaces
	}
	if q.OS != "" {
		change.OS = &q.OS
	}
	if q.OnShrink != "" {
		change.OnShrink = &q.OnShrink
	}
	if q.RunAs != "" {
		change.RunAs = &q.RunAs
	}
	return change
}
