package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/muster-ml/muster"
)

// CreateCluster keeps a new cluster.
func (s *Store) CreateCluster(ctx context.Context, c *muster.Cluster) error {
	return s.inTx(ctx, "create cluster", func(t *tx) error {
		c.CreatedAt = t.now
		_, err := t.exec(ctx, `INSERT INTO clusters (name, node_pool, provider, region, tier, created_at) VALUES (?, ?, ?, ?, ?, ?)`,
			c.Name, c.NodePool, c.Provider, c.Region, c.Tier, micros(t.now))
		if !isDuplicate(err) {
			return err
		}
		var other string
		if err := t.QueryRowContext(ctx, `SELECT name FROM clusters WHERE node_pool = ? OR name = ? ORDER BY name <> ?`, c.NodePool, c.Name, c.Name).Scan(&other); err != nil {
			return err
		}
		if other == c.Name {
			return muster.Errorf(muster.CodeConflict, "cluster %s exists already", c.Name).At("name")
		}
		return muster.Errorf(muster.CodeConflict, "node pool %s is cluster %s already", c.NodePool, other).At("node_pool")
	})
}

const clusterColumns = `SELECT name, node_pool, provider, region, tier, created_at FROM clusters `

func scanCluster(row scanner) (*muster.Cluster, error) {
	c := &muster.Cluster{}
	return c, row.Scan(&c.Name, &c.NodePool, &c.Provider, &c.Region, &c.Tier, timeCol{&c.CreatedAt})
}

// FindCluster returns the cluster of that name.
func (s *Store) FindCluster(ctx context.Context, name string) (*muster.Cluster, error) {
	return findCluster(ctx, s.read, name)
}

func findCluster(ctx context.Context, q querier, name string) (*muster.Cluster, error) {
	c, err := scanCluster(q.QueryRowContext(ctx, clusterColumns+`WHERE name = ?`, name))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, muster.Errorf(muster.CodeNotFound, "there is no cluster %s", name).
			WithCure("muster cluster list shows what there is, muster cluster create --node-pool POOL NAME makes one")
	}
	return c, err
}

// ListClusters returns all clusters by name.
func (s *Store) ListClusters(ctx context.Context) ([]*muster.Cluster, error) {
	return collect(ctx, s.read, scanCluster, clusterColumns+`ORDER BY name`)
}
