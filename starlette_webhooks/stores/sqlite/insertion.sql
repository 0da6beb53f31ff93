-- name: insert_event
INSERT INTO event (id, tenant, type, timestamp, event_id, channels, payload) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant, event_id) WHERE event_id IS NOT NULL DO NOTHING

-- name: insert_events
INSERT INTO event (id, tenant, type, timestamp, event_id, channels, payload) VALUES

-- name: event_by_id
SELECT seq, id, tenant, type, timestamp, event_id, channels, payload FROM event WHERE tenant = ? AND id = ?

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
