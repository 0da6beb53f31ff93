-- name: due
-- One seek in `delivery_by_due` per endpoint with deliveries, however many it has.
WITH RECURSIVE waiting (endpoint) AS (
    SELECT (SELECT endpoint FROM delivery WHERE endpoint > :after ORDER BY endpoint LIMIT 1)
    UNION ALL
    SELECT (SELECT endpoint FROM delivery WHERE endpoint > waiting.endpoint ORDER BY endpoint LIMIT 1)
    FROM waiting WHERE waiting.endpoint IS NOT NULL
    LIMIT :endpoints
)
SELECT
    waiting.endpoint,
    (SELECT due FROM delivery WHERE endpoint = endpoint.no ORDER BY due LIMIT 1),
    endpoint.failing_since IS NOT NULL, endpoint.url, endpoint.proven_server, endpoint.rate_limit,
    endpoint.paced_until, endpoint.paused_at, endpoint.paused_until
FROM waiting LEFT JOIN endpoint ON endpoint.no = waiting.endpoint AND endpoint.disabled_reason IS NULL

-- name: urgent
WITH RECURSIVE asked (endpoint) AS (
    SELECT (SELECT endpoint FROM delivery WHERE urgent = 1 AND endpoint > 0 ORDER BY endpoint LIMIT 1)
    UNION ALL
    SELECT (SELECT endpoint FROM delivery WHERE urgent = 1 AND endpoint > asked.endpoint ORDER BY endpoint LIMIT 1)
    FROM asked WHERE asked.endpoint IS NOT NULL
)
SELECT asked.endpoint FROM asked JOIN endpoint ON endpoint.no = asked.endpoint AND endpoint.disabled_reason IS NULL
WHERE EXISTS (SELECT 1 FROM delivery WHERE urgent = 1 AND endpoint = asked.endpoint AND due <= :due_by)
LIMIT :endpoints

-- name: candidates
SELECT json_group_array(json_array(
    endpoint.no, endpoint.id, endpoint.tenant, endpoint.url, endpoint.headers, endpoint.failing_since IS NOT NULL,
    (SELECT due FROM delivery WHERE endpoint = endpoint.no ORDER BY due LIMIT 1),
    endpoint.proven_server, endpoint.rate_limit, endpoint.paced_until, endpoint.paused_at, endpoint.paused_until
))
FROM json_each(?) AS given CROSS JOIN endpoint ON endpoint.no = given.value
WHERE endpoint.disabled_reason IS NULL

-- name: urgent_candidates
SELECT json_group_array(json_array(
    endpoint.no, endpoint.id, endpoint.tenant, endpoint.url, endpoint.headers, endpoint.failing_since IS NOT NULL,
    (SELECT due FROM delivery WHERE urgent = 1 AND endpoint = endpoint.no ORDER BY due LIMIT 1),
    endpoint.proven_server, endpoint.rate_limit, endpoint.paced_until, endpoint.paused_at, endpoint.paused_until
))
FROM json_each(?) AS given CROSS JOIN endpoint ON endpoint.no = given.value
WHERE endpoint.disabled_reason IS NULL

-- name: due_of_each
SELECT json_group_array(json_array(delivery.id, event, endpoint, attempt + 1, step, trigger))
FROM json_each(:endpoints) AS given CROSS JOIN delivery
    ON delivery.id = (SELECT id FROM delivery WHERE endpoint = given.value AND due <= :now ORDER BY due, id LIMIT 1)

-- name: due_of_one
SELECT json_group_array(json_array(id, event, endpoint, attempt + 1, step, trigger))
FROM (SELECT * FROM delivery WHERE endpoint = :endpoint AND due <= :now ORDER BY due, id LIMIT :slots)

-- name: urgent_of_one
SELECT json_group_array(json_array(id, event, endpoint, attempt + 1, step, trigger))
FROM (
    SELECT * FROM delivery WHERE urgent = 1 AND endpoint = :endpoint AND due <= :now ORDER BY due, id LIMIT :slots
)

-- name: lease
UPDATE delivery SET due = :lease, stamped = :now, leased = 1, attempt = attempt + 1
WHERE id IN (SELECT value FROM json_each(:ids) AS given)

-- name: release
UPDATE delivery SET due = :due, stamped = :now, leased = 0, attempt = attempt - 1
WHERE id = :id AND attempt = :number AND leased = 1

-- name: set_aside
-- Listed among the failing ones, so that it is retried with them.
UPDATE delivery SET due = 9007199254740991, step = max(step, 1), leased = 0, urgent = 0 WHERE id = :id AND attempt = :number AND leased = 1

-- name: stamped_later
SELECT id FROM delivery WHERE id > :after AND stamped > :later ORDER BY id LIMIT :batch

-- name: fix_times
UPDATE delivery SET due = due - stamped + :now, stamped = :now
WHERE id IN (SELECT value FROM json_each(:ids) AS given)

-- name: events
-- The concatenated payloads, and their lengths.
SELECT
    json_group_array(json_array(event.seq, event.id, event.type, length(event.payload), event.trace)),
    CAST(group_concat(CAST(event.payload AS TEXT), '') AS BLOB)
FROM json_each(?) AS given CROSS JOIN event ON event.seq = given.value

-- name: secrets
SELECT json_group_array(json_array(secret.endpoint, secret.key, secret.expires_at))
FROM json_each(:endpoints) AS given CROSS JOIN endpoint_secret AS secret ON secret.endpoint = given.value
WHERE secret.expires_at IS NULL OR secret.expires_at > :now

-- name: pace
UPDATE endpoint SET paced_until = ? WHERE no = ?

-- name: drop
DELETE FROM delivery WHERE id = ?

-- name: is_there_news
SELECT
    coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'delivery'), 0),
    EXISTS (SELECT 1 FROM delivery WHERE urgent = 1 AND leased = 0 AND endpoint > 0)

-- name: last_delivery
SELECT seq FROM sqlite_sequence WHERE name = 'delivery'

-- name: added
SELECT json_group_array(DISTINCT endpoint) FROM delivery WHERE id > ?

-- name: orphans
-- Deleted endpoints that still have deliveries or attempts, because the process ended during their removal.
WITH RECURSIVE
    delivering (found) AS (
        SELECT (SELECT endpoint FROM delivery WHERE endpoint > 0 ORDER BY endpoint LIMIT 1)
        UNION ALL
        SELECT (SELECT endpoint FROM delivery WHERE endpoint > found ORDER BY endpoint LIMIT 1)
        FROM delivering WHERE found IS NOT NULL
    ),
    attempted (found) AS (
        SELECT (SELECT endpoint FROM attempt WHERE endpoint > 0 ORDER BY endpoint LIMIT 1)
        UNION ALL
        SELECT (SELECT endpoint FROM attempt WHERE endpoint > found ORDER BY endpoint LIMIT 1)
        FROM attempted WHERE found IS NOT NULL
    )
SELECT found FROM (SELECT found FROM delivering UNION SELECT found FROM attempted)
WHERE found IS NOT NULL AND NOT EXISTS (SELECT 1 FROM endpoint WHERE no = found)
