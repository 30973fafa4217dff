// Command muster-autoscaler runs the Nomad Autoscaler for Muster's clusters, and
// is its plugins.
package main

import (
	"os"

	"github.com/muster-ml/muster/autoscaler/apm"
	"github.com/muster-ml/muster/autoscaler/policy"
	"github.com/muster-ml/muster/autoscaler/target"
)

func main() {
	args := os.Args[1:]
	switch {
	case len(args) == 1 && args[0] == "apm":
		apm.Serve()
	case len(args) == 1 && args[0] == "target":
		target.Serve()
	default:
		os.Exit(policy.Main(args))
	}
}
