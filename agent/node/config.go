package node

import (
	"cmp"
	"os"
	"time"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/host"
)

// config says where the agent is.
type config struct {
	host.Place
	cluster string
	name    string // the node's
	alloc   string
	boot    string
	pace
}

// pace is how long things take; those of tests take less.
type pace struct {
	hold    time.Duration // how long a report may wait at the server
	check   time.Duration // between two looks at the node, and two sweeps
	retry   time.Duration // before the second try of a set-up; each further pause is twice as long
	secrets time.Duration // within which secrets must arrive
	log     time.Duration // for which the end of a set-up waits until its log is kept
}

// longestRetry is the longest pause between two tries.
const longestRetry = 30 * time.Second

// readConfig reads the variables.
func readConfig() (*config, error) {
	place, err := host.FindPlace()
	if err != nil {
		return nil, err
	}
	c := &config{Place: place, cluster: os.Getenv("NOMAD_META_" + muster.ClusterMeta), alloc: os.Getenv("NOMAD_ALLOC_ID"),
		pace: pace{hold: 30 * time.Second, check: muster.CheckEvery, retry: time.Second, secrets: time.Minute, log: 10 * time.Second}}
	if c.cluster == "" || !c.Reachable() {
		return nil, muster.Errorf(muster.CodeInvalid, "this is not an allocation of a cluster's system job").
			WithCure("muster-agent node is called by Nomad, from a job that Muster registered")
	}
	hostname, _ := os.Hostname()
	c.name = cmp.Or(host.Variable(muster.AgentNodeNameVar), hostname, c.NodeID)
	c.boot, err = host.Boot()
	return c, err
}
