// Package agentapi is the front door for agents: claims, reports, logs,
// metrics and artifacts. The caller is an allocation that proves itself by its
// workload identity, and may act on the instance it has claimed and on nothing
// else.
package agentapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/muster-ml/muster"
)

// Services are what the front door stands before.
type Services struct {
	Identities muster.Identities
	Claims     muster.Claims
	Healths    muster.Healths
	Artifacts  muster.Artifacts
	Blobs      muster.Blobs
	Metrics    muster.Metrics
	FindRun    func(ctx context.Context, id int64) (*muster.Run, error) // a run by its id
	Servers    func() []string                                          // the URLs that agents may call
	Changed    func() <-chan struct{}                                   // closed when what is wanted of some launch may have changed
	Called     func(ctx context.Context, principal string)              // told who made a request; may be nil
	Agents     string                                                   // the folder of the agents that nodes may fetch, by SHA-256
	Logger     *slog.Logger

	MaxArtifact int64 // bytes; 0 is DefaultMaxArtifact
}

// DefaultMaxArtifact is the largest artifact, in bytes.
const DefaultMaxArtifact = 1 << 40

// The times of the front door.
const (
	trustToken  = 5 * time.Second  // how long an identity that was checked is not checked again
	claimHold   = 10 * time.Second // the longest that the answer to a claim is held back
	maxHold     = time.Minute      // the longest that the answer to a report is held back
	recheck     = 5 * time.Second  // how often a report that is held back looks again unasked
	heardPeriod = 10 * time.Second // how often the times of reports are written
)

// API answers agents. Run must be running for the times of their calls to be
// kept.
type API struct {
	Services
	mux   *http.ServeMux
	done  chan struct{} // closed when Run ends: reports are no longer held back
	mu    sync.Mutex
	known map[string]identity // by token's hash
	heard map[muster.InstanceID]time.Time
	locks map[string]*keyLock
}

// identity is an identity that was checked.
type identity struct {
	alloc *muster.Allocation
	until time.Time
}

// New makes the front door. It answers all below /agent/v1/.
func New(s Services) *API {
	if s.MaxArtifact == 0 {
		s.MaxArtifact = DefaultMaxArtifact
	}
	a := &API{Services: s, mux: http.NewServeMux(), done: make(chan struct{}),
		known: map[string]identity{}, heard: map[muster.InstanceID]time.Time{}, locks: map[string]*keyLock{}}
	const launch = "/agent/v1/launches/{launch}/"
	a.mux.HandleFunc("GET /agent/v1/binary/{sha256}", a.serveBinary)
	a.mux.HandleFunc("POST "+launch+"claim", a.handle(a.claim))
	a.mux.HandleFunc("POST "+launch+"report", a.handleOwn(a.report))
	a.mux.HandleFunc("POST "+launch+"metrics", a.handleWork(a.logMetrics))
	a.mux.HandleFunc("GET "+launch+"uploads/{sha256}", a.handleWork(a.serveUpload))
	a.mux.HandleFunc("PUT "+launch+"instances/{i}/logs/{stream}/{offset}", a.handleWork(a.putChunk))
	a.mux.HandleFunc("GET "+launch+"instances/{i}/parts/{sha256}", a.handleWork(a.listParts))
	a.mux.HandleFunc("PUT "+launch+"instances/{i}/parts/{sha256}/{offset}", a.handleWork(a.putPart))
	a.mux.HandleFunc("PUT "+launch+"instances/{i}/artifacts/{path...}", a.handleWork(a.putArtifact))
	a.mux.HandleFunc("GET "+launch+"instances/{i}/checkpoint", a.handleWork(a.listCheckpoint))
	a.mux.HandleFunc("GET "+launch+"instances/{i}/checkpoint/{path...}", a.handleWork(a.serveCheckpoint))
	a.mux.HandleFunc("DELETE "+launch+"instances/{i}/checkpoint/{path...}", a.handleWork(a.dropCheckpoint))
	a.mux.HandleFunc("POST /agent/v1/nodes/{cluster}/report", a.handleNode(a.reportNode))
	a.mux.HandleFunc("PUT /agent/v1/nodes/{cluster}/logs/{log}/{offset}", a.handleNode(a.putNodeChunk))
	a.mux.HandleFunc("/agent/v1/", a.handleUnknown)
	return a
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(muster.AgentAPIHeader, muster.AgentAPI)
	a.mux.ServeHTTP(w, r)
}

// Run writes down when instances were last heard of, until ctx ends; then it
// lets go of the reports that are held back.
func (a *API) Run(ctx context.Context) {
	tick := time.NewTicker(heardPeriod)
	defer tick.Stop()
	defer close(a.done)
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			a.flushHeard(last)
			return
		case <-tick.C:
			a.flushHeard(ctx)
			a.forget()
		}
	}
}

// flushHeard writes the times; those it cannot write it keeps for the next try.
func (a *API) flushHeard(ctx context.Context) {
	a.mu.Lock()
	at := a.heard
	a.heard = map[muster.InstanceID]time.Time{}
	a.mu.Unlock()
	if len(at) == 0 {
		return
	}
	err := a.Claims.Heard(ctx, at)
	if err == nil {
		return
	}
	a.Logger.Error("keep when agents were heard of", "error", err)
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, t := range at {
		if a.heard[id].Before(t) {
			a.heard[id] = t
		}
	}
}

// forget drops the identities that are no longer trusted unchecked.
func (a *API) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for hash, id := range a.known {
		if time.Now().After(id.until) {
			delete(a.known, hash)
		}
	}
}

// handle answers with what f returns, or with a problem.
func (a *API) handle(f func(w http.ResponseWriter, r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := f(w, r); err != nil {
			a.problem(w, r, err)
		}
	}
}

// handleUnknown answers where no route is.
func (a *API) handleUnknown(w http.ResponseWriter, r *http.Request) {
	a.problem(w, r, muster.Errorf(muster.CodeNotFound, "there is no %s %s", r.Method, r.URL.Path))
}

// serveBinary gives an agent to whoever names its digest.
func (a *API) serveBinary(w http.ResponseWriter, r *http.Request) {
	sum := r.PathValue("sha256")
	file := filepath.Join(a.Agents, sum)
	if _, err := os.Stat(file); err != nil || muster.CheckSHA256(sum) != nil {
		a.problem(w, r, muster.Errorf(muster.CodeNotFound, "this server has another agent").WithCure("let the launch be dispatched again"))
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeFile(w, r, file)
}

// errTooLarge recognises a body beyond its limit.
func errTooLarge(err error) bool {
	_, ok := errors.AsType[*http.MaxBytesError](err)
	return ok
}
