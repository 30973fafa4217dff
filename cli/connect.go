package cli

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/client"
	"github.com/muster-ml/muster/dev"
)

// connect makes a client of the server that flags, environment or the files of
// muster dev name, in this order.
func connect(c *cli.Context) (*client.Client, error) {
	addr, token := c.String("addr"), c.String("token")
	written := readLine("addr")
	if addr == "" {
		addr = written
	}
	if addr == "" {
		return nil, muster.Errorf(muster.CodeUnreachable, "no server is known").
			WithCure("muster dev starts one here; --addr or MUSTER_ADDR names another")
	}
	if token == "" && strings.TrimSuffix(addr, "/") == strings.TrimSuffix(written, "/") {
		token = readLine("token") // of that server; another one must not see it
	}
	api := client.New(addr, token)
	api.OnAway = func(err error) {
		fmt.Fprintf(c.App.ErrWriter, "muster: %v\n  it is tried again until it answers; Ctrl-C ends\n", err)
	}
	return api, nil
}

// readLine reads a file of muster dev's data folder; "" where it has none.
func readLine(name string) string {
	dir, err := dev.DefaultFolder()
	if err != nil {
		return ""
	}
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// workspaceOf returns the chosen workspace; an empty name chooses none.
func workspaceOf(c *cli.Context) string { return cmp.Or(c.String("workspace"), "default") }
