package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
)

func evictNodes(c *cli.Context) error {
	if c.Int("nodes") < 1 || c.Duration("notice") < 0 {
		return muster.Errorf(muster.CodeInvalid, "--nodes is %d, --notice %s", c.Int("nodes"), c.Duration("notice")).WithCure("take 1 node or more, and no notice or some")
	}
	api, name, err := aboutNamed(c)
	if err != nil {
		return err
	}
	defer api.Close()
	q := muster.EvictionRequest{Nodes: c.Int("nodes"), Notice: muster.Duration(c.Duration("notice"))}
	if rate := c.String("rate"); rate != "" {
		if q.Rate, err = readRate(rate); err != nil {
			return err
		}
		if q.Nodes = 0; c.IsSet("nodes") {
			return muster.Errorf(muster.CodeInvalid, "--nodes and --rate are given").WithCure("leave one out")
		}
	}
	answer, err := api.EvictNodes(c.Context, name, q)
	if err != nil {
		return err
	}
	if q.Rate != nil {
		return show(c, answer, func(t *table) { t.line("cluster %s: %s", name, drillOf(answer.Drill)) })
	}
	return show(c, answer, func(t *table) {
		t.line("%s will be taken at %s", strings.Join(answer.Nodes, ", "), clock(answer.At))
	})
}

// readRate reads a part of the nodes that is taken in an hour.
func readRate(text string) (*float64, error) {
	number, percent := strings.CutSuffix(strings.TrimSuffix(text, "/h"), "%")
	rate, err := strconv.ParseFloat(number, 64)
	if err != nil || !percent && rate != 0 || !(rate >= 0 && rate <= 10_000) {
		return nil, muster.Errorf(muster.CodeInvalid, "--rate is %q", text).WithCure("write it like 20%%/h, at most 10000%%/h; 0 ends the drill")
	}
	rate /= 100
	return &rate, nil
}

// drillOf says in words what losses are rehearsed.
func drillOf(d *muster.Drill) string {
	if d == nil {
		return "no losses are rehearsed any more"
	}
	return fmt.Sprintf("a drill takes %g %% of its nodes an hour, by chance, %s after they are told", d.PerHour*100, d.Notice)
}
