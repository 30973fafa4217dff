// Command muster-agent is what Muster runs on nodes.
package main

import (
	"fmt"
	"os"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/host"
	"github.com/muster-ml/muster/agent/node"
	"github.com/muster-ml/muster/agent/run"
)

const usage = `usage:
  muster-agent run                           execute the launch of this allocation (called by Nomad)
  muster-agent node                          make this node ready for runs, and keep looking at it (called by Nomad)
  muster-agent metric NAME VALUE [--step N]  log a metric of the run
  muster-agent param NAME VALUE              log a parameter of the run
  muster-agent child [FLAGS] -- COMMAND…     submit a run below this one, and print its name; --wait waits for it
  muster-agent version
`

// exitUsage is the exit code of a command line that makes no sense.
const exitUsage = 2

func main() { os.Exit(do(os.Args[1:])) }

// do executes a command line and returns the exit code.
func do(args []string) int {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return exitUsage
	}
	switch verb, rest := args[0], args[1:]; verb {
	case "run":
		return run.Execute()
	case "node":
		return node.Execute()
	case host.GuardVerb:
		return host.Guard()
	case "metric":
		return host.Told(run.LogMetric(rest))
	case "param":
		return host.Told(run.LogParam(rest))
	case "child":
		return host.Told(run.MakeChild(rest))
	case "version":
		fmt.Println(muster.Version)
		return 0
	case "help", "-h", "--help":
		fmt.Print(usage)
		return 0
	default:
		fmt.Fprintf(os.Stderr, "muster-agent: there is no command %q\n%s", verb, usage)
		return exitUsage
	}
}
