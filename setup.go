package muster

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Setup is what makes a cluster's nodes ready for runs: a command that each of
// them executes when it joins and on every boot. Until it has ended well no run
// begins on the node.
type Setup struct {
	Command string            `json:"command" doc:"Executed by /bin/bash, or /bin/sh without one." example:"apt-get install -y libgomp1"`
	Env     map[string]string `json:"environment_variables,omitempty"`
	Secrets []string          `json:"secrets,omitempty" doc:"Secrets of the cluster that it gets as variables of these names; muster cluster secret keeps them."`
	AsRoot  bool              `json:"as_root,omitempty" doc:"As root; otherwise as the user whose rights runs have."`
	Timeout Duration          `json:"timeout_seconds,omitempty" doc:"Of one try; 900 when left out." example:"900"`
	Retries int               `json:"retries,omitempty" minimum:"0" maximum:"10" doc:"How often it is tried again."`
}

// Health is what a cluster's nodes must be to take runs. A node is looked at
// before its first run and every minute.
type Health struct {
	Engine  bool     `json:"container_engine,omitempty" doc:"A node without a container engine that works takes no run."`
	DiskMiB int64    `json:"free_disk_mib,omitempty" minimum:"0" doc:"What must be free where runs work; 256 when left out." example:"10240"`
	Clock   Duration `json:"clock_seconds,omitempty" doc:"How much a clock may differ from the server's; 30 when left out." example:"30"`
	Checks  []Check  `json:"checks,omitempty" doc:"Checks of your own."`
}

// Check is a command that ends with 0 on a node that is well.
type Check struct {
	Name    string   `json:"name" example:"scratch"`
	Command string   `json:"command" example:"test -w /scratch"`
	Timeout Duration `json:"timeout_seconds,omitempty" doc:"30 when left out."`
}

// Defaults of set-up and health.
const (
	DefaultSetupTimeout = Duration(15 * time.Minute)
	DefaultCheckTimeout = Duration(30 * time.Second)
	DefaultFreeDiskMiB  = 256
	DefaultClock        = Duration(30 * time.Second)
)

// CheckEvery is how often a node that is ready is looked at.
const CheckEvery = time.Minute

// The most that a cluster may ask of its nodes' agents.
const (
	maxSetupTimeout = Duration(24 * time.Hour)
	maxCheckTimeout = Duration(5 * time.Minute)
	maxChecks       = 20
	maxSetupText    = 64 << 10
)

// CheckVariable refuses what is no name of a variable.
func CheckVariable(name string) error {
	if len(name) > 128 || strings.HasPrefix(name, "MUSTER_") || !variableRE.MatchString(name) {
		return Errorf(CodeInvalid, "%q is not a name for a variable", name).WithCure("use letters, digits and '_', not a digit first, and not MUSTER_, which is Muster's own")
	}
	return nil
}

// complete fills in what a set-up leaves out.
func (s *Setup) complete() {
	if s.Timeout == 0 {
		s.Timeout = DefaultSetupTimeout
	}
}

// none reports whether nothing is said.
func (s *Setup) none() bool { return reflect.DeepEqual(*s, Setup{}) }

// none reports whether nothing is said.
func (h *Health) none() bool {
	return !h.Engine && h.DiskMiB == 0 && h.Clock == 0 && len(h.Checks) == 0
}

// complete fills in what is left out.
func (h *Health) complete() {
	if h.DiskMiB == 0 {
		h.DiskMiB = DefaultFreeDiskMiB
	}
	if h.Clock == 0 {
		h.Clock = DefaultClock
	}
	for i := range h.Checks {
		if h.Checks[i].Timeout == 0 {
			h.Checks[i].Timeout = DefaultCheckTimeout
		}
	}
}

// validate refuses a set-up that no node could execute.
func (s *Setup) validate() error {
	switch {
	case s.Command == "":
		return Errorf(CodeInvalid, "the set-up has no command").At("setup.command")
	case len(s.Command) > maxSetupText:
		return Errorf(CodeInvalid, "the set-up's command has %d bytes", len(s.Command)).At("setup.command").WithCure("at most %d; fetch a longer script in it", maxSetupText)
	case s.Timeout < Seconds(1) || s.Timeout > maxSetupTimeout:
		return Errorf(CodeInvalid, "timeout_seconds is %g", time.Duration(s.Timeout).Seconds()).At("setup.timeout_seconds").WithCure("use 1 to %g", time.Duration(maxSetupTimeout).Seconds())
	case s.Retries < 0 || s.Retries > 10:
		return Errorf(CodeInvalid, "retries is %d", s.Retries).At("setup.retries").WithCure("use 0 to 10")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		if err := CheckVariable(name); err != nil {
			return Within(err, "setup.environment_variables."+name)
		}
		if slices.Contains(s.Secrets, name) {
			return Errorf(CodeInvalid, "%s is a variable and a secret", name).At("setup.secrets")
		}
	}
	for i, name := range s.Secrets {
		if err := CheckVariable(name); err != nil {
			return Within(err, fmt.Sprintf("setup.secrets[%d]", i))
		}
	}
	return nil
}

// validate refuses checks that no node could make.
func (h *Health) validate() error {
	switch {
	case h.DiskMiB < 0:
		return Errorf(CodeInvalid, "free_disk_mib is %d", h.DiskMiB).At("health.free_disk_mib")
	case h.Clock < Seconds(1) || h.Clock > Duration(24*time.Hour):
		return Errorf(CodeInvalid, "clock_seconds is %g", time.Duration(h.Clock).Seconds()).At("health.clock_seconds").WithCure("use 1 to 86400")
	case len(h.Checks) > maxChecks:
		return Errorf(CodeInvalid, "there are %d checks", len(h.Checks)).At("health.checks").WithCure("at most %d", maxChecks)
	}
	seen := map[string]bool{}
	for i, c := range h.Checks {
		field := fmt.Sprintf("health.checks[%d].", i)
		switch {
		case CheckName("check", c.Name) != nil:
			return Within(CheckName("check", c.Name), strings.TrimSuffix(field, "."))
		case seen[c.Name]:
			return Errorf(CodeInvalid, "there are two checks %s", c.Name).At(field + "name").WithCure("give each its own name")
		case c.Command == "" || len(c.Command) > maxSetupText:
			return Errorf(CodeInvalid, "check %s has a command of %d bytes", c.Name, len(c.Command)).At(field+"command").WithCure("use 1 to %d", maxSetupText)
		case c.Timeout < Seconds(1) || c.Timeout > maxCheckTimeout:
			return Errorf(CodeInvalid, "timeout_seconds is %g", time.Duration(c.Timeout).Seconds()).At(field+"timeout_seconds").WithCure("use 1 to %g", time.Duration(maxCheckTimeout).Seconds())
		}
		seen[c.Name] = true
	}
	return nil
}

// SecretsVersionVar is the key beside a cluster's secrets that tells how new they
// are.
const SecretsVersionVar = "MUSTER_SECRETS_VERSION"

// SecretsFile is where a node's agent finds its cluster's secrets, below the folder
// of its task's secrets: an object of strings.
const SecretsFile = "setup.json"

// ClusterSecret is a secret of a cluster, without its value: that is kept in Nomad
// alone.
type ClusterSecret struct {
	Name      string    `json:"name" example:"PIP_TOKEN"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Prepares reports whether the cluster's nodes have an agent of their own, which
// makes them ready: those that come and go, and others that are to be set up or
// looked at.
func (c *Cluster) Prepares() bool {
	return c.Provider.Elastic() || c.Setup != nil || c.Health != nil
}

// NodeAgentNeed is what that agent takes of a node.
var NodeAgentNeed = Resources{MHz: Whole(50), MiB: Whole(64)}

// Readying is what makes a node of a cluster ready, complete.
type Readying struct {
	Setup  *Setup `json:"setup,omitempty"` // nil is none
	Health Health `json:"health"`
	User   string `json:"user,omitempty"` // whose rights runs have, and a set-up that is not root's
}

// Readying returns what makes the cluster's nodes ready.
func (c *Cluster) Readying() Readying {
	r := Readying{User: c.RunAs}
	if c.Setup != nil {
		s := *c.Setup
		s.complete()
		r.Setup = &s
	}
	if c.Health != nil {
		r.Health = *c.Health
		r.Health.Checks = slices.Clone(c.Health.Checks)
	}
	r.Health.complete()
	return r
}

// Version tells one of them from another.
func (r Readying) Version() string { return digest(r) }

// digest is a short name of a thing, which changes with it.
func digest(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("muster: %T cannot be JSON: %v", v, err))
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}

// Generation names what a node was made ready by: after a change of the set-up,
// or of one of its secrets, it is another.
func (c *Cluster) Generation() string {
	if c.Setup == nil {
		return "none"
	}
	return digest(struct {
		*Setup
		Secrets int64
	}{c.Readying().Setup, c.SecretsVersion})
}
