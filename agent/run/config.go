package run

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/host"
)

// config says where the agent is and what it is to execute.
type config struct {
	host.Place
	runAs  string
	fence  time.Duration
	launch string
	alloc  string
	image  string // whose container the agent is in; "" on the node itself
}

// defaultFence is the fence time where the shape tells none.
const defaultFence = 5 * time.Minute

// readConfig reads the variables.
func readConfig() (*config, error) {
	place, err := host.FindPlace()
	if err != nil {
		return nil, err
	}
	c := &config{
		Place: place, runAs: host.Variable(muster.AgentUserVar), image: host.Variable(muster.AgentImageVar), fence: defaultFence,
		launch: os.Getenv("NOMAD_META_" + muster.LaunchMeta), alloc: os.Getenv("NOMAD_ALLOC_ID"),
	}
	if seconds := host.Variable(muster.AgentFenceVar); seconds != "" {
		s, err := strconv.ParseFloat(seconds, 64)
		if err != nil || s <= 0 {
			return nil, muster.Errorf(muster.CodeInvalid, "%s is %q, and not a number of seconds", muster.AgentFenceVar, seconds)
		}
		c.fence = time.Duration(s * float64(time.Second))
	}
	if c.launch == "" || c.alloc == "" || !c.Reachable() {
		return nil, muster.Errorf(muster.CodeInvalid, "this is not an allocation of a launch").
			WithCure("muster-agent run is called by Nomad, from a job that Muster registered")
	}
	if strings.ContainsAny(c.alloc, "/\x00") {
		return nil, muster.Errorf(muster.CodeInvalid, "the allocation's id %q is none", c.alloc)
	}
	return c, nil
}

// runs is where the folders of runs lie, and folder the name of this one's. A
// container has one run, in the folder of its Nomad task.
func (c *config) runs() (dir, folder string) {
	if c.image != "" {
		return c.Dir, "run"
	}
	return c.Runs(), c.alloc
}

// taskAPI is where Nomad's client answers the allocation's calls. Nomad makes no
// socket where its path would be too long.
func (c *config) taskAPI() string { return filepath.Join(c.Secrets, "api.sock") }

// account returns whose rights the command has: the run-as user's, or the
// agent's own in a container, which was started as the right one.
func (c *config) account() (host.Account, error) {
	if c.image != "" {
		return host.Own(), nil
	}
	return host.FindAccount(c.runAs)
}
