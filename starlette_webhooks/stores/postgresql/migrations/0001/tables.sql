-- Version 1. Later changes go into new directories beside this one. `webhooks.` is replaced by the schema in the settings.
-- All times are milliseconds since the epoch by the clock of this server. Texts are compared bytewise, as ids require.

CREATE TABLE webhooks.meta (name text COLLATE "C" PRIMARY KEY, value bytea NOT NULL);

-- The position of the last event. It only changes under the lock of the log, so that positions are in order of commits. It
-- is a sequence, because a counter in a row would leave a dead row version with each commit.
CREATE SEQUENCE webhooks.event_seq;

-- `seq` is the order of commits, which streams follow. `id` is the order of time, which lists follow.
CREATE TABLE webhooks.event (
    seq bigint PRIMARY KEY,
    id text COLLATE "C" NOT NULL,
    tenant text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    timestamp bigint NOT NULL,
    event_id text COLLATE "C",      -- NULL where the host gave none: then it is `evt_` and the KSUID of `id`
    channels text COLLATE "C",      -- divided by commas, NULL for none
    payload bytea NOT NULL,
    test boolean NOT NULL DEFAULT false     -- a test event, which is never recovered
);
CREATE UNIQUE INDEX event_by_id ON webhooks.event (tenant, id);
CREATE INDEX event_by_type ON webhooks.event (tenant, type, id);
CREATE INDEX event_by_seq ON webhooks.event (tenant, seq);
CREATE UNIQUE INDEX event_by_event_id ON webhooks.event (tenant, event_id) WHERE event_id IS NOT NULL;

CREATE TABLE webhooks.event_channel (
    tenant text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (tenant, channel, type, id)
);
CREATE INDEX event_channel_by_id ON webhooks.event_channel (tenant, channel, id);

-- Deliveries and attempts refer to `no`.
CREATE TABLE webhooks.endpoint (
    no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text COLLATE "C" NOT NULL UNIQUE,
    tenant text COLLATE "C" NOT NULL,
    url text NOT NULL,
    description text NOT NULL,
    event_types json NOT NULL,      -- [] for all
    channels json NOT NULL,         -- [] for all
    disabled_reason text,           -- NULL while enabled
    rate_limit integer,
    metadata json NOT NULL,
    headers json NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    failing_since bigint,           -- first failure after the last success, NULL while it works
    paced_until double precision NOT NULL DEFAULT 0,    -- when the rate limit lets the next attempt go
    paused_at bigint NOT NULL DEFAULT 0,                -- when the receiver asked for a pause (Retry-After)
    paused_until bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX endpoint_by_tenant ON webhooks.endpoint (tenant, id);

CREATE TABLE webhooks.endpoint_secret (
    endpoint bigint NOT NULL,
    created_at bigint NOT NULL,
    key text NOT NULL,              -- whsec_...
    expires_at bigint,              -- NULL for the current one
    PRIMARY KEY (endpoint, created_at, key)
);

CREATE TABLE webhooks.subscription (
    tenant text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    endpoint bigint NOT NULL,
    PRIMARY KEY (tenant, type, channel, endpoint)
);
CREATE INDEX subscription_by_endpoint ON webhooks.subscription (endpoint);

-- A pending delivery, deleted after a success or the last attempt. No index contains `leased_until`, so that a lease
-- neither writes to an index nor leaves a dead entry in it. Each page has room for the leased version. Together with
-- `attempt`, it is the token of the lease: 0 if there is none. `stamped` is when `due` or the lease was set, which is later
-- than now only if the clock was ahead. `urgent` is for tests and resends.
CREATE TABLE webhooks.delivery (
    event bigint NOT NULL,
    endpoint bigint NOT NULL,
    due bigint NOT NULL,
    leased_until bigint NOT NULL DEFAULT 0,
    attempt integer NOT NULL DEFAULT 0,
    step integer NOT NULL DEFAULT 0,
    trigger text NOT NULL DEFAULT 'scheduled',
    stamped bigint NOT NULL DEFAULT 0,
    urgent boolean NOT NULL DEFAULT false,
    PRIMARY KEY (event, endpoint)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
CREATE INDEX delivery_by_due ON webhooks.delivery (endpoint, due, event);
CREATE INDEX delivery_urgent ON webhooks.delivery (endpoint, due, event) WHERE urgent;

CREATE TABLE webhooks.attempt (
    id text COLLATE "C" NOT NULL,
    event bigint NOT NULL,
    endpoint bigint NOT NULL,
    ok boolean NOT NULL,
    number integer NOT NULL,
    timestamp bigint NOT NULL,
    status_code integer NOT NULL,
    duration_ms integer NOT NULL,
    url text NOT NULL,
    response text NOT NULL,
    error text NOT NULL,
    trigger text NOT NULL,
    next_attempt_at bigint
);
CREATE INDEX attempt_by_event ON webhooks.attempt (event, endpoint);
CREATE INDEX attempt_by_endpoint ON webhooks.attempt (endpoint, ok, id);

-- Attempts per hour (milliseconds of its start), for hours before `rollup.counted_until`.
CREATE TABLE webhooks.endpoint_hour (
    endpoint bigint NOT NULL,
    hour bigint NOT NULL,
    success bigint NOT NULL,
    fail bigint NOT NULL,
    PRIMARY KEY (endpoint, hour)
);
CREATE INDEX endpoint_hour_by_hour ON webhooks.endpoint_hour (hour);
CREATE TABLE webhooks.rollup (counted_until bigint NOT NULL);
INSERT INTO webhooks.rollup VALUES (floor(extract(epoch FROM clock_timestamp()) / 3600) * 3600000);

-- Processes that listen for hints, whether for their streams, and until when the registration is valid.
CREATE TABLE webhooks.listener (
    name text COLLATE "C" PRIMARY KEY, streams boolean NOT NULL, until timestamptz NOT NULL
);
