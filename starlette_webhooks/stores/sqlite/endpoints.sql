-- name: count
SELECT count(*) FROM endpoint WHERE tenant = ?

-- name: insert
INSERT INTO endpoint
    (id, tenant, url, description, event_types, channels, disabled_reason, rate_limit, metadata, headers, created_at, updated_at)
VALUES
    (:id, :tenant, :url, :description, :event_types, :channels, :disabled_reason, :rate_limit, :metadata, :headers, :now, :now)

-- name: update
UPDATE endpoint SET
    url = :url, description = :description, event_types = :event_types, channels = :channels,
    disabled_reason = :disabled_reason, rate_limit = :rate_limit, metadata = :metadata, headers = :headers,
    failing_since = CASE WHEN :enabled THEN NULL ELSE failing_since END,
    updated_at = :now
WHERE no = :no

-- name: get
SELECT no, id, tenant, url, description, event_types, channels, disabled_reason, rate_limit, metadata, headers,
       created_at, updated_at
FROM endpoint WHERE tenant = ? AND id = ?

-- name: list
SELECT no, id, tenant, url, description, event_types, channels, disabled_reason, rate_limit, metadata, headers,
       created_at, updated_at
FROM endpoint WHERE tenant = ? AND id < ? ORDER BY id DESC LIMIT ?

-- name: delete
DELETE FROM endpoint WHERE no = ?

-- name: unsubscribe
DELETE FROM subscription WHERE endpoint = ?

-- name: unsubscribe_from_others
-- Only the difference is written, and each statement is one step: an endpoint may have a thousand subscriptions, and each
-- step competes with the event loop for the interpreter.
DELETE FROM subscription WHERE endpoint = :no AND NOT (
    type IN (SELECT value FROM json_each(:types)) AND channel IN (SELECT value FROM json_each(:channels))
)

-- name: subscribe
INSERT INTO subscription (tenant, type, channel, endpoint)
SELECT :tenant, types.value, channels.value, :no
FROM json_each(:types) AS types CROSS JOIN json_each(:channels) AS channels
WHERE true
ON CONFLICT DO NOTHING

-- name: delete_deliveries
DELETE FROM delivery WHERE id IN (SELECT id FROM delivery WHERE endpoint = ? LIMIT ?)

-- name: delete_attempts
DELETE FROM attempt WHERE no IN (SELECT no FROM attempt WHERE endpoint = ? LIMIT ?)

-- name: delete_hours
DELETE FROM endpoint_hour WHERE endpoint = ?

-- name: delete_secrets
DELETE FROM endpoint_secret WHERE endpoint = ?

-- name: secret
SELECT key FROM endpoint_secret WHERE endpoint = ? AND expires_at IS NULL

-- name: live_secrets
SELECT count(*) FROM endpoint_secret WHERE endpoint = ? AND (expires_at IS NULL OR expires_at > ?)

-- name: expire_secrets
UPDATE endpoint_secret SET expires_at = :expiry WHERE endpoint = :no AND ifnull(expires_at > :expiry, 1)

-- name: drop_expired_secrets
DELETE FROM endpoint_secret WHERE endpoint = ? AND expires_at <= ?

-- name: insert_secret
INSERT INTO endpoint_secret (endpoint, created_at, key, expires_at) VALUES (?, ?, ?, NULL)

