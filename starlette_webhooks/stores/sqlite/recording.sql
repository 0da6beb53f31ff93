-- name: endpoint_state
SELECT failing_since, disabled_reason, paused_at, paused_until, warned_at FROM endpoint WHERE no = ?

-- name: finish
DELETE FROM delivery WHERE id = :id AND attempt = :number AND leased = 1

-- name: reschedule
UPDATE delivery
SET due = :next_due, stamped = :now, leased = 0, urgent = 0, step = step + 1,
    trigger = CASE trigger WHEN 'manual' THEN 'scheduled' ELSE trigger END
WHERE id = :id AND attempt = :number AND leased = 1

-- name: set_endpoint_state
UPDATE endpoint SET failing_since = ?, disabled_reason = ?, paused_at = ?, paused_until = ?, warned_at = ? WHERE no = ?

-- name: has_recovered
-- Whether a success is the first one, after enough failures, or after one without another attempt.
SELECT ifnull(max(ok), 0) = 0 AND (count(*) >= :failing OR ifnull(max(next_attempt_at IS NULL), 0))
FROM attempt WHERE event = :event AND endpoint = :endpoint

-- name: prove
UPDATE endpoint SET proven_server = ? WHERE no = ?

-- name: touch
UPDATE endpoint SET updated_at = ? WHERE no = ?

-- name: unsubscribe
DELETE FROM subscription WHERE endpoint = ?

-- name: insert_attempt
INSERT INTO attempt (
    id, event, endpoint, ok, number, timestamp, status_code, duration_ms, url, response, error, trigger,
    next_attempt_at, headers
)
SELECT
    :attempt_id, seq, :endpoint, :ok, :number, :started, :status_code, :duration_ms, :url, :response, :error, :trigger,
    :next_due, :headers
FROM event WHERE seq = :event

-- name: count_attempt
INSERT INTO endpoint_hour (endpoint, hour, success, fail) VALUES (:endpoint, :hour, :ok, NOT :ok)
ON CONFLICT DO UPDATE SET success = success + excluded.success, fail = fail + excluded.fail

-- name: works_well
SELECT json_group_array(no) FROM json_each(?) AS given CROSS JOIN endpoint ON endpoint.no = given.value WHERE failing_since IS NULL

-- name: finish_all
DELETE FROM delivery WHERE id IN (
    SELECT delivery.id FROM json_each(?) AS given CROSS JOIN delivery
        ON delivery.id = json_extract(given.value, '$[0]')
        AND delivery.attempt = json_extract(given.value, '$[1]')
        AND delivery.leased = 1
)

-- name: insert_successes
INSERT INTO attempt (
    event, id, endpoint, number, timestamp, status_code, duration_ms, url, response, trigger, ok, error
)
SELECT given.*, 1, '' FROM (VALUES {rows}) AS given CROSS JOIN event ON event.seq = given.column1

-- name: count_successes
INSERT INTO endpoint_hour (endpoint, hour, success)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')
FROM json_each(?) AS given WHERE true
ON CONFLICT DO UPDATE SET success = success + excluded.success
