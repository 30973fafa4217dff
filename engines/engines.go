// Package engines finds, builds, configures, starts and stops the programs that
// Muster stands on: Nomad, Consul and the Nomad Autoscaler. They are run as
// processes and spoken to over HTTP, never linked.
package engines

import (
	"strings"

	"github.com/muster-ml/muster"
)

// Program is an engine's program: what is asked of one that the user has, and
// what is built where there is none.
type Program struct {
	Name    string
	Module  string // the Go package that is built
	Folder  string // its module's folder below tools
	Version string // the pinned one, which is built
	Minimum string // the oldest that is taken from PATH
	Usual   string // how long a build usually takes on two cores
}

// Programs are all that Muster stands on, in the order in which they are built.
var Programs = []Program{
	{Name: "nomad", Module: "github.com/hashicorp/nomad", Folder: "nomad", Version: "1.11.3", Minimum: "1.11.2", Usual: "4 to 9 minutes"},
	{Name: "consul", Module: "github.com/hashicorp/consul", Folder: "consul", Version: "1.21.0", Minimum: "1.21.0", Usual: "2 to 3 minutes"},
	{Name: "nomad-autoscaler", Module: "github.com/hashicorp/nomad-autoscaler", Folder: "autoscaler", Version: "0.5.0", Minimum: "0.5.0", Usual: "1 to 5 minutes"},
}

// program returns the entry of Programs.
func program(name string) (Program, error) {
	var names []string
	for _, p := range Programs {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Program{}, muster.Errorf(muster.CodeInvalid, "%q is not an engine", name).WithCure("use one of %s", strings.Join(names, ", "))
}
