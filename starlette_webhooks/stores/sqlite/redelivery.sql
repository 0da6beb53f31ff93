-- name: endpoint
SELECT no, id, disabled_reason, event_types, channels FROM endpoint WHERE tenant = ? AND id = ?

-- name: event
SELECT seq FROM event WHERE tenant = ? AND id = ?

-- name: resend
-- An attempt by hand takes no step of the schedule away.
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
