package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/muster-ml/muster"
)

// queueCommand shows who waits.
func queueCommand() *cli.Command {
	return &cli.Command{Name: "queue", Usage: "show the waiting runs in their order, with reasons", Action: showQueue, Flags: []cli.Flag{&cli.StringFlag{Name: "cluster", Usage: "only those that may start on this `CLUSTER`"}}}
}

func showQueue(c *cli.Context) error {
	api, err := connectAlone(c)
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
			return []string{strings.Join(append([]string{r.Cluster}, r.Spec.Alternatives...), ", "), fmt.Sprint(r.Position), runInQueue(r), fmt.Sprint(r.Spec.Priority), lasted(r.QueuedAt, r.EndedAt), orDash(waiting(r))}
		},
		wide: []string{"EXPERIMENT", "INSTANCES", "LOOKED AT AGAIN"},
		more: func(r *muster.Run) []string {
			again := "-"
			if r.WaitReason != nil {
				again = clock(r.WaitReason.Until)
			}
			return []string{r.Experiment, fmt.Sprint(r.Spec.Instances()), again}
		},
		values: map[string]func(*muster.Run) any{"WAITING": func(r *muster.Run) any { return time.Since(r.QueuedAt) }},
		fields: map[string]string{"RUN": "name", "PRIORITY": "spec.priority", "REASON": "wait_reason.message"},
		empty:  "No run waits.",
	})
}

// waiting says why a run waits; "" where it does not.
func waiting(r *muster.Run) string {
	if r.WaitReason == nil {
		return ""
	}
	return r.WaitReason.Message
}

// runInQueue names a waiting run with its workspace; one of a workspace that the
// caller may not see has no name.
func runInQueue(r *muster.Run) string {
	if r.Name == "" {
		return "(not yours)"
	}
	return r.Workspace + "/" + r.Name
}
