package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
)

// queueCommand shows who waits.
func queueCommand() *cli.Command {
	return &cli.Command{Name: "queue", Usage: "show the waiting runs in their order, with reasons", Action: showQueue, Flags: []cli.Flag{clusterFlag()}}
}

func showQueue(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	api, err := connect(c)
	if err != nil {
		return err
	}
	defer api.Close()
	all, total, err := api.Queue(c.Context, c.String("cluster"))
	if err != nil {
		return err
	}
	if total > len(all) {
		fmt.Fprintf(c.App.ErrWriter, "the first %d of %s\n", len(all), count(total, "waiting run"))
	}
	return list(c, all, listing[*muster.Run]{
		head: []string{"CLUSTER", "POSITION", "RUN", "PRIORITY", "WAITING", "REASON"},
		row: func(r *muster.Run) []string {
			return []string{r.Cluster, fmt.Sprint(r.Position), r.Workspace + "/" + r.Name, fmt.Sprint(r.Spec.Priority), lasted(r.QueuedAt, r.EndedAt), waiting(r)}
		},
		empty: "No run waits.",
	})
}

// waiting says why a run waits; "" where it does not.
func waiting(r *muster.Run) string {
	if r.WaitReason == nil {
		return ""
	}
	return r.WaitReason.Message
}
