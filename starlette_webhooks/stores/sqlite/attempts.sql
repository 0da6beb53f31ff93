-- name: endpoint
SELECT no, id FROM endpoint WHERE tenant = ? AND id = ?

-- name: endpoints
SELECT no, id FROM endpoint WHERE tenant = ?

-- name: keys_of_endpoint
SELECT attempt.id, attempt.no, attempt.status_code, event.type
FROM attempt CROSS JOIN event ON event.seq = attempt.event
WHERE attempt.endpoint = ? AND attempt.ok = ? AND attempt.id < ? AND attempt.id >= ?
ORDER BY attempt.id DESC

-- name: keys_of_event
SELECT attempt.id, attempt.no, attempt.status_code, event.type
FROM event CROSS JOIN attempt ON attempt.event = event.seq
WHERE attempt.endpoint = ifnull(?, attempt.endpoint) AND attempt.ok = ?
    AND event.tenant = ? AND event.id = ? AND attempt.id < ? AND attempt.id >= ?
ORDER BY attempt.id DESC

-- name: attempt
SELECT
    attempt.id, event.id, event.type, endpoint.id, attempt.url, attempt.number, attempt.timestamp, attempt.ok,
    attempt.status_code, attempt.duration_ms, attempt.response, attempt.error, attempt.trigger,
    attempt.next_attempt_at, attempt.headers
FROM attempt JOIN event ON event.seq = attempt.event JOIN endpoint ON endpoint.no = attempt.endpoint
WHERE attempt.no = ?

-- name: hours
SELECT hour, success, fail FROM endpoint_hour WHERE endpoint = ? AND hour >= ? AND hour < ? ORDER BY hour

-- name: pending
SELECT count(*) FROM (SELECT 1 FROM delivery WHERE endpoint = ? LIMIT 10000)
