// Package host is what every agent does on its node: it finds out where it is
// and as whom it acts, starts commands below a guard that lets nothing of them
// escape, and clears what dead launches left.
package host

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/muster-ml/muster"
)

// Place says where an agent is: Nomad and the job tell it by variables.
type Place struct {
	Servers []string
	Consul  string
	Dir     string // the node's Muster folder, without the node's id
	NodeID  string
	Secrets string // the folder of the task's secrets
	CA      string // the authority of the servers' certificates, in PEM; may be empty
}

// FindPlace reads the variables. What the place must have is the caller's to say.
func FindPlace() (Place, error) {
	p := Place{Consul: Variable(muster.AgentConsulVar), NodeID: Variable(muster.AgentNodeVar), CA: os.Getenv(muster.AgentCAVar), Secrets: os.Getenv("NOMAD_SECRETS_DIR")}
	for s := range strings.SplitSeq(os.Getenv(muster.AgentServersVar), ",") {
		if s = strings.TrimSpace(s); s != "" {
			p.Servers = append(p.Servers, s)
		}
	}
	if strings.ContainsAny(p.NodeID, "/\x00") {
		return p, muster.Errorf(muster.CodeInvalid, "the node's id %q is none", p.NodeID)
	}
	if p.NodeID == "" {
		p.NodeID = "node"
	}
	var err error
	p.Dir, err = musterDir()
	return p, err
}

// Reachable reports whether the agent can find a server and prove itself to it.
func (p *Place) Reachable() bool { return p.Secrets != "" && (len(p.Servers) > 0 || p.Consul != "") }

// Runs is where the folders of the node's runs lie.
func (p *Place) Runs() string { return filepath.Join(p.Dir, p.NodeID, "runs") }

// Token reads the workload identity, which Nomad renews in place.
func (p *Place) Token() (string, error) {
	text, err := os.ReadFile(filepath.Join(p.Secrets, "nomad_"+muster.IdentityName+".jwt"))
	return strings.TrimSpace(string(text)), err
}

// Variable returns a variable; one that Nomad could not fill in is empty.
func Variable(name string) string {
	v := os.Getenv(name)
	if strings.Contains(v, "${") {
		return ""
	}
	return v
}

// musterDir returns the node's Muster folder.
func musterDir() (string, error) {
	if dir := Variable(muster.AgentDirVar); dir != "" {
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

// Boot returns the id of this boot of the node. On a simulated machine, which
// has its kernel in common with others, a part of its own tells one boot from
// another.
func Boot() (id string, err error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	id = strings.TrimSpace(string(text))
	if own := Variable(muster.AgentBootVar); own != "" {
		id += "/" + own
	}
	return id, nil
}
