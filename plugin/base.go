package plugin

import (
	"context"

	base "github.com/hashicorp/nomad/plugins/base/proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// PluginInfo says which plugin this is.
func (s *server) PluginInfo(context.Context, *base.PluginInfoRequest) (*base.PluginInfoResponse, error) {
	return &base.PluginInfoResponse{Type: base.PluginType_DEVICE, PluginApiVersions: []string{"v0.1.0"}, PluginVersion: version, Name: Name}, nil
}

// ConfigSchema says what may stand in the plugin's block.
func (s *server) ConfigSchema(context.Context, *base.ConfigSchemaRequest) (*base.ConfigSchemaResponse, error) {
	return &base.ConfigSchemaResponse{Spec: schema()}, nil
}

// SetConfig takes what stands in the plugin's block, and opens the sources that
// it names in place of the ones before.
func (s *server) SetConfig(_ context.Context, req *base.SetConfigRequest) (*base.SetConfigResponse, error) {
	c, err := readConfig(req.GetMsgpackConfig())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	s.close()
	s.mu.Lock()
	s.config, s.sources = c, s.open(c, s.log, s.again)
	s.mu.Unlock()
	s.again()
	return &base.SetConfigResponse{}, nil
}
