// Command muster is the server and its command line.
package main

import (
	"context"
	"os"

	"github.com/muster-ml/muster/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), os.Args))
}
