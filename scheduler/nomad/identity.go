package nomad

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/hashicorp/nomad/api"
	"golang.org/x/sync/singleflight"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/jobspecs"
)

// keys are the public keys of Nomad's workload identities. They are read by one
// caller for all, and no lock is held meanwhile.
type keys struct {
	reading singleflight.Group
	mu      sync.Mutex
	set     *jose.JSONWebKeySet
	read    time.Time
}

// find returns the key of that id, nil where it is not known, and how long ago
// Nomad was asked.
func (k *keys) find(id string) (*jose.JSONWebKey, time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	age := time.Since(k.read)
	if k.set == nil {
		return nil, keyLife
	}
	for _, key := range k.set.Key(id) {
		return &key, age
	}
	return nil, age
}

// keyLife is how long keys are trusted without asking again, and keyPause how
// long a token with an unknown key waits before Nomad is asked again for it.
const (
	keyLife  = 10 * time.Minute
	keyPause = 2 * time.Second
)

// claims is what Muster reads of a workload identity.
type claims struct {
	jwt.Claims
	Namespace  string `json:"nomad_namespace"`
	Allocation string `json:"nomad_allocation_id"`
}

// Identify returns the allocation whose token this is.
func (n *Nomad) Identify(ctx context.Context, token string) (*muster.Allocation, error) {
	ctx, cancel := context.WithTimeout(ctx, n.limit)
	defer cancel()
	c, err := n.verify(ctx, token)
	if err != nil {
		return nil, err
	}
	alloc, _, err := n.api.Allocations().Info(c.Allocation, (&api.QueryOptions{Namespace: c.Namespace}).WithContext(ctx))
	switch {
	case status(err) == 404:
		return nil, muster.Errorf(muster.CodeForbidden, "the allocation %s of this token is gone", c.Allocation)
	case err != nil:
		return nil, unreachable("look up the token's allocation", err)
	case alloc.Namespace != c.Namespace:
		return nil, muster.Errorf(muster.CodeForbidden, "the allocation %s is not in the namespace of this token", c.Allocation)
	}
	a := &muster.Allocation{
		ID: alloc.ID, Namespace: alloc.Namespace, ChildID: alloc.JobID, Group: alloc.TaskGroup, Index: allocIndex(alloc.Name),
		NodeID: alloc.NodeID, NodeName: alloc.NodeName,
		Terminal: alloc.DesiredStatus != api.AllocDesiredStatusRun || alloc.ClientTerminalStatus(),
	}
	if job := alloc.Job; job != nil {
		if job.Meta[muster.InstallationMeta] != n.installation {
			return nil, muster.Errorf(muster.CodeForbidden, "the allocation %s belongs to another installation of Muster", c.Allocation)
		}
		a.Launch = job.Meta[muster.LaunchMeta]
		if cluster := job.Meta[muster.ClusterMeta]; a.ChildID == jobspecs.NodeJobPrefix(n.installation)+cluster && a.Namespace == jobspecs.NodeNamespace(n.installation) {
			a.Cluster = cluster
		}
		if job.DispatchIdempotencyToken != nil {
			a.Token = *job.DispatchIdempotencyToken
		}
	}
	return a, nil
}

// verify checks signature, audience and time.
func (n *Nomad) verify(ctx context.Context, token string) (*claims, error) {
	refuse := func(why string) error {
		return muster.Errorf(muster.CodeUnauthenticated, "this is no valid workload identity: %s", why)
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.EdDSA})
	if err != nil {
		return nil, refuse("not a signed token")
	}
	var key *jose.JSONWebKey
	if len(parsed.Headers) == 1 {
		if key, err = n.key(ctx, parsed.Headers[0].KeyID); err != nil {
			return nil, err
		}
	}
	if key == nil {
		return nil, refuse("signed with a key that Nomad does not have")
	}
	var c claims
	if err := parsed.Claims(key, &c); err != nil {
		return nil, refuse("its signature is wrong")
	}
	if err := c.Validate(jwt.Expected{AnyAudience: jwt.Audience{muster.IdentityAudience}, Time: time.Now()}); err != nil {
		return nil, refuse(err.Error())
	}
	if c.Allocation == "" || c.Expiry == nil {
		return nil, refuse("it names no allocation, or never expires")
	}
	return &c, nil
}

// key returns the key of that id, nil where Nomad has none.
func (n *Nomad) key(ctx context.Context, id string) (*jose.JSONWebKey, error) {
	key, age := n.keys.find(id)
	if key != nil && age < keyLife || key == nil && age < keyPause {
		return key, nil
	}
	_, err, _ := n.keys.reading.Do("", func() (any, error) {
		// It is read for all that wait, and so not ended with the first of them.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.limit)
		defer cancel()
		set, err := n.readKeys(ctx)
		if err != nil {
			return nil, err
		}
		n.keys.mu.Lock()
		defer n.keys.mu.Unlock()
		n.keys.set, n.keys.read = set, time.Now()
		return nil, nil
	})
	if err != nil && key == nil {
		return nil, err
	}
	if err != nil {
		return key, nil // Nomad is away: what it said last still holds
	}
	key, _ = n.keys.find(id)
	return key, nil
}

// readKeys fetches Nomad's JWKS.
func (n *Nomad) readKeys(ctx context.Context) (*jose.JSONWebKeySet, error) {
	body, err := n.api.Raw().Response("/.well-known/jwks.json", (&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return nil, unreachable("read Nomad's public keys", err)
	}
	defer body.Close()
	set := &jose.JSONWebKeySet{}
	if err := json.NewDecoder(body).Decode(set); err != nil {
		return nil, fmt.Errorf("read Nomad's public keys: %w", err)
	}
	if len(set.Keys) == 0 {
		return nil, errors.New("read Nomad's public keys: there are none")
	}
	return set, nil
}
