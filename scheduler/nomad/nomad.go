// Package nomad is all that is said to Nomad and heard from it: jobs,
// allocations, nodes, events and workload identities.
package nomad

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/nomad/api"
	"golang.org/x/sync/errgroup"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/jobspecs"
)

// Config says how Nomad is reached. Empty fields take what the NOMAD_*
// variables say.
type Config struct {
	Mode       muster.NomadMode // "" is manage
	Address    string
	Token      string
	Region     string
	CACert     string // files
	ClientCert string
	ClientKey  string
	ServerName string

	Limit time.Duration // of one call, 0 is 15 s: a Nomad that takes calls and does not answer holds up nothing for longer

	Installation string
	Agent        Agent

	// Observe is told of each call; nil is nobody. Calls over a Unix socket are
	// not told.
	Observe func(operation string, took time.Duration, err error)
}

// Agent is what an allocation needs to know to fetch and start its agent.
type Agent = jobspecs.Agent

// Nomad implements muster.Engine and muster.Identities.
type Nomad struct {
	api          *api.Client
	mode         muster.NomadMode
	limit        time.Duration
	installation string
	agent        Agent
	keys         keys

	mu         sync.Mutex
	registered map[string]bool // shapes and namespaces that Nomad has, by namespace/id
	reconnect  func()          // ends the event stream: a new namespace is not in it
	following  []string        // the namespaces of the event stream
}

// New returns Nomad at an address. It does not connect yet.
func New(c Config) (*Nomad, error) {
	c.Mode = cmp.Or(c.Mode, muster.NomadManage)
	if err := c.Mode.Validate(); err != nil {
		return nil, err
	}
	conf := api.DefaultConfig()
	conf.Address = cmp.Or(c.Address, conf.Address)
	conf.SecretID = cmp.Or(c.Token, conf.SecretID)
	conf.Region = cmp.Or(c.Region, conf.Region)
	conf.TLSConfig.CACert = cmp.Or(c.CACert, conf.TLSConfig.CACert)
	conf.TLSConfig.ClientCert = cmp.Or(c.ClientCert, conf.TLSConfig.ClientCert)
	conf.TLSConfig.ClientKey = cmp.Or(c.ClientKey, conf.TLSConfig.ClientKey)
	conf.TLSConfig.TLSServerName = cmp.Or(c.ServerName, conf.TLSConfig.TLSServerName)
	if c.Observe != nil && !strings.HasPrefix(conf.Address, "unix:") {
		var err error
		if conf.HttpClient, err = measuredClient(conf, c.Observe); err != nil {
			return nil, muster.Errorf(muster.CodeInvalid, "TLS to Nomad at %s: %v", conf.Address, err).At("nomad-addr")
		}
	}
	client, err := api.NewClient(conf)
	if err != nil {
		return nil, muster.Errorf(muster.CodeInvalid, "Nomad at %s: %v", conf.Address, err).At("nomad-addr")
	}
	return &Nomad{api: client, mode: c.Mode, limit: cmp.Or(c.Limit, 15*time.Second), installation: c.Installation, agent: c.Agent, registered: map[string]bool{}, reconnect: func() {}}, nil
}

// Ping reports whether Nomad answers and has a leader.
func (n *Nomad) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, n.limit)
	defer cancel()
	var leader string
	if _, err := n.api.Raw().Query("/v1/status/leader", &leader, (&api.QueryOptions{}).WithContext(ctx)); err != nil {
		return unreachable("ask Nomad for its leader", err)
	}
	if leader == "" {
		return muster.Errorf(muster.CodeUnreachable, "Nomad has no leader")
	}
	return nil
}

// unreachable wraps an error of a call to Nomad.
func unreachable(what string, err error) error {
	return fmt.Errorf("%s: %w", what, muster.Errorf(muster.CodeUnreachable, "Nomad: %v", err))
}

// status returns the HTTP status of an answer that is an error, 0 for other
// errors. It is the one place where Nomad's errors are told apart.
func status(err error) int {
	for e := err; e != nil; {
		if r, ok := e.(api.UnexpectedResponseError); ok {
			return r.StatusCode()
		}
		u, ok := e.(interface{ Unwrap() error })
		if !ok {
			return 0
		}
		e = u.Unwrap()
	}
	return 0
}

// unknown reports whether an error says that Nomad does not have what was to be
// removed. Of some things it says so with status 500, in those words.
func unknown(err error, words string) bool {
	code := status(err)
	return code == 404 || code == 500 && strings.Contains(err.Error(), words)
}

// Dispatch makes a launch exist. Where Nomad refuses, somebody may have stopped
// the shape's job since it was registered, or deleted its namespace: it is
// registered anew, and asked for once more.
func (n *Nomad) Dispatch(ctx context.Context, l *muster.Launch) (jobID, childID string, err error) {
	ctx, cancel := context.WithTimeout(ctx, n.limit)
	defer cancel()
	shape := n.shape(l)
	jobID = shape.ID()
	known, err := n.register(ctx, shape, jobID)
	if err != nil {
		return "", "", err
	}
	childID, err = n.dispatch(ctx, l, jobID)
	if known && muster.CodeOf(err) == muster.CodeRefused {
		if _, err := n.register(ctx, shape, jobID); err != nil {
			return "", "", err
		}
		childID, err = n.dispatch(ctx, l, jobID)
	}
	if err != nil {
		return "", "", err
	}
	return jobID, childID, nil
}

// dispatch asks for the child of a launch.
func (n *Nomad) dispatch(ctx context.Context, l *muster.Launch, jobID string) (childID string, err error) {
	q := (&api.WriteOptions{Namespace: l.Namespace, IdempotencyToken: l.Token()}).WithContext(ctx)
	opts := &api.DispatchOptions{JobID: jobID, Meta: map[string]string{muster.LaunchMeta: l.ID}, IdPrefixTemplate: l.ID}
	answer, _, err := n.api.Jobs().DispatchOpts(opts, q)
	if err != nil {
		n.forget(l.Namespace, jobID)
		return "", fmt.Errorf("dispatch launch %s: %w", l.ID, n.refused(err))
	}
	return answer.DispatchedJobID, nil
}

// refused makes an error of Nomad's own one that may be shown; a Nomad that
// cannot be reached stays CodeUnreachable.
func (n *Nomad) refused(err error) error {
	if code := status(err); code != 0 && code != 502 && code != 503 && code != 504 && !strings.Contains(err.Error(), "No cluster leader") {
		why := strings.Join(strings.Fields(err.Error()), " ")
		if code == 403 {
			why += "; Muster's Nomad token lacks a right: muster policies prints those that it needs"
		}
		return muster.Errorf(muster.CodeRefused, "Nomad refuses: %s", why)
	}
	return muster.Errorf(muster.CodeUnreachable, "Nomad: %v", err)
}

// shape returns what the launch is an instance of.
func (n *Nomad) shape(l *muster.Launch) *jobspecs.Shape {
	s := &jobspecs.Shape{Installation: n.installation, Namespace: l.Namespace, Region: l.Region, NodePool: l.NodePool, Container: l.Container, Agent: n.agent}
	for i, g := range l.Groups {
		s.Groups = append(s.Groups, jobspecs.Group{Name: g.Name, Count: g.Count, Need: l.Each[i]})
	}
	return s
}

// register makes sure that Nomad has the shape's namespace and job; known says
// that it had them before.
func (n *Nomad) register(ctx context.Context, s *jobspecs.Shape, jobID string) (known bool, err error) {
	key := s.Namespace + "/" + jobID
	n.mu.Lock()
	known = n.registered[key]
	n.mu.Unlock()
	if known {
		return true, nil
	}
	if err := n.ensureNamespace(ctx, s.Namespace); err != nil {
		return false, err
	}
	if _, _, err := n.api.Jobs().Register(s.Job(), (&api.WriteOptions{Namespace: s.Namespace}).WithContext(ctx)); err != nil {
		return false, fmt.Errorf("register shape %s: %w", jobID, n.refused(err))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.registered[key] = true
	return false, nil
}

// forget makes the next dispatch register the shape again: somebody may have
// stopped it.
func (n *Nomad) forget(namespace, jobID string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.registered, namespace+"/"+jobID)
}

// WhyUnplaced reads the newest evaluation of a dispatched job that found no room,
// or else the newest that is not done.
func (n *Nomad) WhyUnplaced(ctx context.Context, namespace, childID string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, n.limit)
	defer cancel()
	evals, _, err := n.api.Jobs().Evaluations(childID, (&api.QueryOptions{Namespace: namespace}).WithContext(ctx))
	if err != nil {
		return "", unreachable("list evaluations", err)
	}
	slices.SortFunc(evals, func(a, b *api.Evaluation) int { return cmp.Compare(b.ModifyIndex, a.ModifyIndex) })
	for _, e := range evals {
		for _, group := range slices.Sorted(maps.Keys(e.FailedTGAllocs)) {
			return whyFailed(e.FailedTGAllocs[group]), nil
		}
	}
	for _, e := range evals {
		if e.Status != api.EvalStatusComplete {
			return strings.TrimSuffix(fmt.Sprintf("its evaluation is %s: %s", e.Status, e.StatusDescription), ": "), nil
		}
	}
	return "", nil
}

// whyFailed puts into words why an evaluation has found no node.
func whyFailed(m *api.AllocationMetric) string {
	var why []string
	for _, reasons := range []map[string]int{m.ConstraintFiltered, m.DimensionExhausted} {
		for _, reason := range slices.Sorted(maps.Keys(reasons)) {
			why = append(why, fmt.Sprintf("%s %d", reason, reasons[reason]))
		}
	}
	text := fmt.Sprintf("%s in the pool, %d filtered, %d exhausted", muster.Counted(m.NodesInPool, "node"), m.NodesFiltered, m.NodesExhausted)
	if len(why) > 0 {
		text += ": " + strings.Join(why, ", ")
	}
	return text
}

// StopJob stops a dispatched job and, with purge, forgets it.
func (n *Nomad) StopJob(ctx context.Context, namespace, childID string, purge bool) error {
	ctx, cancel := context.WithTimeout(ctx, n.limit)
	defer cancel()
	_, _, err := n.api.Jobs().Deregister(childID, purge, (&api.WriteOptions{Namespace: namespace}).WithContext(ctx))
	if err != nil && status(err) != 404 {
		return fmt.Errorf("stop Nomad job %s: %w", childID, n.refused(err))
	}
	return nil
}

// Watch follows the event stream and calls wake for each change.
func (n *Nomad) Watch(ctx context.Context, wake func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n.mu.Lock()
	n.reconnect = cancel
	n.mu.Unlock()
	namespaces, err := n.followed(ctx)
	if err != nil {
		return err
	}
	n.mu.Lock()
	if n.mode == muster.NomadExisting {
		n.following = namespaces
	}
	n.mu.Unlock()
	g, ctx := errgroup.WithContext(ctx)
	for _, namespace := range namespaces {
		g.Go(func() error { return n.follow(ctx, namespace, wake) })
	}
	return g.Wait()
}

// followed lists the namespaces whose events are followed. A token that is no
// management token gets none of all at once, and no word that says so.
func (n *Nomad) followed(ctx context.Context) ([]string, error) {
	if n.mode == muster.NomadManage {
		return []string{api.AllNamespacesNamespace}, nil
	}
	q, cancel := context.WithTimeout(ctx, n.limit)
	defer cancel()
	all, _, err := n.api.Namespaces().PrefixList("ws-"+n.installation+"-", (&api.QueryOptions{}).WithContext(q))
	if err != nil {
		return nil, unreachable("list namespaces", err)
	}
	if len(all) == 0 {
		return nil, muster.Errorf(muster.CodeRefused, "Nomad shows no namespace of a workspace").WithCure("muster policies prints what to apply")
	}
	var names []string
	for _, space := range all {
		names = append(names, space.Name)
	}
	return names, nil
}

// follow follows the events of a namespace, and of the nodes.
func (n *Nomad) follow(ctx context.Context, namespace string, wake func()) error {
	topics := map[api.Topic][]string{api.TopicJob: {"*"}, api.TopicAllocation: {"*"}, api.TopicNode: {"*"}}
	// Index 0 replays what the server still has: it only wakes us once more.
	stream, err := n.api.EventStream().Stream(ctx, topics, 0, &api.QueryOptions{Namespace: namespace})
	if err != nil {
		return unreachable("follow Nomad's events", err)
	}
	wake()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case events, ok := <-stream:
			switch {
			case !ok:
				return muster.Errorf(muster.CodeUnreachable, "Nomad ended the stream of events")
			case events.Err != nil:
				return unreachable("follow Nomad's events", events.Err)
			case !events.IsHeartbeat():
				wake()
			}
		}
	}
}
