-- name: endpoint
SELECT no, id, disabled_reason, event_types, channels FROM endpoint WHERE tenant = ? AND id = ?

-- name: event
SELECT seq FROM event WHERE tenant = ? AND id = ?

-- name: resend
-- A manual attempt does not use a step of the schedule. A running attempt loses its lease.
INSERT INTO delivery (event, endpoint, due, stamped, attempt, trigger, urgent)
SELECT :event, :endpoint, :now, :now, coalesce(max(number), 0), 'manual', 1 FROM attempt
WHERE event = :event AND endpoint = :endpoint
ON CONFLICT (event, endpoint) DO UPDATE
SET due = :now, stamped = :now, step = max(step - 1, 0), trigger = 'manual', urgent = 1, leased = 0

-- name: failed_attempts
SELECT attempt.id, event.seq, event.id, event.test FROM attempt CROSS JOIN event ON event.seq = attempt.event
WHERE attempt.endpoint = :endpoint AND attempt.ok = 0 AND attempt.id > :after AND attempt.id < :until
ORDER BY attempt.id LIMIT :batch

-- name: recover_failed
-- Deliveries that are due soon or leased stay unchanged.
INSERT INTO delivery (event, endpoint, due, stamped, attempt, trigger)
SELECT :event, :endpoint, :now, :now, number, 'manual'
FROM (SELECT max(number) AS number, max(ok) AS ok FROM attempt WHERE event = :event AND endpoint = :endpoint)
WHERE ok = 0
ON CONFLICT (event, endpoint) DO UPDATE SET due = :now, stamped = :now, step = max(step - 1, 0), trigger = 'manual'
WHERE due > :soon AND leased = 0

-- name: events_between
SELECT seq, id, type, channels, test FROM event
WHERE tenant = :tenant AND id > :after AND id < :until ORDER BY id LIMIT :batch

-- name: sent_between
-- Whether each of these events was sent to an endpoint, or is going to be.
SELECT id, type, channels, test,
    EXISTS (SELECT 1 FROM attempt WHERE attempt.event = event.seq AND attempt.endpoint = :endpoint)
        OR EXISTS (SELECT 1 FROM delivery WHERE delivery.event = event.seq AND delivery.endpoint = :endpoint)
FROM event WHERE tenant = :tenant AND id > :after AND id < :until ORDER BY id LIMIT :batch

-- name: recover_missing
INSERT INTO delivery (event, endpoint, due, stamped, trigger)
SELECT :event, :endpoint, :now, :now, 'manual'
WHERE NOT EXISTS (SELECT 1 FROM attempt WHERE event = :event AND endpoint = :endpoint)
ON CONFLICT DO NOTHING
