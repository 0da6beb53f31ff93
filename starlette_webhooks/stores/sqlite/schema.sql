-- Version 2. A later change goes into migrations/NNNN.sql and here: new columns at the end of their table.

CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

-- `seq` is the order of commits, which streams follow; AUTOINCREMENT, since a plain rowid may be used again after
-- retention emptied the table. `id` is the order of time, which lists follow. `timestamp` in milliseconds.
CREATE TABLE event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    type TEXT NOT NULL,
    timestamp INTEGER NOT NULL,
    event_id TEXT,                  -- NULL where the host gave none: then it is `evt_` and the KSUID of `id`
    channels TEXT,                  -- JSON array, NULL for none
    payload BLOB NOT NULL,
    test INTEGER NOT NULL DEFAULT 0 -- 1 for a test event, which is never recovered
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

-- Times in milliseconds. `no` is what deliveries and attempts refer to.
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
    paused_until INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX endpoint_by_tenant ON endpoint (tenant, id);

CREATE TABLE endpoint_secret (
    endpoint INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    key TEXT NOT NULL,              -- whsec_...
    expires_at INTEGER,             -- NULL for the current one
    PRIMARY KEY (endpoint, created_at, key)
) WITHOUT ROWID;

-- What enabled endpoints want, '' for all; one probe finds whom an event is for.
CREATE TABLE subscription (
    tenant TEXT NOT NULL,
    type TEXT NOT NULL,
    channel TEXT NOT NULL,
    endpoint INTEGER NOT NULL,
    PRIMARY KEY (tenant, type, channel, endpoint)
) WITHOUT ROWID;
CREATE INDEX subscription_by_endpoint ON subscription (endpoint);

-- A delivery still to be made. It is leased by moving `due` on to the end of the lease, and deleted when it succeeded or
-- is exhausted. Times in milliseconds. `attempt` counts the attempts, and with `leased` it is the token of the lease;
-- `step` is the index in the retry schedule of the next attempt; `stamped` is when `due` was set, later than now only if
-- the clock was ahead then; `urgent` is 1 for what a person asked for.
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
    next_attempt_at INTEGER
);
CREATE INDEX attempt_by_event ON attempt (event, endpoint, ok);
CREATE INDEX attempt_by_endpoint ON attempt (endpoint, ok, id);

-- Attempts by the hour (milliseconds of its start), for the figures of an endpoint.
CREATE TABLE endpoint_hour (
    endpoint INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    success INTEGER NOT NULL DEFAULT 0,
    fail INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (endpoint, hour)
) WITHOUT ROWID;
CREATE INDEX endpoint_hour_by_hour ON endpoint_hour (hour);
