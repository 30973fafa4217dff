// Command muster-device is the device plugin that Nomad clients start.
package main

import "github.com/muster-ml/muster/plugin"

func main() {
	plugin.Serve()
}
