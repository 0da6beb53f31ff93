-- name: targets
-- One seek per endpoint that has deliveries or exhausted ones.
WITH RECURSIVE found (endpoint, place) AS (
    SELECT (
        SELECT min(endpoint) FROM (
            SELECT * FROM (SELECT endpoint FROM delivery WHERE endpoint >= :number ORDER BY endpoint LIMIT 1)
            UNION ALL
            SELECT * FROM (
                SELECT endpoint FROM attempt
                WHERE ok = 0 AND next_attempt_at IS NULL AND endpoint >= :number ORDER BY endpoint LIMIT 1
            )
        )
    ), 1
    UNION ALL
    SELECT (
        SELECT min(endpoint) FROM (
            SELECT * FROM (SELECT endpoint FROM delivery WHERE endpoint > found.endpoint ORDER BY endpoint LIMIT 1)
            UNION ALL
            SELECT * FROM (
                SELECT endpoint FROM attempt
                WHERE ok = 0 AND next_attempt_at IS NULL AND endpoint > found.endpoint ORDER BY endpoint LIMIT 1
            )
        )
    ), place + 1
    FROM found WHERE found.endpoint IS NOT NULL AND place < :limit
)
SELECT found.endpoint, endpoint.id, endpoint.tenant, endpoint.url, endpoint.disabled_reason IS NOT NULL
FROM found LEFT JOIN endpoint ON endpoint.no = found.endpoint
WHERE found.endpoint IS NOT NULL ORDER BY found.endpoint

-- name: targets_of_tenant
SELECT no, id, tenant, url, disabled_reason IS NOT NULL FROM endpoint
WHERE tenant = :tenant AND no >= :number ORDER BY no LIMIT :limit

-- name: target
SELECT no, id, tenant, url, disabled_reason IS NOT NULL FROM endpoint
WHERE id = :id AND (:tenant IS NULL OR tenant = :tenant) AND no >= :number LIMIT :limit

-- name: locate
SELECT endpoint.no, event.seq, delivery.due
FROM endpoint
LEFT JOIN event ON event.tenant = endpoint.tenant AND event.id = :event
LEFT JOIN delivery ON delivery.event = event.seq AND delivery.endpoint = endpoint.no
WHERE endpoint.id = :endpoint

-- name: candidates
SELECT
    keys.event, keys.place, event.id, event.type, event.timestamp, event.test,
    delivery.due, delivery.step, delivery.leased,
    last.number, last.timestamp, last.status_code, last.error,
    EXISTS (SELECT 1 FROM attempt WHERE event = keys.event AND endpoint = :endpoint AND ok = 1)
FROM ({keys}) AS keys
LEFT JOIN event ON event.seq = keys.event
LEFT JOIN delivery ON delivery.event = keys.event AND delivery.endpoint = :endpoint
LEFT JOIN attempt AS last ON last.no = (
    SELECT no FROM attempt WHERE event = keys.event AND endpoint = :endpoint ORDER BY number DESC, no DESC LIMIT 1
)
ORDER BY keys.place DESC, keys.event DESC

-- name: exhausted
SELECT DISTINCT event, 0 AS place FROM attempt
WHERE endpoint = :endpoint AND ok = 0 AND next_attempt_at IS NULL AND event < :event
ORDER BY event DESC LIMIT :limit

-- name: failing
SELECT event, 0 AS place FROM delivery
WHERE endpoint = :endpoint AND step > 0 AND event < :event ORDER BY event DESC LIMIT :limit

-- name: waiting
-- Sorted by `due`, for which there is an index. Events that wait for their first attempt are in about the same order.
SELECT event, due AS place FROM delivery
WHERE endpoint = :endpoint AND due <= :place AND (due < :place OR event < :event)
ORDER BY due DESC, event DESC LIMIT :limit

-- name: named
SELECT event.seq, endpoint.no, endpoint.disabled_reason IS NOT NULL
FROM json_each(:named) AS given
CROSS JOIN endpoint ON endpoint.tenant = :tenant AND endpoint.id = json_extract(given.value, '$[1]')
CROSS JOIN event ON event.tenant = :tenant AND event.id = json_extract(given.value, '$[0]')

-- name: requeue
-- Deliveries that are due soon or leased stay unchanged.
INSERT INTO delivery (event, endpoint, due, stamped, attempt, trigger)
SELECT :event, :endpoint, :now, :now, known.number, 'manual'
FROM (
    SELECT coalesce(max(number), 0) AS number, coalesce(max(ok), 0) AS ok FROM attempt
    WHERE event = :event AND endpoint = :endpoint
) AS known
WHERE known.ok = 0
    AND EXISTS (SELECT 1 FROM event WHERE seq = :event)
    AND EXISTS (SELECT 1 FROM endpoint WHERE no = :endpoint AND disabled_reason IS NULL)
ON CONFLICT (event, endpoint) DO UPDATE SET due = :now, stamped = :now, step = max(step - 1, 0), trigger = 'manual'
WHERE due > :soon AND leased = 0
