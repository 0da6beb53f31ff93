-- name: targets
-- One seek per endpoint that has deliveries or exhausted ones.
WITH RECURSIVE found (endpoint, place) AS (
    SELECT least(
        (SELECT endpoint FROM webhooks.delivery WHERE endpoint >= %(number)s ORDER BY endpoint LIMIT 1),
        (SELECT endpoint FROM webhooks.attempt
         WHERE NOT ok AND next_attempt_at IS NULL AND endpoint >= %(number)s ORDER BY endpoint LIMIT 1)
    ), 1
    UNION ALL
    SELECT least(
        (SELECT delivery.endpoint FROM webhooks.delivery
         WHERE delivery.endpoint > found.endpoint ORDER BY delivery.endpoint LIMIT 1),
        (SELECT attempt.endpoint FROM webhooks.attempt
         WHERE NOT attempt.ok AND attempt.next_attempt_at IS NULL AND attempt.endpoint > found.endpoint
         ORDER BY attempt.endpoint LIMIT 1)
    ), place + 1
    FROM found WHERE found.endpoint IS NOT NULL AND place < %(limit)s
)
SELECT found.endpoint, endpoint.id, endpoint.tenant, endpoint.url, endpoint.disabled_reason IS NOT NULL
FROM found LEFT JOIN webhooks.endpoint ON endpoint.no = found.endpoint
WHERE found.endpoint IS NOT NULL ORDER BY found.endpoint

-- name: targets_of_tenant
SELECT no, id, tenant, url, disabled_reason IS NOT NULL FROM webhooks.endpoint
WHERE tenant = %(tenant)s AND no >= %(number)s ORDER BY no LIMIT %(limit)s

-- name: target
SELECT no, id, tenant, url, disabled_reason IS NOT NULL FROM webhooks.endpoint
WHERE id = %(id)s AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s) AND no >= %(number)s LIMIT %(limit)s

-- name: locate
SELECT endpoint.no, event.seq, delivery.due
FROM webhooks.endpoint
LEFT JOIN webhooks.event ON event.tenant = endpoint.tenant AND event.id = %(event)s
LEFT JOIN webhooks.delivery ON delivery.event = event.seq AND delivery.endpoint = endpoint.no
WHERE endpoint.id = %(endpoint)s

-- name: candidates
SELECT
    keys.event, keys.place, event.id, event.type, event.timestamp, event.test,
    delivery.due, delivery.step, delivery.leased_until > %(now)s,
    last.number, last.timestamp, last.status_code, last.error,
    EXISTS (
        SELECT FROM webhooks.attempt
        WHERE attempt.event = keys.event AND attempt.endpoint = %(endpoint)s AND attempt.ok
    )
FROM ({keys}) AS keys
LEFT JOIN webhooks.event ON event.seq = keys.event
LEFT JOIN webhooks.delivery ON delivery.event = keys.event AND delivery.endpoint = %(endpoint)s
LEFT JOIN LATERAL (
    SELECT number, timestamp, status_code, error FROM webhooks.attempt
    WHERE attempt.event = keys.event AND attempt.endpoint = %(endpoint)s ORDER BY number DESC, attempt.id DESC LIMIT 1
) AS last ON true
ORDER BY keys.place DESC, keys.event DESC

-- name: exhausted
SELECT DISTINCT event, 0::bigint AS place FROM webhooks.attempt
WHERE endpoint = %(endpoint)s AND NOT ok AND next_attempt_at IS NULL AND event < %(event)s
ORDER BY event DESC LIMIT %(limit)s

-- name: failing
SELECT event, 0::bigint AS place FROM webhooks.delivery
WHERE endpoint = %(endpoint)s AND step > 0 AND event < %(event)s ORDER BY event DESC LIMIT %(limit)s

-- name: waiting
-- Sorted by `due`, for which there is an index. Events that wait for their first attempt are in about the same order.
SELECT event, due AS place FROM webhooks.delivery
WHERE endpoint = %(endpoint)s AND (due, event) < (%(place)s, %(event)s)
ORDER BY due DESC, event DESC LIMIT %(limit)s

-- name: named
SELECT event.seq, endpoint.no, endpoint.disabled_reason IS NOT NULL
FROM unnest(%(events)s::text[], %(endpoints)s::text[]) AS given (event, endpoint)
JOIN webhooks.endpoint ON endpoint.tenant = %(tenant)s AND endpoint.id = given.endpoint
JOIN webhooks.event ON event.tenant = %(tenant)s AND event.id = given.event

-- name: requeue
-- Deliveries that are due soon or leased stay unchanged.
INSERT INTO webhooks.delivery AS waiting (event, endpoint, due, stamped, attempt, trigger)
SELECT given.event, given.endpoint, %(now)s, %(now)s, coalesce(known.number, 0), 'manual'
FROM webhooks.be_durable_1() AS durable
CROSS JOIN unnest(%(events)s::bigint[], %(endpoints)s::bigint[]) AS given (event, endpoint)
JOIN webhooks.event ON event.seq = given.event
JOIN webhooks.endpoint ON endpoint.no = given.endpoint AND endpoint.disabled_reason IS NULL
CROSS JOIN LATERAL (
    SELECT max(attempt.number) AS number, bool_or(attempt.ok) AS ok FROM webhooks.attempt
    WHERE attempt.event = given.event AND attempt.endpoint = given.endpoint
) AS known
WHERE known.ok IS NOT TRUE
ORDER BY given.event, given.endpoint
ON CONFLICT (event, endpoint) DO UPDATE
SET due = %(now)s, stamped = %(now)s, step = greatest(waiting.step - 1, 0), trigger = 'manual'
WHERE waiting.due > %(soon)s AND waiting.leased_until <= %(now)s
RETURNING endpoint
