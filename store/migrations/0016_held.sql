-- +goose Up
-- The runs for which a cluster must stay are found without those that are over.
CREATE INDEX runs_live ON runs (cluster) WHERE ended_at = 0;

-- +goose Down
SELECT 1;
