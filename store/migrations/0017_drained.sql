-- +goose Up
-- A drain's own words: "drained by anna", "drained: its fan is loud". What a person
-- says of the node later is another thing.
ALTER TABLE node_health ADD COLUMN drained TEXT NOT NULL DEFAULT '';
UPDATE node_health SET drained = CASE WHEN excluded = '' THEN 'drained: its cluster becomes smaller' WHEN excluded LIKE 'drained by %' THEN excluded ELSE 'drained: ' || excluded END
  WHERE drain_at > 0;

-- +goose Down
SELECT 1;
