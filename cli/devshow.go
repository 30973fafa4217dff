package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/muster-ml/muster/dev"
)

// showPlatform prints what a newcomer looks for.
func showPlatform(out io.Writer, p *dev.Platform) {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "Muster\t%s\n", p.Addr)
	fmt.Fprintf(w, "Nomad\t%s/ui\n", p.NomadAddr)
	fmt.Fprintf(w, "Consul\t%s/ui\n", p.ConsulAddr)
	fmt.Fprintf(w, "data\t%s\n", p.DataDir)
	fmt.Fprintf(w, "token\t%s\n", p.TokenFile())
	fmt.Fprintf(w, "logs\t%s\n", filepath.Join(p.DataDir, "log"))
	w.Flush()
	job := "examples/iris/job.yml"
	if _, err := os.Stat(job); err != nil {
		job = "job.yml"
	}
	where := ""
	if fmt.Fprintln(out); len(p.Lacks) == 0 {
		fmt.Fprint(out, "workspace default and cluster local are there: ")
	} else {
		fmt.Fprintf(out, "note: %s\n", strings.Join(p.Lacks, "\nnote: "))
		where = " -w WORKSPACE"
	}
	fmt.Fprintf(out, "try \"muster run submit --follow %s%s\" in another terminal. Ctrl-C stops.\n", job, where)
	if usual, err := dev.DefaultFolder(); err != nil || p.DataDir != usual {
		fmt.Fprintf(out, "there say first: export MUSTER_ADDR=%s MUSTER_TOKEN=\"$(cat '%s')\"\n", p.Addr, p.TokenFile())
	}
}
