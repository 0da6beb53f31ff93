-- name: attempts_of_keys
-- The attempts of a batch, newest first: the contents of the first ones that match, and only the ids of the others.
SELECT id, passes, event_id, event_type, endpoint_id, url, number, timestamp, ok, status_code, duration_ms,
    CASE WHEN passes AND place <= %(limit)s THEN response END, error, trigger, next_attempt_at,
    CASE WHEN passes AND place <= %(limit)s THEN headers END
FROM (
    SELECT judged.*, count(*) FILTER (WHERE passes) OVER (ORDER BY id DESC) AS place FROM (
        SELECT keys.*, event.id AS event_id, event.type AS event_type, endpoint.id AS endpoint_id,
            (%(class)s::integer IS NULL OR keys.status_code / 100 = %(class)s)
            AND (cardinality(%(types)s::text[]) = 0 OR event.type = ANY (%(types)s::text[])) AS passes
        FROM ({keys}) AS keys
        JOIN webhooks.event ON event.seq = keys.event JOIN webhooks.endpoint ON endpoint.no = keys.endpoint
    ) AS judged
) AS placed
ORDER BY id DESC

-- name: keys_of_endpoints
-- One index scan per endpoint and outcome, merged.
SELECT found.* FROM webhooks.endpoint AS target CROSS JOIN unnest(%(outcomes)s::boolean[]) AS outcome (ok)
CROSS JOIN LATERAL (
    SELECT * FROM webhooks.attempt
    WHERE attempt.endpoint = target.no AND attempt.ok = outcome.ok AND attempt.id < %(high)s AND attempt.id >= %(low)s
    ORDER BY attempt.id DESC LIMIT %(batch)s
) AS found
WHERE target.tenant = %(tenant)s AND (%(endpoint)s::text IS NULL OR target.id = %(endpoint)s)
ORDER BY found.id DESC LIMIT %(batch)s

-- name: keys_of_event
SELECT attempt.* FROM webhooks.event AS source JOIN webhooks.attempt ON attempt.event = source.seq
JOIN webhooks.endpoint AS target ON target.no = attempt.endpoint
WHERE source.tenant = %(tenant)s AND source.id = %(event)s AND (%(endpoint)s::text IS NULL OR target.id = %(endpoint)s)
    AND attempt.ok = ANY (%(outcomes)s::boolean[]) AND attempt.id < %(high)s AND attempt.id >= %(low)s
ORDER BY attempt.id DESC LIMIT %(batch)s

-- name: counted_until
SELECT endpoint.no, rollup.counted_until FROM webhooks.endpoint, webhooks.rollup WHERE tenant = %s AND id = %s

-- name: hours
-- The hours that were already counted, those that are counted now by the ids of attempts, and the pending deliveries.
SELECT hour, success, fail FROM webhooks.endpoint_hour
WHERE endpoint = %(endpoint)s AND hour >= %(start)s AND hour < %(end)s
UNION ALL
SELECT hour, (
    SELECT count(*) FROM webhooks.attempt
    WHERE attempt.endpoint = %(endpoint)s AND attempt.ok AND attempt.id >= low AND attempt.id < high
), (
    SELECT count(*) FROM webhooks.attempt
    WHERE attempt.endpoint = %(endpoint)s AND NOT attempt.ok AND attempt.id >= low AND attempt.id < high
)
FROM unnest(%(hours)s::bigint[], %(lows)s::text[], %(highs)s::text[]) AS given (hour, low, high)
WHERE hour >= (SELECT counted_until FROM webhooks.rollup)
UNION ALL
SELECT NULL, count(*), 0 FROM (
    SELECT FROM webhooks.delivery WHERE delivery.endpoint = %(endpoint)s LIMIT 10000
) AS pending
ORDER BY hour NULLS LAST
