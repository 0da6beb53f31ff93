-- Test events, urgent deliveries, leases that survive changes of the clock, and pauses separate from rate limits.
-- Columns are described in schema.sql.

ALTER TABLE event ADD COLUMN test INTEGER NOT NULL DEFAULT 0;

ALTER TABLE delivery ADD COLUMN stamped INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN leased INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN urgent INTEGER NOT NULL DEFAULT 0;
CREATE INDEX delivery_urgent ON delivery (endpoint, due) WHERE urgent = 1;

ALTER TABLE endpoint ADD COLUMN paused_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE endpoint ADD COLUMN paused_until INTEGER NOT NULL DEFAULT 0;
UPDATE endpoint SET paused_until = CAST(paced_until AS INTEGER), paced_until = 0 WHERE paced_until > 0;
