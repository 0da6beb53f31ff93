-- name: put
SELECT seq, tenant, event_id, type, timestamp, channels, payload, state, message_id, code, detail
FROM webhooks.outbox_put_2(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::text[], %s::bytea[])

-- name: settle
SELECT webhooks.outbox_settle_2(%s::json, %s::bigint)

-- name: record
SELECT webhooks.outbox_record_2(
    %(tenant)s, %(event_id)s, %(type)s, %(timestamp)s::bigint, %(channels)s, %(payload)b, %(message_id)s, %(now)s::bigint,
    %(keep_until)s::bigint, %(check_at)s::bigint
)

-- name: find
SELECT seq, tenant, event_id, type, timestamp, channels, payload, state, message_id, code, detail
FROM webhooks.svix_outbox WHERE tenant = %s AND event_id = %s

-- name: next
-- The first events of a tenant, up to the limit of payload bytes, but at least one.
SELECT seq, tenant, event_id, type, timestamp, channels, payload, state, message_id, code, detail FROM (
    SELECT page.*, sum(octet_length(payload)) OVER (ORDER BY seq) - octet_length(payload) AS bytes_before
    FROM (
        SELECT * FROM webhooks.svix_outbox WHERE tenant = %(tenant)s AND state = 0 ORDER BY seq LIMIT %(limit)s
    ) AS page
) AS measured
WHERE bytes_before <= %(bytes)s ORDER BY seq

-- name: waits
SELECT EXISTS (SELECT FROM webhooks.svix_outbox WHERE tenant = %s AND state = 0)

-- name: anything_waits
SELECT EXISTS (SELECT FROM webhooks.svix_outbox WHERE state = 0)

-- name: tenants
SELECT (SELECT coalesce(max(seq), 0) FROM webhooks.svix_outbox), array(SELECT webhooks.outbox_tenants_2())

-- name: tenants_after
SELECT
    (SELECT coalesce(max(seq), 0) FROM webhooks.svix_outbox),
    array(SELECT DISTINCT tenant FROM webhooks.svix_outbox WHERE seq > %s AND state = 0)

-- name: counts
SELECT
    (SELECT count(*) FROM (SELECT FROM webhooks.svix_outbox WHERE state = 0 LIMIT %(most)s) AS page),
    (SELECT timestamp FROM webhooks.svix_outbox WHERE state = 0 ORDER BY seq LIMIT 1),
    (SELECT count(*) FROM (SELECT FROM webhooks.svix_outbox WHERE state = 2 LIMIT %(most)s) AS page)

-- name: dead_letters
SELECT seq, tenant, event_id, type, timestamp, channels, payload, state, message_id, code, detail, settled_at
FROM webhooks.svix_outbox WHERE state = 2 AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
ORDER BY seq LIMIT %(limit)s

-- name: dead_letter_tenants
SELECT seq::text, tenant FROM webhooks.svix_outbox WHERE state = 2 AND seq = ANY (%s::bigint[])

-- name: redrive
WITH redriven AS (
    UPDATE webhooks.svix_outbox SET state = 0, code = NULL, detail = NULL, settled_at = NULL
    WHERE state = 2 AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
        AND (%(seqs)s::bigint[] IS NULL OR seq = ANY (%(seqs)s::bigint[]))
    RETURNING 1
)
SELECT count(*) FROM redriven

-- name: discard
WITH discarded AS (
    DELETE FROM webhooks.svix_outbox WHERE state = 2 AND seq = ANY (%s::bigint[]) RETURNING 1
)
SELECT count(*) FROM discarded

-- name: in_doubt
SELECT seq, tenant, event_id, type, timestamp, channels, payload, state, message_id, code, detail
FROM webhooks.svix_outbox WHERE check_at <= %(now)s::bigint OR check_at > %(too_late)s::bigint
ORDER BY check_at LIMIT %(batch)s

-- name: resolve
UPDATE webhooks.svix_outbox SET check_at = %s::bigint WHERE seq = %s

-- name: prune
WITH pruned AS (
    DELETE FROM webhooks.svix_outbox WHERE seq = ANY (ARRAY(
        SELECT seq FROM webhooks.svix_outbox WHERE state = 1 AND keep_until < %s::bigint AND check_at IS NULL
        ORDER BY keep_until LIMIT %s
    )) RETURNING 1
)
SELECT count(*) FROM pruned

-- name: erase
WITH erased AS (
    DELETE FROM webhooks.svix_outbox
    WHERE seq = ANY (ARRAY(SELECT seq FROM webhooks.svix_outbox WHERE tenant = %s LIMIT %s)) RETURNING 1
)
SELECT count(*) FROM erased

-- name: owned_event_types
SELECT name FROM webhooks.svix_event_type

-- name: own_event_types
INSERT INTO webhooks.svix_event_type (name) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING

-- name: disown_event_type
DELETE FROM webhooks.svix_event_type WHERE name = %s

-- name: take_relay
-- The holder renews the lease, unless another process has taken it.
INSERT INTO webhooks.relay AS relay (name, term, holder, until)
VALUES ('svix', 1, %(holder)s, clock_timestamp() + make_interval(secs => %(seconds)s::float8))
ON CONFLICT (name) DO UPDATE SET
    term = relay.term + (relay.holder <> excluded.holder)::int, holder = excluded.holder, until = excluded.until
WHERE relay.holder = excluded.holder OR relay.until < clock_timestamp()
RETURNING term

-- name: leave_relay
UPDATE webhooks.relay SET until = '-infinity' WHERE name = 'svix' AND holder = %s
