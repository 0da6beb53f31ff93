-- name: append
SELECT positions, endpoints, asked, heard, webhooks.log_1()
FROM webhooks.append_1(%s, %s, %s, %s, %s, %s, %s, %s, %s, %b, %s, %s, %s, %s, %s, %s)

-- name: append_traced
-- The traces are noted once the events are stored.
WITH appended AS MATERIALIZED (
    SELECT positions, endpoints, asked, heard
    FROM webhooks.append_1(%s, %s, %s, %s, %s, %s, %s, %s, %s, %b, %s, %s, %s, %s, %s, %s)
), noted AS MATERIALIZED (
    SELECT webhooks.note_traces_8(%s, %s, %s) FROM appended
)
SELECT positions, endpoints, asked, heard, webhooks.log_1(), (SELECT count(*) FROM noted)
FROM appended

-- name: events_at
SELECT seq, id, tenant, type, timestamp, event_id, channels, payload, test FROM webhooks.event WHERE seq = ANY (%s::bigint[])

-- name: event_by_id
SELECT seq, id, tenant, type, timestamp, event_id, channels, payload, test FROM webhooks.event WHERE tenant = %s AND id = %s

-- name: events_of_keys
-- The events of some keys, newest first, up to the limit of payload bytes, and the number of keys.
SELECT seq, id, tenant, type, timestamp, event_id, channels, payload, test, found FROM (
    SELECT event.*, count(*) OVER () AS found,
        sum(octet_length(payload)) OVER (ORDER BY id DESC) - octet_length(payload) AS bytes_before
    FROM ({keys}) AS keys JOIN webhooks.event ON event.seq = keys.seq
) AS page
WHERE bytes_before <= %(bytes)s ORDER BY id DESC

-- name: keys
SELECT seq FROM webhooks.event
WHERE tenant = %(tenant)s AND id < %(high)s AND id >= %(low)s ORDER BY id DESC LIMIT %(limit)s

-- name: keys_of_types
-- One scan per type, merged: `type IN (...)` would scan the whole log for rare types.
SELECT found.seq FROM unnest(%(types)s::text[]) AS given (type) CROSS JOIN LATERAL (
    SELECT id, seq FROM webhooks.event
    WHERE tenant = %(tenant)s AND event.type = given.type AND id < %(high)s AND id >= %(low)s
    ORDER BY id DESC LIMIT %(limit)s
) AS found ORDER BY found.id DESC LIMIT %(limit)s

-- name: keys_of_channel
SELECT seq FROM webhooks.event_channel
WHERE tenant = %(tenant)s AND channel = %(channel)s AND id < %(high)s AND id >= %(low)s
ORDER BY id DESC LIMIT %(limit)s

-- name: keys_of_channel_and_types
SELECT found.seq FROM unnest(%(types)s::text[]) AS given (type) CROSS JOIN LATERAL (
    SELECT id, seq FROM webhooks.event_channel
    WHERE tenant = %(tenant)s AND channel = %(channel)s AND event_channel.type = given.type
        AND id < %(high)s AND id >= %(low)s
    ORDER BY id DESC LIMIT %(limit)s
) AS found ORDER BY found.id DESC LIMIT %(limit)s

-- name: high_water
SELECT coalesce(seq, 0), id, webhooks.log_1()
FROM (SELECT) AS always LEFT JOIN (SELECT seq, id FROM webhooks.event ORDER BY seq DESC LIMIT 1) AS newest ON true

-- name: tail
-- The events that were committed after an event, up to the limit of payload bytes. Each row (or a single one without an
-- event) says which log this is, whether that event is still in it, or NULL if it is not but may have been removed, and
-- what `Polling` wants to know.
SELECT seq, id, tenant, type, timestamp, event_id, channels, payload, test, found, log, intact, handovers, outbox FROM (
    SELECT webhooks.log_1() AS log, CASE
        WHEN known.id IS NOT NULL THEN known.id = %(id)s::text
        WHEN (SELECT last_value FROM webhooks.event_seq) < %(after)s THEN false
    END AS intact,
        (SELECT last_value FROM webhooks.handover_seq) AS handovers,
        webhooks.outbox_waits_10(%(floor)s, %(numbers)s::text[]::xid8[], %(times)s::bigint[]) AS outbox
    FROM (SELECT (SELECT id FROM webhooks.event WHERE seq = %(after)s) AS id) AS known
) AS state LEFT JOIN (
    SELECT page.*, count(*) OVER () AS found,
        sum(octet_length(payload)) OVER (ORDER BY seq) - octet_length(payload) AS bytes_before
    FROM (SELECT * FROM webhooks.event WHERE seq > %(after)s ORDER BY seq LIMIT %(limit)s) AS page
) AS measured ON bytes_before <= %(bytes)s ORDER BY seq

-- name: committed
SELECT seq, id, tenant, type, timestamp, event_id, channels, payload, test FROM webhooks.event
WHERE tenant = %s AND seq > %s ORDER BY seq LIMIT %s

-- name: start_replay
SELECT
    (SELECT coalesce(max(seq), 0) FROM webhooks.event),
    (SELECT seq FROM webhooks.event WHERE tenant = %(tenant)s AND id = %(after)s),
    (SELECT min(seq) FROM webhooks.event
     WHERE tenant = %(tenant)s AND id > %(after)s AND %(after)s <> ''
         AND NOT EXISTS (SELECT FROM webhooks.event WHERE tenant = %(tenant)s AND id = %(after)s)),
    (SELECT id FROM webhooks.event WHERE tenant = %(tenant)s ORDER BY seq LIMIT 1),
    (SELECT id FROM webhooks.event WHERE tenant = %(tenant)s ORDER BY seq DESC LIMIT 1),
    (SELECT seq FROM webhooks.event WHERE tenant = %(tenant)s ORDER BY seq DESC LIMIT 1),
    (SELECT value FROM webhooks.meta WHERE name = %(removed)s),
    webhooks.log_1()

-- name: replay
-- Of a batch of events, the contents of those that match and only the positions of the others, up to the limit of
-- payload bytes, and the size of the batch. Each row (or a single one without an event) says which log this is, and the
-- last position of the tenant that was removed.
WITH page AS MATERIALIZED (
    SELECT seq, octet_length(payload) AS bytes, (
        (cardinality(%(types)s::text[]) = 0 OR type = ANY (%(types)s::text[]))
        AND (%(channel)s::text IS NULL OR %(channel)s = ANY (string_to_array(channels, ',')))
    ) IS TRUE AS passes
    FROM webhooks.event WHERE tenant = %(tenant)s AND seq > %(after)s AND seq <= %(until)s ORDER BY seq LIMIT %(limit)s
), measured AS (
    SELECT seq, passes, count(*) OVER () AS found, sum(bytes) FILTER (WHERE passes) OVER (
        ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS bytes_before
    FROM page
)
SELECT measured.seq, id, tenant, type, timestamp, event_id, channels, payload, test, passes, found, log, removed
FROM (
    SELECT webhooks.log_1() AS log, coalesce((
        SELECT split_part(convert_from(value, 'UTF8'), ' ', 1)::bigint FROM webhooks.meta WHERE name = %(removed)s
    ), 0) AS removed
) AS state
LEFT JOIN measured ON coalesce(measured.bytes_before, 0) <= %(bytes)s
LEFT JOIN webhooks.event ON event.seq = measured.seq AND measured.passes
ORDER BY measured.seq
