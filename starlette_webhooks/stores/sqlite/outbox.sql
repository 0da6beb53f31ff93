-- name: insert
INSERT INTO svix_outbox (tenant, event_id, type, timestamp, channels, payload) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant, event_id) DO NOTHING

-- name: insert_accepted
INSERT INTO svix_outbox
    (tenant, event_id, type, timestamp, channels, payload, state, message_id, settled_at, keep_until, check_at)
VALUES (:tenant, :event_id, :type, :timestamp, :channels, :payload, 1, :message_id, :now, :keep_until, :check_at)
ON CONFLICT (tenant, event_id) DO UPDATE
SET state = 1, message_id = :message_id, settled_at = :now, keep_until = :keep_until, check_at = :check_at

-- name: find
SELECT seq, tenant, event_id, type, timestamp, channels, payload, state, message_id, code, detail
FROM svix_outbox WHERE tenant = ? AND event_id = ?

-- name: next
SELECT seq, tenant, event_id, type, timestamp, channels, payload, state, message_id, code, detail
FROM svix_outbox WHERE tenant = ? AND state = 0 ORDER BY seq LIMIT ?

-- name: waits
SELECT EXISTS (SELECT 1 FROM svix_outbox WHERE tenant = ? AND state = 0)

-- name: anything_waits
SELECT EXISTS (SELECT 1 FROM svix_outbox WHERE state = 0)

-- name: high_water
SELECT seq FROM sqlite_sequence WHERE name = 'svix_outbox'

-- name: next_tenant
SELECT tenant FROM svix_outbox WHERE tenant > ? AND state = 0 ORDER BY tenant LIMIT 1

-- name: tenants_between
SELECT DISTINCT tenant FROM svix_outbox WHERE seq > ? AND seq <= ? AND state = 0

-- name: accept
UPDATE svix_outbox
SET state = 1, message_id = :message_id, timestamp = :timestamp, settled_at = :now, keep_until = :keep_until,
    check_at = :check_at
WHERE seq = :seq

-- name: replace
UPDATE svix_outbox SET type = ?, channels = ?, payload = ? WHERE seq = ?

-- name: dead_letter
UPDATE svix_outbox SET state = 2, settled_at = ?, code = ?, detail = ? WHERE seq = ? AND state = 0

-- name: dead_letters
SELECT seq, tenant, event_id, type, timestamp, channels, payload, state, message_id, code, detail, settled_at
FROM svix_outbox WHERE state = 2 AND (:tenant IS NULL OR tenant = :tenant) ORDER BY seq LIMIT :limit

-- name: dead_letter_tenants
SELECT CAST(seq AS TEXT), tenant FROM svix_outbox WHERE state = 2 AND seq IN (SELECT value FROM json_each(?))

-- name: redrive
UPDATE svix_outbox SET state = 0, code = NULL, detail = NULL, settled_at = NULL
WHERE state = 2 AND (:tenant IS NULL OR tenant = :tenant)
    AND (:seqs IS NULL OR seq IN (SELECT value FROM json_each(:seqs)))

-- name: discard
DELETE FROM svix_outbox WHERE state = 2 AND seq IN (SELECT value FROM json_each(?))

-- name: in_doubt
SELECT seq, tenant, event_id, type, timestamp, channels, payload, state, message_id, code, detail
FROM svix_outbox WHERE check_at <= :now OR check_at > :too_late ORDER BY check_at LIMIT :batch

-- name: resolve
UPDATE svix_outbox SET check_at = ? WHERE seq = ?

-- name: prune
DELETE FROM svix_outbox WHERE seq IN (
    SELECT seq FROM svix_outbox WHERE state = 1 AND keep_until < ? AND check_at IS NULL ORDER BY keep_until LIMIT ?
)

-- name: erase
DELETE FROM svix_outbox WHERE seq IN (SELECT seq FROM svix_outbox WHERE tenant = ? LIMIT ?)

-- name: count_waiting
SELECT COUNT(*) FROM (SELECT 1 FROM svix_outbox WHERE state = 0 LIMIT ?)

-- name: oldest_waiting
SELECT timestamp FROM svix_outbox WHERE state = 0 ORDER BY seq LIMIT 1

-- name: count_dead_letters
SELECT COUNT(*) FROM (SELECT 1 FROM svix_outbox WHERE state = 2 LIMIT ?)

-- name: owned_event_types
SELECT name FROM svix_event_type

-- name: own_event_type
INSERT INTO svix_event_type (name) VALUES (?) ON CONFLICT DO NOTHING

-- name: disown_event_type
DELETE FROM svix_event_type WHERE name = ?
