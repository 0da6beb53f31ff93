-- name: insert_event
INSERT INTO event (id, tenant, type, timestamp, event_id, channels, payload, test, trace)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING

-- name: insert_events
INSERT INTO event (id, tenant, type, timestamp, event_id, channels, payload) VALUES {rows}

-- name: insert_traced_events
INSERT INTO event (id, tenant, type, timestamp, event_id, channels, payload, trace) VALUES {rows}

-- name: event_by_id
SELECT seq, id, tenant, type, timestamp, event_id, channels, payload, test FROM event WHERE tenant = ? AND id = ?

-- name: event_of_event_id
SELECT seq, id, tenant, type, timestamp, event_id, channels, payload, test FROM event
WHERE tenant = ? AND event_id = ?

-- name: insert_channel
INSERT INTO event_channel (tenant, channel, type, id, seq) VALUES (?, ?, ?, ?, ?)

-- name: insert_deliveries
INSERT INTO delivery (event, endpoint, due, stamped, urgent, trigger)
SELECT :event, endpoint, :due, :stamped, :test, CASE WHEN :test THEN 'test' ELSE 'scheduled' END
FROM subscription WHERE tenant = :tenant AND type IN ('', :type) AND channel = ''
RETURNING endpoint, id

-- name: insert_deliveries_of_events
INSERT INTO delivery (event, endpoint, due, stamped)
SELECT event.seq, subscription.endpoint, event.timestamp, event.timestamp
FROM event CROSS JOIN subscription
    ON subscription.tenant = event.tenant AND subscription.type IN ('', event.type) AND subscription.channel = ''
WHERE event.seq BETWEEN ? AND ? ORDER BY event.seq

-- name: endpoints_of_deliveries
SELECT json_group_array(DISTINCT endpoint) FROM delivery WHERE id >= ?

-- name: insert_channel_deliveries
INSERT INTO delivery (event, endpoint, due, stamped, urgent, trigger)
SELECT DISTINCT :event, endpoint, :due, :stamped, :test, CASE WHEN :test THEN 'test' ELSE 'scheduled' END
FROM subscription
WHERE tenant = :tenant AND type IN ('', :type)
    AND channel IN (SELECT '' UNION ALL SELECT value FROM json_each(:channels))
RETURNING endpoint, id

-- name: insert_delivery_for
INSERT INTO delivery (event, endpoint, due, stamped, urgent, trigger)
SELECT :event, no, :due, :stamped, 1, 'test' FROM endpoint
WHERE tenant = :tenant AND id = :endpoint AND disabled_reason IS NULL
RETURNING endpoint, id
