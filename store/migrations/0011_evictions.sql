-- +goose Up
ALTER TABLE runs ADD COLUMN evictions INTEGER NOT NULL DEFAULT 0; -- nodes that a provider took from it; they use up no retry
ALTER TABLE nodes ADD COLUMN fate TEXT NOT NULL DEFAULT '' CHECK (fate IN ('', 'gone', 'evicted')); -- its provider has it no more
ALTER TABLE nodes ADD COLUMN evict_at INTEGER NOT NULL DEFAULT 0; -- when it will be taken; announced before
ALTER TABLE attempts ADD COLUMN checkpoint_at INTEGER NOT NULL DEFAULT 0; -- when a file of its checkpoint folder was kept last

-- +goose Down
SELECT 1;
