-- Version 8. A later change goes into migrations/NNNN.sql and here: new columns and tables at the end.

CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

-- `seq` is the order of commits, which streams follow. It has AUTOINCREMENT, because a plain rowid can be reused after
-- retention has emptied the table. `id` is the order of time, which lists follow. `timestamp` is in milliseconds.
CREATE TABLE event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    type TEXT NOT NULL,
    timestamp INTEGER NOT NULL,
    event_id TEXT,                  -- NULL where the host gave none: then it is `evt_` and the KSUID of `id`
    channels TEXT,                  -- JSON array, NULL for none
    payload BLOB NOT NULL,
    test INTEGER NOT NULL DEFAULT 0, -- 1 for a test event, which is never recovered
    trace TEXT                      -- the trace context in which it was emitted, as `traceparent`
);
CREATE UNIQUE INDEX event_by_id ON event (tenant, id);
CREATE INDEX event_by_type ON event (tenant, type, id);
CREATE INDEX event_by_seq ON event (tenant, seq);
CREATE UNIQUE INDEX event_by_event_id ON event (tenant, event_id) WHERE event_id IS NOT NULL;

CREATE TABLE event_channel (
    tenant TEXT NOT NULL,
    channel TEXT NOT NULL,
    type TEXT NOT NULL,
    id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (tenant, channel, type, id)
) WITHOUT ROWID;
CREATE INDEX event_channel_by_id ON event_channel (tenant, channel, id);

-- Times are in milliseconds. Deliveries and attempts refer to `no`.
CREATE TABLE endpoint (
    no INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    url TEXT NOT NULL,
    description TEXT NOT NULL,
    event_types TEXT NOT NULL,      -- JSON array, [] for all
    channels TEXT NOT NULL,         -- JSON array, [] for all
    disabled_reason TEXT,           -- NULL while enabled
    rate_limit INTEGER,
    metadata TEXT NOT NULL,         -- JSON object
    headers TEXT NOT NULL,          -- JSON object
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    failing_since INTEGER,          -- first failure after the last success, NULL while it works
    paced_until REAL NOT NULL DEFAULT 0,    -- when the rate limit lets the next attempt go
    paused_at INTEGER NOT NULL DEFAULT 0,   -- when the receiver asked for a pause (Retry-After)
    paused_until INTEGER NOT NULL DEFAULT 0,
    proven_server TEXT,             -- the server that has accepted a delivery, NULL before the first 2xx
    warned_at INTEGER               -- when the tenant was last warned that it will be disabled
);
CREATE UNIQUE INDEX endpoint_by_tenant ON endpoint (tenant, id);
CREATE INDEX endpoint_troubled ON endpoint (id) WHERE failing_since IS NOT NULL OR disabled_reason IS NOT NULL;

CREATE TABLE endpoint_secret (
    endpoint INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    key TEXT NOT NULL,              -- whsec_...
    expires_at INTEGER,             -- NULL for the current one
    PRIMARY KEY (endpoint, created_at, key)
) WITHOUT ROWID;

-- The types that enabled endpoints receive, '' for all. One index probe finds the endpoints of an event.
CREATE TABLE subscription (
    tenant TEXT NOT NULL,
    type TEXT NOT NULL,
    channel TEXT NOT NULL,
    endpoint INTEGER NOT NULL,
    PRIMARY KEY (tenant, type, channel, endpoint)
) WITHOUT ROWID;
CREATE INDEX subscription_by_endpoint ON subscription (endpoint);

-- A pending delivery. A lease moves `due` to the end of the lease. The delivery is deleted after a success or the last
-- attempt. Times are in milliseconds. `attempt` counts the attempts, and together with `leased` it is the token of the
-- lease. `step` is the index of the next attempt in the retry schedule. `stamped` is when `due` was set, which is later
-- than now only if the clock was ahead. `urgent` is 1 for tests and resends.
CREATE TABLE delivery (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event INTEGER NOT NULL,         -- event.seq
    endpoint INTEGER NOT NULL,      -- endpoint.no
    due INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    step INTEGER NOT NULL DEFAULT 0,
    trigger TEXT NOT NULL DEFAULT 'scheduled',
    stamped INTEGER NOT NULL DEFAULT 0,
    leased INTEGER NOT NULL DEFAULT 0,
    urgent INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX delivery_by_due ON delivery (endpoint, due);
CREATE INDEX delivery_urgent ON delivery (endpoint, due) WHERE urgent = 1;
CREATE UNIQUE INDEX delivery_by_event ON delivery (event, endpoint);
CREATE INDEX delivery_failing ON delivery (endpoint, event) WHERE step > 0;

CREATE TABLE attempt (
    no INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,               -- atmpt_...
    event INTEGER NOT NULL,         -- event.seq
    endpoint INTEGER NOT NULL,      -- endpoint.no
    ok INTEGER NOT NULL,            -- 1 success, 0 fail
    number INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    status_code INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    url TEXT NOT NULL,
    response TEXT NOT NULL,
    error TEXT NOT NULL,
    trigger TEXT NOT NULL,
    next_attempt_at INTEGER,
    headers TEXT                    -- JSON, NULL if they are not stored
);
CREATE INDEX attempt_by_event ON attempt (event, endpoint, ok);
CREATE INDEX attempt_by_endpoint ON attempt (endpoint, ok, id);
CREATE INDEX attempt_exhausted ON attempt (endpoint, event) WHERE ok = 0 AND next_attempt_at IS NULL;

-- Attempts per hour (milliseconds of its start), for the statistics of an endpoint.
CREATE TABLE endpoint_hour (
    endpoint INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    success INTEGER NOT NULL DEFAULT 0,
    fail INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (endpoint, hour)
) WITHOUT ROWID;
CREATE INDEX endpoint_hour_by_hour ON endpoint_hour (hour);

-- Events that wait for Svix. `seq` is the order of commits, in which a tenant's events are forwarded.
CREATE TABLE svix_outbox (
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
CREATE UNIQUE INDEX svix_outbox_by_event_id ON svix_outbox (tenant, event_id);
CREATE INDEX svix_outbox_waiting ON svix_outbox (tenant, seq) WHERE state = 0;
CREATE INDEX svix_outbox_waiting_by_seq ON svix_outbox (seq) WHERE state = 0;
CREATE INDEX svix_outbox_dead_letters ON svix_outbox (seq) WHERE state = 2;
CREATE INDEX svix_outbox_kept ON svix_outbox (keep_until) WHERE state = 1;
CREATE INDEX svix_outbox_in_doubt ON svix_outbox (check_at) WHERE check_at IS NOT NULL;

-- Event types that `sync` registered. Only these may be archived when they leave the catalog.
CREATE TABLE svix_event_type (name TEXT PRIMARY KEY) WITHOUT ROWID;

-- Each schema version of this file, and the oldest schema version whose code works with it.
CREATE TABLE migration (
    version INTEGER PRIMARY KEY,
    works_with INTEGER NOT NULL,
    applied_at INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER))
);
