-- The outbox for Svix, which files of the Svix backend already have, and the versions of the package that work with a file.
-- Columns are described in schema.sql.

CREATE TABLE IF NOT EXISTS svix_outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    event_id TEXT NOT NULL,
    type TEXT NOT NULL,
    timestamp INTEGER NOT NULL,
    channels TEXT,                  -- JSON array, NULL for none
    payload BLOB NOT NULL,
    state INTEGER NOT NULL DEFAULT 0,   -- 0 waiting, 1 accepted by Svix, 2 dead-lettered: refused permanently
    message_id TEXT,                -- Svix's id, once accepted
    settled_at INTEGER,             -- when it was accepted or dead-lettered
    keep_until INTEGER,             -- until when an accepted one answers for its `event_id`
    check_at INTEGER,               -- when to check whether Svix began to deliver it, if that is in doubt
    code TEXT,                      -- why it was dead-lettered, in Svix's words
    detail TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS svix_outbox_by_event_id ON svix_outbox (tenant, event_id);
CREATE INDEX IF NOT EXISTS svix_outbox_waiting ON svix_outbox (tenant, seq) WHERE state = 0;
CREATE INDEX IF NOT EXISTS svix_outbox_waiting_by_seq ON svix_outbox (seq) WHERE state = 0;
DROP INDEX IF EXISTS svix_outbox_parked;  -- Its former name.
CREATE INDEX IF NOT EXISTS svix_outbox_dead_letters ON svix_outbox (seq) WHERE state = 2;
CREATE INDEX IF NOT EXISTS svix_outbox_kept ON svix_outbox (keep_until) WHERE state = 1;
CREATE INDEX IF NOT EXISTS svix_outbox_in_doubt ON svix_outbox (check_at) WHERE check_at IS NOT NULL;

-- Event types that `sync` registered. Only these may be archived when they leave the catalog.
CREATE TABLE IF NOT EXISTS svix_event_type (name TEXT PRIMARY KEY) WITHOUT ROWID;

CREATE TABLE migration (
    version INTEGER PRIMARY KEY,
    works_with INTEGER NOT NULL,
    applied_at INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER))
);
