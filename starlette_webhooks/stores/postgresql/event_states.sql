-- name: events
-- A batch of events, newest first, up to the limit of payload bytes: whether each one matches, the size of the batch, and
-- the contents of those that match.
SELECT page.id, page.passes, page.found, page.type, page.timestamp, page.test,
    CASE WHEN page.passes THEN substring(page.payload FROM 1 FOR %(preview)s) END, octet_length(page.payload),
    CASE WHEN page.passes THEN (SELECT count(*) FROM (
        SELECT DISTINCT attempt.endpoint FROM webhooks.attempt WHERE attempt.event = page.seq AND {attempt} AND attempt.ok
        LIMIT %(counted)s
    ) AS counted) END,
    CASE WHEN page.passes THEN (SELECT count(*) FROM (
        SELECT FROM webhooks.delivery
        WHERE delivery.event = page.seq AND {delivery} AND delivery.step = 0 AND delivery.due < 9007199254740991
            AND NOT EXISTS (
                SELECT FROM webhooks.attempt
                WHERE attempt.event = page.seq AND attempt.endpoint = delivery.endpoint AND attempt.ok
            )
        LIMIT %(counted)s
    ) AS counted) END,
    CASE WHEN page.passes THEN (SELECT count(*) FROM (
        SELECT FROM webhooks.delivery
        WHERE delivery.event = page.seq AND {delivery} AND delivery.step > 0 AND delivery.due < 9007199254740991
            AND NOT EXISTS (
                SELECT FROM webhooks.attempt
                WHERE attempt.event = page.seq AND attempt.endpoint = delivery.endpoint AND attempt.ok
            )
        LIMIT %(counted)s
    ) AS counted) END,
    CASE WHEN page.passes THEN (SELECT count(*) FROM (
        SELECT attempt.endpoint FROM webhooks.attempt WHERE attempt.event = page.seq AND {attempt}
        GROUP BY attempt.endpoint HAVING NOT bool_or(attempt.ok)
            -- Not in WHERE, where the planner would compare each attempt with all deliveries of the event.
            AND NOT EXISTS (
                SELECT FROM webhooks.delivery
                WHERE delivery.event = page.seq AND delivery.endpoint = attempt.endpoint
                    AND delivery.due < 9007199254740991
            )
        UNION
        SELECT delivery.endpoint FROM webhooks.delivery
        WHERE delivery.event = page.seq AND {delivery} AND delivery.due >= 9007199254740991
            AND NOT EXISTS (
                SELECT FROM webhooks.attempt
                WHERE attempt.event = page.seq AND attempt.endpoint = delivery.endpoint AND attempt.ok
            )
        LIMIT %(counted)s
    ) AS counted) END
FROM (
    SELECT measured.*, {matches} AS passes FROM (
        SELECT event.*, count(*) OVER () AS found,
            sum(octet_length(payload)) OVER (ORDER BY id DESC) - octet_length(payload) AS bytes_before
        FROM ({keys}) AS keys JOIN webhooks.event ON event.seq = keys.seq
    ) AS measured
    WHERE bytes_before <= %(bytes)s
) AS page
ORDER BY page.id DESC

-- name: any
true

-- name: containing
(position(%(text)b IN payload) > 0 OR position(%(escaped)b IN payload) > 0)

-- name: attempt_to_any
true

-- name: attempt_to_one
attempt.endpoint = %(endpoint)s

-- name: delivery_to_any
true

-- name: delivery_to_one
delivery.endpoint = %(endpoint)s

-- name: endpoint
SELECT no FROM webhooks.endpoint WHERE tenant = %s AND id = %s

-- name: event
SELECT seq, id, tenant, type, timestamp, event_id, channels, ''::bytea, test FROM webhooks.event
WHERE tenant = %s AND id = %s

-- name: deliveries
SELECT
    endpoint.id, endpoint.url, endpoint.event_types::text, endpoint.channels::text,
    endpoint.disabled_reason IS NOT NULL, endpoint.created_at,
    delivery.due, delivery.step, delivery.leased_until > %(now)s,
    last.number, last.timestamp, last.status_code, last.error,
    EXISTS (
        SELECT FROM webhooks.attempt
        WHERE attempt.event = %(event)s AND attempt.endpoint = endpoint.no AND attempt.ok
    )
FROM (
    SELECT * FROM webhooks.endpoint
    WHERE tenant = %(tenant)s AND id < %(cursor)s ORDER BY id DESC LIMIT %(limit)s
) AS endpoint
LEFT JOIN webhooks.delivery ON delivery.event = %(event)s AND delivery.endpoint = endpoint.no
LEFT JOIN LATERAL (
    SELECT number, timestamp, status_code, error FROM webhooks.attempt
    WHERE attempt.event = %(event)s AND attempt.endpoint = endpoint.no ORDER BY number DESC, attempt.id DESC LIMIT 1
) AS last ON true
ORDER BY endpoint.id DESC
