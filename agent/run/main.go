// Package run is the agent in a launch: it claims an attempt's instance, brings
// code and inputs, runs the command as another user, ships what the command
// writes while it runs and what it leaves when it ends, and tells the server.
package run

import (
	"fmt"
	"io"
	"os"

	"github.com/muster-ml/muster"
)

// exitUsage is the exit code of a command line that makes no sense.
const exitUsage = 2

const usage = `usage:
  muster-agent run                           execute the launch of this allocation (called by Nomad)
  muster-agent metric NAME VALUE [--step N]  log a metric of the run
  muster-agent param NAME VALUE              log a parameter of the run
  muster-agent child [FLAGS] -- COMMAND…     submit a run below this one, and print its name; --wait waits for it
  muster-agent version
`

// Main is the agent's command line; it returns the exit code.
func Main(args []string) int {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return exitUsage
	}
	switch verb, rest := args[0], args[1:]; verb {
	case "run":
		return execute()
	case guardVerb:
		return guard()
	case "metric":
		return told(logMetric(rest), os.Stderr)
	case "child":
		return told(makeChild(rest), os.Stderr)
	case "param":
		return told(logParam(rest), os.Stderr)
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

// told shows an error and returns its exit code.
func told(err error, w io.Writer) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(w, "muster-agent:", err)
	return muster.CodeOf(err).ExitCode()
}
