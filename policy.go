package muster

import "slices"

// NomadMode says who makes Nomad's namespaces.
type NomadMode string

// The modes.
const (
	NomadManage   NomadMode = "manage"   // Muster does; its token is a management token
	NomadExisting NomadMode = "existing" // the operator does, and gives Muster a token of the least rights
)

// Validate refuses a mode that does not exist.
func (m NomadMode) Validate() error {
	if !slices.Contains([]NomadMode{NomadManage, NomadExisting}, m) {
		return Errorf(CodeInvalid, "%q is no mode", string(m)).At("nomad-mode").WithCure("use %s or %s", NomadManage, NomadExisting)
	}
	return nil
}

// Policies are the least rights that this installation needs, in the words of
// Nomad and Consul.
type Policies struct {
	Installation string    `json:"installation"`
	Mode         NomadMode `json:"nomad_mode"`
	Nomad        string    `json:"nomad"`         // a policy in HCL; in mode manage for the mode existing
	Autoscaler   string    `json:"autoscaler"`    // a policy of Nomad's for the Autoscaler, in HCL
	Consul       string    `json:"consul"`        // rules in HCL
	ConsulAgents string    `json:"consul_agents"` // rules in HCL of the anonymous token, by which agents find servers
	Namespaces   []string  `json:"namespaces"`    // one a workspace
}
