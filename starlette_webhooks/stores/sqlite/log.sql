-- name: insert_event
INSERT INTO event (id, tenant, type, timestamp, event_id, channels, payload) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant, event_id) WHERE event_id IS NOT NULL DO NOTHING

-- name: insert_events
INSERT INTO event (id, tenant, type, timestamp, event_id, channels, payload) VALUES

-- name: event_of_event_id
SELECT seq, id, tenant, type, timestamp, event_id, channels, payload FROM event WHERE tenant = ? AND event_id = ?

-- name: insert_channel
INSERT INTO event_channel (tenant, channel, type, id, seq) VALUES (?, ?, ?, ?, ?)

-- name: insert_deliveries
INSERT INTO delivery (event, endpoint, due)
SELECT ?, endpoint, ? FROM subscription WHERE tenant = ? AND type IN ('', ?) AND channel = ''
RETURNING endpoint

-- name: insert_deliveries_of_events
INSERT INTO delivery (event, endpoint, due)
SELECT event.seq, subscription.endpoint, event.timestamp
FROM event CROSS JOIN subscription
    ON subscription.tenant = event.tenant AND subscription.type IN ('', event.type) AND subscription.channel = ''
WHERE event.seq BETWEEN ? AND ? ORDER BY event.seq

-- name: endpoints_of_deliveries
SELECT json_group_array(DISTINCT endpoint) FROM delivery WHERE id >= ?

-- name: insert_channel_deliveries
INSERT INTO delivery (event, endpoint, due)
SELECT DISTINCT ?, endpoint, ? FROM subscription
WHERE tenant = ? AND type IN ('', ?) AND channel IN (SELECT '' UNION ALL SELECT value FROM json_each(?))
RETURNING endpoint

-- name: insert_test_delivery
INSERT INTO delivery (event, endpoint, due, trigger)
SELECT ?, no, ?, 'test' FROM endpoint WHERE tenant = ? AND id = ? AND disabled_reason IS NULL
RETURNING endpoint

-- name: event_by_id
SELECT seq, id, tenant, type, timestamp, event_id, channels, payload FROM event WHERE tenant = ? AND id = ?

-- name: list_events
SELECT seq, id, tenant, type, timestamp, event_id, channels, payload FROM event
WHERE tenant = ? AND id < ? AND id >= ? ORDER BY id DESC LIMIT ?

-- name: keys_of_type
SELECT * FROM (SELECT id, seq FROM event WHERE tenant = ? AND type = ? AND id < ? AND id >= ? ORDER BY id DESC LIMIT ?)

-- name: keys_of_channel
SELECT * FROM (
    SELECT id, seq FROM event_channel WHERE tenant = ? AND channel = ? AND id < ? AND id >= ? ORDER BY id DESC LIMIT ?
)

-- name: keys_of_channel_and_type
SELECT * FROM (
    SELECT id, seq FROM event_channel
    WHERE tenant = ? AND channel = ? AND type = ? AND id < ? AND id >= ? ORDER BY id DESC LIMIT ?
)

-- name: events_of_keys
SELECT e.seq, e.id, e.tenant, e.type, e.timestamp, e.event_id, e.channels, e.payload
FROM (SELECT * FROM (:keys) ORDER BY id DESC LIMIT ?) AS k JOIN event AS e ON e.seq = k.seq ORDER BY k.id DESC

-- name: high_water
SELECT seq FROM sqlite_sequence WHERE name = 'event'

-- name: oldest_event
SELECT id FROM event WHERE tenant = ? ORDER BY seq LIMIT 1

-- name: newest_event
SELECT id FROM event WHERE tenant = ? ORDER BY seq DESC LIMIT 1

-- name: replay
SELECT seq, id, tenant, type, timestamp, event_id, channels, payload FROM event
WHERE tenant = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?

-- name: tail
SELECT seq, id, tenant, type, timestamp, event_id, channels, payload FROM event
WHERE seq > ? ORDER BY seq LIMIT ?

-- name: old_events
SELECT seq, id, tenant, type, channels, timestamp,
       EXISTS (
           SELECT 1 FROM delivery JOIN endpoint ON endpoint.no = delivery.endpoint
           WHERE delivery.event = event.seq AND endpoint.disabled_reason IS NULL
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

-- name: get_meta
SELECT value FROM meta WHERE name = ?

-- name: put_meta
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING
