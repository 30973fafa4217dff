// Package apm is the plugin by which the Nomad Autoscaler asks the Muster server
// how many nodes a cluster shall have.
package apm

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad-autoscaler/plugins"
	"github.com/hashicorp/nomad-autoscaler/plugins/apm"
	"github.com/hashicorp/nomad-autoscaler/plugins/base"
	"github.com/hashicorp/nomad-autoscaler/sdk"

	"github.com/muster-ml/muster/autoscaler"
	"github.com/muster-ml/muster/client"
)

// answerWithin is how long the server may take: the agent itself waits for ever.
const answerWithin = 5 * time.Second

// Plugin is the plugin. A query is the name of a cluster.
type Plugin struct{ server *client.Client }

var _ apm.APM = (*Plugin)(nil)

// Serve runs the plugin until the agent ends it.
func Serve() {
	autoscaler.EndWithAgent()
	plugins.Serve(func(hclog.Logger) any { return &Plugin{} })
}

// PluginInfo tells the agent what it has started.
func (p *Plugin) PluginInfo() (*base.PluginInfo, error) {
	return &base.PluginInfo{Name: autoscaler.Driver, PluginType: sdk.PluginTypeAPM}, nil
}

// SetConfig takes the plugin's settings.
func (p *Plugin) SetConfig(config map[string]string) (err error) {
	p.server, err = autoscaler.Read(config).Connect()
	return autoscaler.Tell(err)
}

// Query returns one number: how many nodes the cluster shall have. While the
// server does not know it is an error, and never 0.
func (p *Plugin) Query(cluster string, _ sdk.TimeRange) (sdk.TimestampedMetrics, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	s, err := p.server.Scaling(ctx, cluster)
	if err != nil {
		return nil, autoscaler.Tell(err)
	}
	return sdk.TimestampedMetrics{{Timestamp: time.Now(), Value: float64(s.Wanted.Nodes)}}, nil
}

// QueryMultiple returns Query's answer as a list of one.
func (p *Plugin) QueryMultiple(cluster string, window sdk.TimeRange) ([]sdk.TimestampedMetrics, error) {
	one, err := p.Query(cluster, window)
	if err != nil {
		return nil, err
	}
	return []sdk.TimestampedMetrics{one}, nil
}
