-- Works with version 1 and later.
-- The outbox for Svix, and the lease of the relay.

-- Only used under the lock of the outbox, so that positions are in order of commits.
CREATE SEQUENCE webhooks.svix_outbox_seq;

-- Events that wait for Svix. `seq` is the order of commits, in which a tenant's events are forwarded.
CREATE TABLE webhooks.svix_outbox (
    seq bigint PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    timestamp bigint NOT NULL,
    channels text COLLATE "C",          -- separated by commas, NULL for none
    payload bytea NOT NULL,
    state integer NOT NULL DEFAULT 0,   -- 0 waiting, 1 accepted by Svix, 2 dead-lettered: refused permanently
    message_id text,                    -- Svix's id, once accepted
    settled_at bigint,                  -- when it was accepted or dead-lettered
    keep_until bigint,                  -- until when an accepted one answers for its `event_id`
    check_at bigint,                    -- when to check whether Svix began to deliver it, if that is in doubt
    code text,                          -- why it was dead-lettered, in Svix's words
    detail text
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
CREATE UNIQUE INDEX svix_outbox_by_event_id ON webhooks.svix_outbox (tenant, event_id);
CREATE INDEX svix_outbox_waiting ON webhooks.svix_outbox (tenant, seq) WHERE state = 0;
CREATE INDEX svix_outbox_waiting_by_seq ON webhooks.svix_outbox (seq) WHERE state = 0;
CREATE INDEX svix_outbox_dead_letters ON webhooks.svix_outbox (seq) WHERE state = 2;
CREATE INDEX svix_outbox_kept ON webhooks.svix_outbox (keep_until) WHERE state = 1 AND check_at IS NULL;
CREATE INDEX svix_outbox_in_doubt ON webhooks.svix_outbox (check_at) WHERE check_at IS NOT NULL;

-- Event types that `sync` registered. Only these may be archived when they leave the catalog.
CREATE TABLE webhooks.svix_event_type (name text COLLATE "C" PRIMARY KEY);

-- The process that relays, and until when. Records under an earlier `term` are refused.
CREATE TABLE webhooks.relay (
    name text COLLATE "C" PRIMARY KEY,
    term bigint NOT NULL,
    holder text NOT NULL,
    until timestamptz NOT NULL
) WITH (fillfactor = 50);
