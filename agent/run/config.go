package run

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/muster-ml/muster"
)

// config says where the agent is: Nomad and the shape tell it by variables.
type config struct {
	servers []string
	consul  string
	dir     string // the node's Muster folder, without the node's id
	nodeID  string
	runAs   string
	fence   time.Duration
	launch  string
	alloc   string
	secrets string
	ca      string // the authority of the servers' certificates, in PEM; may be empty
	image   string // whose container the agent is in; "" on the node itself
}

// defaultFence is the fence time where the shape tells none.
const defaultFence = 5 * time.Minute

// readConfig reads the variables.
func readConfig() (*config, error) {
	c := &config{
		consul: variable(muster.AgentConsulVar), nodeID: variable(muster.AgentNodeVar), runAs: variable(muster.AgentUserVar), image: variable(muster.AgentImageVar), ca: os.Getenv(muster.AgentCAVar), fence: defaultFence,
		launch: os.Getenv("NOMAD_META_" + muster.LaunchMeta), alloc: os.Getenv("NOMAD_ALLOC_ID"), secrets: os.Getenv("NOMAD_SECRETS_DIR"),
	}
	for s := range strings.SplitSeq(os.Getenv(muster.AgentServersVar), ",") {
		if s = strings.TrimSpace(s); s != "" {
			c.servers = append(c.servers, s)
		}
	}
	if seconds := variable(muster.AgentFenceVar); seconds != "" {
		s, err := strconv.ParseFloat(seconds, 64)
		if err != nil || s <= 0 {
			return nil, muster.Errorf(muster.CodeInvalid, "%s is %q, and not a number of seconds", muster.AgentFenceVar, seconds)
		}
		c.fence = time.Duration(s * float64(time.Second))
	}
	if c.launch == "" || c.alloc == "" || c.secrets == "" || len(c.servers) == 0 && c.consul == "" {
		return nil, muster.Errorf(muster.CodeInvalid, "this is not an allocation of a launch").
			WithCure("muster-agent run is called by Nomad, from a job that Muster registered")
	}
	if strings.ContainsAny(c.alloc+c.nodeID, "/\x00") {
		return nil, muster.Errorf(muster.CodeInvalid, "the allocation's id %q or the node's id %q is none", c.alloc, c.nodeID)
	}
	if c.nodeID == "" {
		c.nodeID = "node"
	}
	var err error
	c.dir, err = musterDir()
	return c, err
}

// runs is where the folders of runs lie, and folder the name of this one's. A
// container has one run, in the folder of its Nomad task.
func (c *config) runs() (dir, folder string) {
	if c.image != "" {
		return c.dir, "run"
	}
	return filepath.Join(c.dir, c.nodeID, "runs"), c.alloc
}

// variable returns a variable; one that Nomad could not fill in is empty.
func variable(name string) string {
	v := os.Getenv(name)
	if strings.Contains(v, "${") {
		return ""
	}
	return v
}

// musterDir returns the node's Muster folder.
func musterDir() (string, error) {
	if dir := variable(muster.AgentDirVar); dir != "" {
		return dir, nil
	}
	if os.Geteuid() == 0 {
		return muster.DefaultMusterDir, nil
	}
	if data := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "muster", "node"), nil
	}
	me, err := user.Current()
	if err != nil {
		return "", fmt.Errorf("find the home folder: %w", err)
	}
	return filepath.Join(me.HomeDir, ".local", "share", "muster", "node"), nil
}

// token reads the workload identity, which Nomad renews in place.
func (c *config) token() (string, error) {
	text, err := os.ReadFile(filepath.Join(c.secrets, "nomad_"+muster.IdentityName+".jwt"))
	return strings.TrimSpace(string(text)), err
}

// taskAPI is where Nomad's client answers the allocation's calls. Nomad makes no
// socket where its path would be too long.
func (c *config) taskAPI() string { return filepath.Join(c.secrets, "api.sock") }

// account is whose rights the command has.
type account struct {
	name     string
	home     string
	uid, gid int
	change   bool // the agent is root, and becomes this account for the command
}

// findAccount returns the run-as user, or the agent's own where it is not root
// or in a container, which was started as the right one.
func findAccount(runAs string, contained bool) (account, error) {
	if os.Geteuid() != 0 || contained {
		a := account{uid: os.Geteuid(), gid: os.Getegid(), home: os.Getenv("HOME"), name: strconv.Itoa(os.Geteuid())}
		if me, err := user.Current(); err == nil {
			a.name, a.home = me.Username, me.HomeDir
		}
		return a, nil
	}
	if runAs == "" {
		runAs = "nobody"
	}
	u, err := user.Lookup(runAs)
	if err != nil {
		u, err = user.LookupId(runAs)
	}
	if err != nil && runAs == "nobody" {
		return account{name: runAs, uid: 65534, gid: 65534, change: true}, nil
	}
	if err != nil {
		return account{}, muster.Errorf(muster.CodeInvalid, "there is no user %q on this node to run the command as", runAs)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err1 != nil || err2 != nil {
		return account{}, muster.Errorf(muster.CodeInvalid, "user %q has no numeric id", runAs)
	}
	return account{name: u.Username, uid: uid, gid: gid, change: true}, nil
}
