-- name: scan
-- One seek of `delivery_by_due` for each endpoint that has deliveries, however many it has.
WITH RECURSIVE waiting (endpoint) AS (
    SELECT (SELECT endpoint FROM delivery WHERE endpoint > :after ORDER BY endpoint LIMIT 1)
    UNION ALL
    SELECT (SELECT endpoint FROM delivery WHERE endpoint > waiting.endpoint ORDER BY endpoint LIMIT 1)
    FROM waiting WHERE waiting.endpoint IS NOT NULL
    LIMIT :endpoints
)
SELECT
    waiting.endpoint,
    max((SELECT due FROM delivery WHERE endpoint = waiting.endpoint ORDER BY due LIMIT 1), endpoint.paced_until),
    endpoint.failing_since IS NOT NULL
FROM waiting LEFT JOIN endpoint ON endpoint.no = waiting.endpoint AND endpoint.disabled_reason IS NULL

-- name: askers
SELECT
    endpoint.no, endpoint.id, endpoint.tenant, endpoint.url, endpoint.headers, endpoint.rate_limit,
    endpoint.paced_until, endpoint.failing_since IS NOT NULL,
    (SELECT due FROM delivery WHERE endpoint = endpoint.no ORDER BY due LIMIT 1)
FROM json_each(?) AS given CROSS JOIN endpoint ON endpoint.no = given.value
WHERE endpoint.disabled_reason IS NULL

-- name: lease
UPDATE delivery SET due = :lease, attempt = attempt + 1
WHERE id IN (SELECT id FROM delivery WHERE endpoint = :endpoint AND due <= :now ORDER BY due, id LIMIT :share)
RETURNING id, event, endpoint, attempt, step, trigger

-- name: events
SELECT event.seq, event.id, event.type, event.payload FROM json_each(?) AS given CROSS JOIN event ON event.seq = given.value

-- name: secrets
SELECT secret.endpoint, secret.key
FROM json_each(:endpoints) AS given CROSS JOIN endpoint_secret AS secret ON secret.endpoint = given.value
WHERE secret.expires_at IS NULL OR secret.expires_at > :now
ORDER BY secret.expires_at IS NOT NULL, secret.expires_at DESC

-- name: pace
UPDATE endpoint SET paced_until = ? WHERE no = ?

-- name: drop
DELETE FROM delivery WHERE id = ?

-- name: endpoint_state
SELECT failing_since, disabled_reason FROM endpoint WHERE no = ?

-- name: finish
DELETE FROM delivery WHERE id = :id AND attempt = :number AND due = :lease

-- name: reschedule
UPDATE delivery
SET due = :next_due, step = step + 1, trigger = CASE trigger WHEN 'manual' THEN 'scheduled' ELSE trigger END
WHERE id = :id AND attempt = :number AND due = :lease

-- name: works
UPDATE endpoint SET failing_since = NULL WHERE no = ?

-- name: fails
UPDATE endpoint SET failing_since = ? WHERE no = ?

-- name: pause
UPDATE endpoint SET paced_until = max(paced_until, ?) WHERE no = ?

-- name: disable
UPDATE endpoint SET disabled_reason = ?, updated_at = ? WHERE no = ?

-- name: unsubscribe
DELETE FROM subscription WHERE endpoint = ?

-- name: insert_attempt
INSERT INTO attempt (
    id, event, endpoint, ok, number, timestamp, status_code, duration_ms, url, response, error, trigger, next_attempt_at
)
SELECT
    :attempt_id, seq, :endpoint, :ok, :number, :started, :status_code, :duration_ms, :url, :response, :error, :trigger,
    :next_due
FROM event WHERE seq = :event

-- name: count_attempt
INSERT INTO endpoint_hour (endpoint, hour, success, fail) VALUES (:endpoint, :hour, :ok, NOT :ok)
ON CONFLICT DO UPDATE SET success = success + excluded.success, fail = fail + excluded.fail

-- name: endpoint
SELECT no, id, disabled_reason, event_types, channels FROM endpoint WHERE tenant = ? AND id = ?

-- name: event
SELECT seq FROM event WHERE tenant = ? AND id = ?

-- name: resend
-- A try by hand takes no step of the schedule away.
INSERT INTO delivery (event, endpoint, due, attempt, trigger)
SELECT :event, :endpoint, :now, coalesce(max(number), 0), 'manual' FROM attempt
WHERE event = :event AND endpoint = :endpoint
ON CONFLICT (event, endpoint) DO UPDATE SET due = :now, step = max(step - 1, 0), trigger = 'manual'

-- name: failed_attempts
SELECT attempt.id, event.seq, event.id FROM attempt CROSS JOIN event ON event.seq = attempt.event
WHERE attempt.endpoint = :endpoint AND attempt.ok = 0 AND attempt.id > :after AND attempt.id < :until
ORDER BY attempt.id LIMIT :batch

-- name: recover_failed
INSERT INTO delivery (event, endpoint, due, attempt, trigger)
SELECT :event, :endpoint, :now, number, 'manual'
FROM (SELECT max(number) AS number, max(ok) AS ok FROM attempt WHERE event = :event AND endpoint = :endpoint)
WHERE ok = 0
ON CONFLICT (event, endpoint) DO UPDATE SET due = :now, step = max(step - 1, 0), trigger = 'manual' WHERE due > :soon

-- name: events_between
SELECT seq, id, type, channels FROM event WHERE tenant = :tenant AND id > :after AND id < :until ORDER BY id LIMIT :batch

-- name: recover_missing
INSERT INTO delivery (event, endpoint, due, trigger)
SELECT :event, :endpoint, :now, 'manual'
WHERE NOT EXISTS (SELECT 1 FROM attempt WHERE event = :event AND endpoint = :endpoint)
ON CONFLICT DO NOTHING

-- name: orphans
-- Endpoints that are gone, while deliveries or attempts of theirs are left: the process ended amid their removal.
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
