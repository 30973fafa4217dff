package api

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/muster-ml/muster"
)

// InNode names a node in the path.
type InNode struct {
	Node string `path:"node" doc:"Its id, the beginning of an id, or its name."`
}

// InClusterSecret names a secret of a cluster in the path.
type InClusterSecret struct {
	InCluster
	Secret string `path:"secret" example:"PIP_TOKEN"`
}

// secretValue is the value of a secret.
type secretValue struct {
	Value muster.Secret `json:"value" doc:"It is kept in Nomad alone, and never told again."`
}

// registerNodes is about nodes and what makes them ready.
func (a *API) registerNodes() {
	type ofCluster struct {
		InNames
		Cluster string `query:"cluster" doc:"Only this cluster's."`
	}
	handle(a, operation{"GET", "/nodes", "list-nodes", "List the nodes of all clusters", 200, "nodes", muster.RoleReader},
		func(ctx context.Context, in *ofCluster) (*names[*muster.Node], error) {
			all, err := a.nodes(ctx, in.Cluster)
			slices.SortFunc(all, func(a, b *muster.Node) int { return strings.Compare(nodeName(a), nodeName(b)) })
			return byName(in.InNames, all, nodeName, err)
		})
	handle(a, operation{"GET", "/nodes/{node}", "show-node", "Show a node by id, beginning of an id, or name", 200, "nodes", muster.RoleReader},
		func(ctx context.Context, in *InNode) (*one[*muster.Node], error) {
			n, err := a.node(ctx, in.Node)
			return thing(n, 0, err)
		})
	handle(a, operation{"PATCH", "/nodes/{node}", "change-node", "Take a node out of service, or into service again", 200, "nodes", muster.RoleAdministrator},
		func(ctx context.Context, in *struct {
			InNode
			Body muster.NodeChange
		}) (*one[*muster.Node], error) {
			defer a.Wake()
			n, err := a.changeNode(ctx, in.Node, in.Body)
			return thing(n, 0, err)
		})
	handle(a, operation{"GET", "/nodes/{node}/log", "get-node-log", "Read the log of a node's last set-up: the last MiB of it", 200, "nodes", muster.RoleAdministrator},
		func(ctx context.Context, in *InNode) (*body[*muster.NodeLog], error) {
			return ok(a.nodeLog(ctx, in.Node))
		})
	const secrets = "/clusters/{cluster}/secrets"
	handle(a, operation{"GET", secrets, "list-cluster-secrets", "List the secrets that the set-up of a cluster's nodes may get, without their values", 200, "clusters", muster.RoleAdministrator},
		func(ctx context.Context, in *InCluster) (*body[[]muster.ClusterSecret], error) {
			return list(a.ClusterSecrets.ListClusterSecrets(ctx, in.Cluster))
		})
	handle(a, operation{"PUT", secrets + "/{secret}", "put-cluster-secret", "Set a secret of a cluster; its nodes are set up anew", 204, "clusters", muster.RoleAdministrator},
		func(ctx context.Context, in *struct {
			InClusterSecret
			Body secretValue
		}) (*struct{}, error) {
			defer a.Wake()
			return nil, a.putSecret(ctx, in.InClusterSecret, in.Body.Value)
		})
	handle(a, operation{"DELETE", secrets + "/{secret}", "delete-cluster-secret", "Remove a secret of a cluster", 204, "clusters", muster.RoleAdministrator},
		func(ctx context.Context, in *InClusterSecret) (*struct{}, error) {
			defer a.Wake()
			return nil, a.dropSecret(ctx, *in)
		})
}

// changeNode changes what a person says of a node.
func (a *API) changeNode(ctx context.Context, name string, change muster.NodeChange) (*muster.Node, error) {
	n, err := a.node(ctx, name)
	if err != nil {
		return nil, err
	}
	switch {
	case n.ID == "":
		return nil, muster.Errorf(muster.CodeConflict, "node %s is not there yet: its provider starts it", n.Name)
	case change.Excluded == nil && change.Drain == nil:
		return nil, muster.Errorf(muster.CodeInvalid, "nothing is to be changed").WithCure("send excluded or drain_seconds")
	case change.Excluded != nil && len(*change.Excluded) > maxReason:
		return nil, muster.Errorf(muster.CodeInvalid, "the reason has %d bytes", len(*change.Excluded)).At("excluded").WithCure("at most %d", maxReason)
	case change.Drain != nil && (*change.Drain < 0 || *change.Drain > muster.Duration(maxDrain)):
		return nil, muster.Errorf(muster.CodeInvalid, "drain_seconds is %s", change.Drain).At("drain_seconds").WithCure("use 0 to %.0f seconds, a week", maxDrain.Seconds())
	}
	if err := a.Fitness.ChangeNode(ctx, n, change, origin(ctx)); err != nil {
		return nil, err
	}
	return a.node(ctx, n.ID)
}

// The most that a change of a node may say.
const (
	maxReason = 500
	maxDrain  = 7 * 24 * time.Hour
)

// maxNodeLog is how much of a node's log is told: its end.
const maxNodeLog = 1 << 20

// nodeLog reads the log of a node's last set-up.
func (a *API) nodeLog(ctx context.Context, name string) (*muster.NodeLog, error) {
	n, err := a.node(ctx, name)
	if err != nil {
		return nil, err
	}
	if n.Log == "" {
		if c, err := a.Clusters.FindCluster(ctx, n.Cluster); err == nil && c.Setup != nil && n.Reason != "" {
			return nil, muster.Errorf(muster.CodeNotFound, "node %s has no log: its set-up has not run yet", n.Name).WithCure("it is %s: %s", n.State, n.Reason)
		}
		return nil, muster.Errorf(muster.CodeNotFound, "node %s has no log: no set-up has run on it", n.Name).WithCure("muster cluster update --file FILE gives a cluster a set-up")
	}
	prefix := muster.NodeLogPrefix(n.ID, n.Log)
	var keys []muster.Blob
	size := int64(0)
	for b, err := range a.Blobs.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		keys, size = append(keys, b), size+b.Size
	}
	log, skip := &muster.NodeLog{Node: n.Name, Log: n.Log}, max(0, size-maxNodeLog)
	for _, b := range keys {
		if skip >= b.Size {
			skip -= b.Size
			continue
		}
		r, err := a.Blobs.Open(ctx, b.Key, skip)
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(r)
		_ = r.Close()
		if err != nil {
			return nil, err
		}
		log.Text, skip = log.Text+strings.ToValidUTF8(string(text), "�"), 0
	}
	return log, nil
}

// putSecret keeps the value first: a name without it would make nodes wait for it.
func (a *API) putSecret(ctx context.Context, in InClusterSecret, value muster.Secret) error {
	if value.Reveal() == "" {
		return muster.Errorf(muster.CodeInvalid, "the value is empty").At("value")
	}
	return a.keepSecret(ctx, in, value, func(version int64) error {
		return a.ClusterSecrets.PutClusterSecret(ctx, in.Cluster, in.Secret, version, origin(ctx))
	})
}

// dropSecret forgets the value first: while the name is there, whoever asks again
// comes through.
func (a *API) dropSecret(ctx context.Context, in InClusterSecret) error {
	return a.keepSecret(ctx, in, muster.Secret{}, func(version int64) error {
		return a.ClusterSecrets.DropClusterSecret(ctx, in.Cluster, in.Secret, version, origin(ctx))
	})
}

// maxSecretValue is the most that a secret may hold, in bytes: Nomad keeps 64 KiB
// for all of a cluster.
const maxSecretValue = 16 << 10

// keepSecret changes a secret in the vault, and then its row.
func (a *API) keepSecret(ctx context.Context, in InClusterSecret, value muster.Secret, row func(version int64) error) error {
	if err := muster.CheckVariable(in.Secret); err != nil {
		return muster.Within(err, "secret")
	}
	if len(value.Reveal()) > maxSecretValue {
		return muster.Errorf(muster.CodeTooLarge, "the value has %d bytes", len(value.Reveal())).At("value").WithCure("at most %d", maxSecretValue)
	}
	c, err := a.Clusters.FindCluster(ctx, in.Cluster)
	if err != nil {
		return err
	}
	version := max(time.Now().UnixMicro(), c.SecretsVersion+1)
	if err := a.Vault.KeepClusterSecrets(ctx, in.Cluster, map[string]muster.Secret{in.Secret: value}, version); err != nil {
		return err
	}
	return row(version)
}
