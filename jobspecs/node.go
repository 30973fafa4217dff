package jobspecs

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/muster-ml/muster"
)

// NodeJob is the system job of a cluster: on each of its nodes it starts the
// agent that makes the node ready.
type NodeJob struct {
	Installation string
	Cluster      string
	Region       string // "" is the Nomad agent's own
	NodePool     string
	Agent        Agent
}

// NodeJobPrefix begins the id of every such job of an installation. No shape's
// begins so.
func NodeJobPrefix(installation string) string { return Prefix(installation) + "node-" }

// NodeNamespace is the namespace of an installation's node jobs.
func NodeNamespace(installation string) string { return "ws-" + installation + "-nodes" }

// DigestMeta is the meta that tells one text of a node job from another.
const DigestMeta = "muster_digest"

// ID returns the job's id.
func (j *NodeJob) ID() string { return NodeJobPrefix(j.Installation) + j.Cluster }

// VaultPath is the path of the Nomad variable that holds the secrets of the
// cluster: one that this job alone may read.
func (j *NodeJob) VaultPath() string { return muster.VaultPath + "/" + j.ID() }

// Digest returns the SHA-256 of the job, shortened.
func (j *NodeJob) Digest() string {
	text, err := json.Marshal(j.render())
	if err != nil {
		panic(fmt.Sprintf("jobspecs: a job cannot be JSON: %v", err))
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// Job returns the job.
func (j *NodeJob) Job() *api.Job {
	job := j.render()
	job.Meta[DigestMeta] = j.Digest()
	return job
}

// render writes all of the job but its digest.
func (j *NodeJob) render() *api.Job {
	id, namespace := j.ID(), NodeNamespace(j.Installation)
	t := agentTask(&j.Agent)
	t.Config = map[string]any{"command": "local/muster-agent", "args": []string{"node"}}
	t.Env[muster.AgentNodeNameVar] = "${node.unique.name}"
	t.Resources = &api.Resources{CPU: new(int(muster.NodeAgentNeed.MHz.Units())), MemoryMB: new(int(muster.NodeAgentNeed.MiB.Units()))}
	t.KillTimeout = new(5 * time.Second)
	t.Templates = []*api.Template{j.secrets()}
	// The agent is started again for as long as it takes: without it no run begins.
	t.RestartPolicy = &api.RestartPolicy{Attempts: new(5), Interval: new(time.Minute), Delay: new(time.Second), Mode: new(api.RestartPolicyModeDelay)}
	job := &api.Job{
		ID: &id, Name: &id, Namespace: &namespace, NodePool: &j.NodePool, Type: new(api.JobTypeSystem), Datacenters: []string{"*"},
		Meta: map[string]string{muster.InstallationMeta: j.Installation, muster.ClusterMeta: j.Cluster},
		TaskGroups: []*api.TaskGroup{{
			Name:          new("node"),
			EphemeralDisk: &api.EphemeralDisk{SizeMB: new(int(muster.LaunchDiskMiB))},
			Tasks:         []*api.Task{t},
		}},
	}
	if j.Region != "" {
		job.Region = &j.Region
	}
	return job
}

// secrets writes the cluster's secrets where the agent alone finds them, and
// again when they change. A template that waited for them would hold the task.
func (j *NodeJob) secrets() *api.Template {
	text := fmt.Sprintf(`{{ if nomadVarExists %[1]q }}{{ with nomadVar %[1]q }}{ {{ range $i, $item := .Tuples }}{{ if $i }},{{ end }}{{ $item.K | toJSON }}:{{ $item.V | toJSON }}{{ end }} }{{ end }}{{ else }}{}{{ end }}`, j.VaultPath())
	return &api.Template{EmbeddedTmpl: &text, DestPath: new("secrets/" + muster.SecretsFile), ChangeMode: new("noop"), Perms: new("0600")}
}
