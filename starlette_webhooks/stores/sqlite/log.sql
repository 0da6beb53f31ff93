-- name: event_by_id
SELECT seq, id, tenant, type, timestamp, event_id, channels, payload, test FROM event WHERE tenant = ? AND id = ?

-- name: list_events
SELECT seq, id, tenant, type, timestamp, event_id, channels, payload, test FROM event
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
SELECT e.seq, e.id, e.tenant, e.type, e.timestamp, e.event_id, e.channels, e.payload, e.test
FROM (SELECT * FROM ({keys}) ORDER BY id DESC LIMIT ?) AS k JOIN event AS e ON e.seq = k.seq ORDER BY k.id DESC

-- name: high_water
SELECT seq FROM sqlite_sequence WHERE name = 'event'

-- name: oldest_event
SELECT id FROM event WHERE tenant = ? ORDER BY seq LIMIT 1

-- name: newest_event
SELECT seq, id FROM event WHERE tenant = ? ORDER BY seq DESC LIMIT 1

-- name: first_minted_after
SELECT min(seq) FROM event WHERE tenant = ? AND id > ?

-- name: replay
SELECT seq, id, tenant, type, timestamp, event_id, channels, payload, test FROM event
WHERE tenant = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?

-- name: committed
SELECT seq, id, tenant, type, timestamp, event_id, channels, payload, test FROM event
WHERE tenant = ? AND seq > ? ORDER BY seq LIMIT ?

-- name: tail
SELECT seq, id, tenant, type, timestamp, event_id, channels, payload, test FROM event
WHERE seq > ? ORDER BY seq LIMIT ?
