-- +goose Up
ALTER TABLE instances ADD COLUMN doing TEXT NOT NULL DEFAULT ''; -- what Nomad does for it before its agent begins

-- +goose Down
SELECT 1;
