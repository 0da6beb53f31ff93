-- name: due
-- Urgent deliveries as well, and what `Polling` wants to know, so that a process that has nothing to do calls once a second.
SELECT number, due, failing, url, proven_server, rate_limit, paced_until, paused_at, paused_until, ARRAY (
    SELECT DISTINCT delivery.endpoint
    FROM webhooks.delivery
    JOIN webhooks.endpoint ON endpoint.no = delivery.endpoint AND endpoint.disabled_reason IS NULL
    WHERE delivery.urgent AND delivery.due <= %s AND delivery.leased_until <= %s LIMIT %s
) AS urgent, (SELECT last_value FROM webhooks.handover_seq),
    (SELECT webhooks.outbox_waits_10(%s, %s::text[]::xid8[], %s::bigint[]))
FROM webhooks.due_6(%s, %s, %s)

-- name: claim
-- Candidates, and leases from those of them that nothing delays. In one call, because each one costs milliseconds when
-- the process is busy.
WITH given AS MATERIALIZED (
    SELECT no, floor, slots
    FROM unnest(%(endpoints)s::bigint[], %(floors)s::bigint[], %(slots)s::integer[]) AS given (no, floor, slots)
), candidate AS MATERIALIZED (
    SELECT
        no, id, tenant, url, headers, failing, due, keys, proven_server, rate_limit, paced_until, paused_at, paused_until
    FROM webhooks.candidates_6(%(endpoints)s::bigint[], %(floors)s::bigint[], %(now)s, false)
), free AS MATERIALIZED (
    SELECT
        coalesce(array_agg(no), '{}') AS numbers,
        coalesce(array_agg(floor), '{}') AS floors,
        coalesce(array_agg(slots), '{}') AS slots
    FROM candidate JOIN given USING (no)
    WHERE NOT failing AND rate_limit IS NULL AND due <= %(now)s AND paused_until <= %(now)s
        -- See `is_proven`.
        AND starts_with(url, proven_server) AND substr(url, length(proven_server) + 1, 1) IN ('', '/', '?', '#')
)
SELECT
    no, id, tenant, url, headers, failing, due, keys, proven_server, rate_limit, paced_until, paused_at, paused_until,
    no = ANY (free.numbers) AS is_free, NULL::bigint, NULL::text, NULL::text, NULL::bytea, NULL::text, NULL::text
FROM candidate CROSS JOIN free
UNION ALL
SELECT
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    leased.seq, leased.id, leased.type, leased.payload, leased.leases,
    (SELECT event.trace FROM webhooks.event WHERE event.seq = leased.seq)
FROM free
CROSS JOIN LATERAL webhooks.lease_1(
    free.numbers, free.floors, free.slots, NULL::float8[], NULL::float8[], NULL::float8[], %(now)s, %(lease)s
) AS leased

-- name: candidates
SELECT
    no, id, tenant, url, headers, failing, due, keys, proven_server, rate_limit, paced_until, paused_at, paused_until
FROM webhooks.candidates_6(%s::bigint[], %s::bigint[], %s, %s)

-- name: lease
SELECT seq, id, type, payload, leases, (SELECT event.trace FROM webhooks.event WHERE event.seq = leased.seq)
FROM webhooks.lease_1(
    %s::bigint[], %s::bigint[], %s::integer[], %s::float8[], %s::float8[], %s::float8[], %s, %s
) AS leased

-- name: lease_urgent
SELECT seq, id, type, payload, leases, (SELECT event.trace FROM webhooks.event WHERE event.seq = leased.seq)
FROM webhooks.lease_urgent_1(%s::bigint[], %s::integer[], %s, %s) AS leased

-- name: release
UPDATE webhooks.delivery SET due = %s, stamped = %s, leased_until = 0, attempt = delivery.attempt - 1
FROM unnest(%s::bigint[], %s::bigint[], %s::integer[]) AS given (event, endpoint, number)
WHERE delivery.event = given.event AND delivery.endpoint = given.endpoint
    AND delivery.attempt = given.number AND delivery.leased_until > 0

-- name: set_aside
-- Listed among the failing ones, so that it is retried with them.
UPDATE webhooks.delivery SET due = 9007199254740991, step = greatest(step, 1), leased_until = 0, urgent = false
WHERE event = %s AND endpoint = %s AND attempt = %s AND leased_until > 0

-- name: fix_times
WITH moved AS (
    UPDATE webhooks.delivery SET
        due = due - stamped + %(now)s, stamped = %(now)s,
        leased_until = CASE WHEN leased_until > 0 THEN leased_until - stamped + %(now)s ELSE 0 END
    WHERE (event, endpoint) IN (
        SELECT event, endpoint FROM webhooks.delivery WHERE stamped > %(later)s LIMIT %(batch)s FOR UPDATE SKIP LOCKED
    )
    RETURNING 1
)
SELECT count(*) FROM moved

-- name: drop
DELETE FROM webhooks.delivery WHERE event = ANY (%s::bigint[]) AND leased_until = %s

-- name: endpoint_states
SELECT no, failing_since, disabled_reason, paused_at, paused_until, warned_at
FROM webhooks.endpoint WHERE no = ANY (%s::bigint[])

-- name: record
SELECT webhooks.record_7(%s, %s, %s::bigint[], %s, %s)

-- name: recovered
-- Of these attempts, those that are the first success after enough failures, or after one without another attempt.
SELECT given.attempt
FROM unnest(%(attempts)s::text[], %(events)s::bigint[], %(endpoints)s::bigint[]) AS given (attempt, event, endpoint)
CROSS JOIN LATERAL (
    SELECT count(*) AS failures, bool_or(ok) AS any_success, bool_or(next_attempt_at IS NULL) AS exhausted
    FROM webhooks.attempt WHERE attempt.event = given.event AND attempt.endpoint = given.endpoint
) AS earlier
WHERE NOT any_success AND (failures >= %(failing)s OR exhausted)

-- name: keep_headers
-- Of failures and of what a person asked for, right after these were recorded.
UPDATE webhooks.attempt SET headers = given.headers
FROM unnest(%s::text[], %s::bigint[], %s::boolean[], %s::text[]) AS given (id, endpoint, ok, headers)
WHERE attempt.endpoint = given.endpoint AND attempt.ok = given.ok AND attempt.id = given.id

-- name: prove
-- An endpoint that is locked just now proves itself with its next success.
WITH locked AS MATERIALIZED (
    SELECT endpoint.no, given.server FROM unnest(%s::bigint[], %s::text[]) AS given (no, server)
    JOIN webhooks.endpoint ON endpoint.no = given.no
    FOR UPDATE OF endpoint SKIP LOCKED
)
UPDATE webhooks.endpoint SET proven_server = locked.server FROM locked WHERE endpoint.no = locked.no

-- name: resend
SELECT webhooks.resend_1(%s, %s, %s, %s)

-- name: target
SELECT no, disabled_reason FROM webhooks.endpoint WHERE tenant = %s AND id = %s

-- name: recover_failed
SELECT queued, seen, last FROM webhooks.recover_failed_1(%s, %s, %s, %s, %s, %s, %s, %s)

-- name: recover_missing
SELECT queued, seen, last FROM webhooks.recover_missing_1(%s, %s, %s, %s, %s)

-- name: count_missing
-- Chooses the same events as `recover_missing_1`.
WITH given AS MATERIALIZED (
    SELECT no, tenant, event_types, channels FROM webhooks.endpoint WHERE no = %(endpoint)s
), page AS MATERIALIZED (
    SELECT event.id, event.seq, event.type, event.channels, event.test FROM webhooks.event
    WHERE event.tenant = (SELECT tenant FROM given) AND event.id > %(after)s AND event.id < %(until)s
    ORDER BY event.id LIMIT %(batch)s
), missing AS (
    SELECT FROM page CROSS JOIN given
    WHERE NOT page.test
        AND (json_array_length(given.event_types) = 0
            OR page.type IN (SELECT json_array_elements_text(given.event_types)))
        AND (json_array_length(given.channels) = 0
            OR string_to_array(page.channels, ',') && ARRAY(SELECT json_array_elements_text(given.channels)))
        AND NOT EXISTS (SELECT FROM webhooks.attempt WHERE attempt.event = page.seq AND attempt.endpoint = given.no)
        AND NOT EXISTS (SELECT FROM webhooks.delivery WHERE delivery.event = page.seq AND delivery.endpoint = given.no)
)
SELECT (SELECT count(*) FROM missing), count(*), max(page.id) FROM page
