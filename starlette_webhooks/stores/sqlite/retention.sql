-- name: old_events
SELECT seq, id, tenant, type, channels, timestamp,
       EXISTS (
           SELECT 1 FROM delivery JOIN endpoint ON endpoint.no = delivery.endpoint
           WHERE delivery.event = event.seq AND endpoint.disabled_reason IS NULL AND delivery.due < 9007199254740991
       ) AS pending
FROM event WHERE seq > ? ORDER BY seq LIMIT ?

-- name: events_of_tenant
SELECT seq, id, tenant, type, channels FROM event WHERE tenant = ? LIMIT ?

-- name: delete_event
DELETE FROM event WHERE seq = ?

-- name: delete_attempts_of_event
DELETE FROM attempt WHERE event = ?

-- name: delete_deliveries_of_event
DELETE FROM delivery WHERE event = ?

-- name: delete_channel
DELETE FROM event_channel WHERE tenant = ? AND channel = ? AND type = ? AND id = ?

-- name: delete_old_hours
DELETE FROM endpoint_hour WHERE hour < ?
