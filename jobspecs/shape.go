// Package jobspecs writes the Nomad jobs that Muster registers. The same input
// gives the same job: golden files hold it.
package jobspecs

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/muster-ml/muster"
)

// Shape is what one parameterized Nomad job is made for. Launches of one shape
// share the job.
type Shape struct {
	Installation string
	Namespace    string
	Region       string // "" is the agent's own
	NodePool     string
	Container    *muster.Container // nil: on the node itself
	Groups       []Group
	Agent        Agent
}

// Group is Count instances of one size.
type Group struct {
	Name  string
	Count int
	Need  muster.Resources // of one instance
}

// Agent is what an allocation needs to know to fetch and start its agent.
type Agent struct {
	URL     string   // of the agent in an archive, from the node's point of view
	SHA256  string   // of what lies there, in hex
	Servers []string // URLs of Muster servers
	Consul  string   // the Consul service to look servers up with
	RunAs   string   // the user of commands on the node itself; "" is nobody
	Inside  string   // the user of commands in containers; "" is the image's own
	Fence   time.Duration
	CA      string // the authority of the servers' certificates, in PEM; "" is one that every node knows
}

// task is the name of the task that runs the agent. The path of its Task API
// socket must stay short, and so must it.
const task = "main"

// Prefix begins the id of every job of an installation.
func Prefix(installation string) string { return "muster-" + installation + "-" }

// ID returns the id of the shape's job: the installation and the SHA-256 of the
// canonical rendered job.
func (s *Shape) ID() string {
	text, err := json.Marshal(s.render())
	if err != nil {
		panic(fmt.Sprintf("jobspecs: a job cannot be JSON: %v", err))
	}
	sum := sha256.Sum256(text)
	return Prefix(s.Installation) + hex.EncodeToString(sum[:8])
}

// Job returns the shape's job.
func (s *Shape) Job() *api.Job {
	job := s.render()
	job.ID = new(s.ID())
	job.Name = job.ID
	return job
}

// render writes all of the job but its id.
func (s *Shape) render() *api.Job {
	job := &api.Job{
		Namespace:   &s.Namespace,
		NodePool:    &s.NodePool,
		Type:        new(api.JobTypeBatch),
		Datacenters: []string{"*"},
		Meta:        map[string]string{muster.InstallationMeta: s.Installation},
		ParameterizedJob: &api.ParameterizedJobConfig{
			Payload:      "forbidden",
			MetaRequired: []string{muster.LaunchMeta},
		},
	}
	if s.Region != "" {
		job.Region = &s.Region
	}
	count := 0
	for _, g := range s.Groups {
		job.TaskGroups = append(job.TaskGroups, s.group(g))
		count += g.Count
	}
	if count > 1 {
		job.Constraints = []*api.Constraint{{Operand: api.ConstraintDistinctHosts, RTarget: "true"}}
	}
	return job
}

// group writes one group. Its settings make a lost or ended allocation final as
// far as Nomad lets them; the claim does the rest.
func (s *Shape) group(g Group) *api.TaskGroup {
	return &api.TaskGroup{
		Name:             &g.Name,
		Count:            &g.Count,
		RestartPolicy:    &api.RestartPolicy{Attempts: new(0), Mode: new(api.RestartPolicyModeFail)},
		ReschedulePolicy: &api.ReschedulePolicy{Attempts: new(0), Unlimited: new(false)},
		Disconnect: &api.DisconnectStrategy{
			LostAfter: new(24 * time.Hour),
			Replace:   new(false),
			Reconcile: new(api.ReconcileOption("keep_original")),
		},
		EphemeralDisk: &api.EphemeralDisk{SizeMB: new(int(g.Need.DiskMiB.Units()))},
		Tasks:         []*api.Task{s.main(g)},
	}
}

// main writes the task that runs the agent of a launch.
func (s *Shape) main(g Group) *api.Task {
	t := agentTask(&s.Agent)
	t.Config = map[string]any{"command": "local/muster-agent", "args": []string{"run"}}
	t.Env[muster.AgentUserVar] = s.Agent.RunAs
	t.Env[muster.AgentFenceVar] = strconv.Itoa(int(s.Agent.Fence.Seconds()))
	t.Resources = &api.Resources{CPU: new(int(g.Need.MHz.Units())), MemoryMB: new(int(g.Need.MiB.Units()))}
	for _, d := range g.Need.Devices {
		t.Resources.Devices = append(t.Resources.Devices, device(d))
	}
	if s.Container != nil {
		s.contain(t)
	}
	return t
}

// agentTask writes what the tasks of all agents have.
func agentTask(a *Agent) *api.Task {
	t := &api.Task{
		Name:   task,
		Driver: "raw_exec",
		Artifacts: []*api.TaskArtifact{{
			GetterSource:  &a.URL,
			GetterMode:    new("file"),
			GetterOptions: map[string]string{"checksum": "sha256:" + a.SHA256},
			RelativeDest:  new("local/muster-agent"),
		}},
		Identities: []*api.WorkloadIdentity{{
			Name:     muster.IdentityName,
			Audience: []string{muster.IdentityAudience},
			File:     true,
			TTL:      time.Hour,
		}},
		Env: map[string]string{
			muster.AgentServersVar: strings.Join(a.Servers, ","),
			muster.AgentConsulVar:  a.Consul,
			muster.AgentDirVar:     "${meta.muster_dir}",
			muster.AgentNodeVar:    "${node.unique.id}",
			muster.AgentBootVar:    "${meta.muster_boot}",
		},
		// Nomad keeps no log, and still wants room for one on the allocation's disk.
		LogConfig:   &api.LogConfig{Disabled: new(true), MaxFiles: new(1), MaxFileSizeMB: new(1)},
		KillSignal:  "SIGTERM",
		KillTimeout: new(30 * time.Second),
	}
	if a.CA != "" {
		t.Env[muster.AgentCAVar] = a.CA
	}
	if strings.HasPrefix(a.URL, "https://") {
		// Nomad knows no authority but the node's. What it fetches is known by its
		// digest, so that nobody can put another agent in its place.
		t.Artifacts[0].GetterInsecure = new(true)
	}
	return t
}

// device asks for devices by type alone, so that any vendor's plugin matches,
// and for a model where the run named one.
func device(d muster.Devices) *api.RequestedDevice {
	r := &api.RequestedDevice{Name: d.Type, Count: new(uint64(d.Count.Units()))}
	if d.Vendor == "" && d.Name != "" {
		r.Constraints = []*api.Constraint{{LTarget: "${device.model}", Operand: "regexp", RTarget: muster.ModelPattern(d.Name)}}
	}
	return r
}
