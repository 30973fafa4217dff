package nomad_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/jobspecs"
)

// nodeJob returns what is listed of the job of a cluster's node agents, nil where
// it is not.
func (l *lab) nodeJob(cluster string) *muster.SeenNodeJob {
	l.Helper()
	s, err := l.Look(l.Context())
	l.must(err)
	i := slices.IndexFunc(s.NodeJobs, func(j muster.SeenNodeJob) bool { return j.Cluster == cluster })
	if i < 0 {
		return nil
	}
	return &s.NodeJobs[i]
}

// secrets reads what an agent of a node was given of its cluster's secrets.
func (l *lab) secrets() (all map[string]string) {
	l.Helper()
	text, err := os.ReadFile(filepath.Join(l.tokens, "secrets"))
	if err != nil && !os.IsNotExist(err) {
		l.Fatal(err)
	}
	if len(text) > 0 {
		l.must(json.Unmarshal(text, &all))
	}
	return all
}

// nodeJobs keeps the job of a cluster's node agents: made once, again after
// somebody's hand, found by its token, given its cluster's secrets as they
// change, and removed with them.
func nodeJobs(l *lab) {
	c := &muster.Cluster{Name: "c", NodePool: "pool"}
	l.must(l.KeepNodeJob(l.Context(), c, nil))
	job := jobspecs.NodeJobPrefix(installation) + "c"
	alloc := l.alloc(job)
	if !alloc.Ours || !alloc.NodeAgent {
		l.Errorf("its allocation is %+v", alloc)
	}
	index := func() uint64 {
		l.Helper()
		info, _, err := l.api.Jobs().Info(job, &api.QueryOptions{Namespace: jobspecs.NodeNamespace(installation)})
		l.must(err)
		return *info.JobModifyIndex
	}
	before := index()
	l.must(l.KeepNodeJob(l.Context(), c, l.nodeJob("c")))
	if index() != before {
		l.Error("a job that is as it is to be is registered again")
	}
	a, err := l.Identify(l.Context(), l.identity(alloc.ID))
	l.must(err)
	if a.Cluster != "c" || a.Launch != "" || a.NodeName != "one" || a.Terminal {
		l.Errorf("its token says %+v", a)
	}
	l.foreign("impostor", "default", "cp \"$NOMAD_SECRETS_DIR\"/*.jwt '"+l.tokens+"/impostor.new' && mv '"+l.tokens+"/impostor.new' '"+l.tokens+"/impostor'; exec sleep 1000", func(j *api.Job) {
		j.Meta = map[string]string{muster.InstallationMeta: installation, muster.ClusterMeta: "c"}
		j.TaskGroups[0].Tasks[0].Identities = []*api.WorkloadIdentity{{Name: "muster", Audience: []string{muster.IdentityAudience}, File: true, TTL: time.Hour}}
	})
	if a, err := l.Identify(l.Context(), l.identity("impostor")); err != nil || a.Cluster != "" {
		l.Errorf("a job of somebody else's passes for the agents of cluster c: %+v, %v", a, err)
	}

	l.eventually("it is given no secret", func() bool { got := l.secrets(); return got != nil && len(got) == 0 })
	l.must(l.KeepClusterSecrets(l.Context(), "c", map[string]muster.Secret{"TOKEN": muster.NewSecretText(`h"ush`), "OTHER": muster.NewSecretText("x")}, 7))
	l.eventually("the secrets arrive", func() bool {
		got := l.secrets()
		return got["TOKEN"] == `h"ush` && got["OTHER"] == "x" && got[muster.SecretsVersionVar] == "7"
	})
	l.must(l.KeepClusterSecrets(l.Context(), "c", map[string]muster.Secret{"OTHER": {}}, 5)) // an older one of two at once
	l.eventually("one is gone", func() bool {
		got := l.secrets()
		return len(got) == 2 && got[muster.SecretsVersionVar] == "7"
	})

	l.must(l.StopJob(l.Context(), jobspecs.NodeNamespace(installation), job, false))
	if seen := l.nodeJob("c"); seen == nil || !seen.Stopped {
		l.Fatalf("stopped by hand it is %+v", seen)
	}
	l.must(l.KeepNodeJob(l.Context(), c, l.nodeJob("c")))
	if seen := l.nodeJob("c"); seen == nil || seen.Stopped {
		l.Errorf("it is not started again: %+v", seen)
	}
	l.must(l.DropNodeJob(l.Context(), "c", true))
	l.must(l.DropNodeJob(l.Context(), "c", true))
	if seen := l.nodeJob("c"); seen != nil {
		l.Errorf("it is not removed: %+v", seen)
	}
	left, _, err := l.api.Variables().List(&api.QueryOptions{Namespace: jobspecs.NodeNamespace(installation)})
	l.must(err)
	if len(left) != 0 {
		l.Errorf("secrets are left: %v", left)
	}
}
