package jobfile

import (
	"fmt"
	"io"

	"github.com/muster-ml/muster"
)

// Compute is a file of compute that was read, Azure ML's amlcompute.
type Compute struct {
	Request  muster.ClusterRequest
	Warnings []string // keys that mean nothing here
}

// The limits that Azure ML's files leave out.
const (
	defaultMaxInstances = 1
	maxIdleSeconds      = 7 * 24 * 3600
)

// ReadCompute reads a file of compute; name is its path, for errors.
func ReadCompute(r io.Reader, name string) (*Compute, error) {
	f := &file{name: name, set: map[any]string{}}
	if name == "-" {
		f.name = "stdin"
	}
	text, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.name, err)
	}
	root, err := f.parse(text)
	if err != nil {
		return nil, err
	}
	j := &job{file: f}
	c := &Compute{}
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
			return j.mapping(n, field, readers{"provider": j.text(&provider), "group": j.words(&q.Group), "workspaces": j.texts(&q.Workspaces), "node_pool": j.text(&q.NodePool)})
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
