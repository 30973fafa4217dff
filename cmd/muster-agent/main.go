// Command muster-agent is what Muster runs on nodes.
package main

import (
	"os"

	"github.com/muster-ml/muster/agent/run"
)

func main() {
	os.Exit(run.Main(os.Args[1:]))
}
