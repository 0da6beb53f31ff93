-- Works with version 3 and later.
-- When the tenant of a failing endpoint was warned that it will be disabled.

ALTER TABLE endpoint ADD COLUMN warned_at INTEGER;
