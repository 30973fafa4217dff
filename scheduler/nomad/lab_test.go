package nomad_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/dev"
	"github.com/muster-ml/muster/scheduler/nomad"
)

// installation is whose the lab's jobs are.
const installation = "abc123"

// lab is a real Nomad with one node, and what speaks to it for Muster. In place
// of the agent stands a script that keeps its workload identity and then waits.
type lab struct {
	*testing.T
	*nomad.Nomad
	platform *dev.Platform
	api      *api.Client
	config   nomad.Config
	tokens   string // folder of the identities, by allocation
}

// TestNomad starts Nomad once for all.
func TestNomad(t *testing.T) {
	l := open(t)
	for _, part := range []struct {
		name string
		test func(*lab)
	}{{"Drained", drained}, {"Look", look}, {"Dispatch", dispatch}, {"Unplaced", unplaced}, {"Forgotten", forgotten}, {"StopJob", stopJob}, {"Watch", watch}, {"Identify", identify}, {"NodeJobs", nodeJobs}, {"Forged", forged}, {"Pools", pools}, {"Read", read}, {"Away", away}, {"Silent", silent}} {
		t.Run(part.name, func(t *testing.T) {
			own := *l
			own.T = t
			part.test(&own)
		})
	}
}

func open(t *testing.T) *lab {
	t.Helper()
	l := &lab{T: t, tokens: t.TempDir()}
	var err error
	l.platform, err = dev.Open(t.Context(), dev.Config{DataDir: filepath.Join(t.TempDir(), "p"), HeartbeatGrace: 2 * time.Second,
		Nodes: []dev.Node{{Name: "one", Pool: "pool", MHz: 4000, MiB: 4096}}, Out: t.Output()})
	l.must(err)
	t.Cleanup(func() {
		if err := l.platform.Close(); err != nil {
			t.Error(err)
		}
	})
	l.api, err = api.NewClient(&api.Config{Address: l.platform.NomadAddr})
	l.must(err)
	script := fmt.Sprintf("#!/bin/sh\ncp \"$NOMAD_SECRETS_DIR/nomad_%s.jwt\" '%s/'\"$NOMAD_ALLOC_ID.new\"\nmv '%[2]s/'\"$NOMAD_ALLOC_ID.new\" '%[2]s/'\"$NOMAD_ALLOC_ID\"\n"+
		"while [ \"$1\" = node ]; do cp \"$NOMAD_SECRETS_DIR/setup.json\" '%[2]s/secrets.new'; mv '%[2]s/secrets.new' '%[2]s/secrets'; sleep 0.1; done\nexec sleep 1000\n", muster.IdentityName, l.tokens)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, script) }))
	t.Cleanup(server.Close)
	sum := sha256.Sum256([]byte(script))
	l.config = nomad.Config{Address: l.platform.NomadAddr, Installation: installation,
		Agent: nomad.Agent{URL: server.URL + "/agent", SHA256: hex.EncodeToString(sum[:]), Servers: []string{server.URL}, Fence: time.Minute}}
	l.Nomad, err = nomad.New(l.config)
	l.must(err)
	return l
}

func (l *lab) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// eventually polls until the condition holds.
func (l *lab) eventually(what string, holds func() bool) {
	l.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			l.Fatalf("not within 30 s: %s", what)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// launch is one of an instance of 500 MHz and 64 MiB.
func (l *lab) launch(id, namespace string) *muster.Launch {
	return &muster.Launch{ID: id, Namespace: namespace, NodePool: "pool", Groups: []muster.Group{{Name: "main", Count: 1}},
		Each: []muster.Resources{{MHz: muster.Whole(500), MiB: muster.Whole(64), DiskMiB: muster.Whole(muster.LaunchDiskMiB)}}}
}

// run dispatches a launch and returns its child; it is purged at the end.
func (l *lab) run(launch *muster.Launch) (job, child string) {
	l.Helper()
	job, child, err := l.Dispatch(l.Context(), launch)
	l.must(err)
	l.Cleanup(func() {
		if err := l.StopJob(context.Background(), launch.Namespace, child, true); err != nil {
			l.Error(err)
		}
	})
	return job, child
}

// alloc waits until an allocation of a job runs.
func (l *lab) alloc(child string) muster.SeenAlloc {
	l.Helper()
	var found muster.SeenAlloc
	l.eventually("an allocation of "+child+" runs", func() bool {
		s, err := l.Look(l.Context())
		l.must(err)
		i := slices.IndexFunc(s.Allocs, func(a muster.SeenAlloc) bool { return a.JobID == child && a.Client == "running" })
		if i >= 0 {
			found = s.Allocs[i]
		}
		return i >= 0
	})
	return found
}

// identity waits for the identity that an allocation of a launch was given.
func (l *lab) identity(alloc string) string {
	l.Helper()
	var token string
	l.eventually("the identity of "+alloc, func() bool {
		b, err := os.ReadFile(filepath.Join(l.tokens, alloc))
		token = strings.TrimSpace(string(b))
		return err == nil
	})
	return token
}

// foreign is a job that is not Muster's: it waits, or does what the script says.
func (l *lab) foreign(id, namespace, script string, change func(*api.Job)) {
	l.Helper()
	job := &api.Job{ID: &id, Namespace: &namespace, Type: new("batch"), NodePool: new("pool"), TaskGroups: []*api.TaskGroup{{
		Name: new("g"), RestartPolicy: &api.RestartPolicy{Attempts: new(0), Mode: new("fail")}, ReschedulePolicy: &api.ReschedulePolicy{Attempts: new(0), Unlimited: new(false)},
		Tasks: []*api.Task{{Name: "t", Driver: "raw_exec", Config: map[string]any{"command": "/bin/sh", "args": []string{"-c", cmp.Or(script, "exec sleep 1000")}},
			Resources: &api.Resources{CPU: new(700), MemoryMB: new(128)}}}}}}
	if change != nil {
		change(job)
	}
	_, _, err := l.api.Jobs().Register(job, &api.WriteOptions{Namespace: namespace})
	l.must(err)
	l.Cleanup(func() {
		_, _, err := l.api.Jobs().Deregister(id, true, &api.WriteOptions{Namespace: namespace})
		l.must(err)
	})
}
