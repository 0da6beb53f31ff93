-- The tables of a file, with the columns of the PostgreSQL tables of the same name.

-- name: meta
SELECT name, value FROM meta WHERE name NOT IN ('moved_to', 'move_id')

-- name: event
SELECT seq, id, tenant, type, timestamp, event_id,
    (SELECT group_concat(value, ',') FROM json_each(channels)) AS channels, CAST(payload AS BLOB) AS payload, test, trace
FROM event ORDER BY seq

-- name: event_channel
SELECT tenant, channel, type, id, seq FROM event_channel

-- name: endpoint
SELECT no, id, tenant, url, description, event_types, channels, disabled_reason, rate_limit, metadata, headers,
    created_at, updated_at, failing_since, paced_until, paused_at, paused_until, proven_server, warned_at
FROM endpoint

-- name: endpoint_secret
SELECT endpoint, created_at, key, expires_at FROM endpoint_secret

-- name: subscription
SELECT tenant, type, channel, endpoint FROM subscription

-- name: delivery
-- Deliveries that were leased when the app stopped become due when the lease would have ended, as in the file.
SELECT event, endpoint, due, 0 AS leased_until, attempt, step, trigger, stamped, urgent FROM delivery

-- name: attempt
SELECT id, event, endpoint, ok, number, timestamp, status_code, duration_ms, url, response, error, trigger,
    next_attempt_at, headers
FROM attempt ORDER BY no

-- name: endpoint_hour
-- Later hours are counted from the attempts.
SELECT endpoint, hour, success, fail FROM endpoint_hour WHERE hour < :hour

-- name: svix_outbox
SELECT seq, tenant, event_id, type, timestamp,
    (SELECT group_concat(value, ',') FROM json_each(channels)) AS channels, CAST(payload AS BLOB) AS payload,
    state, message_id, settled_at, keep_until, check_at, code, detail
FROM svix_outbox ORDER BY seq

-- name: svix_event_type
SELECT name FROM svix_event_type

-- name: last_number
SELECT seq FROM sqlite_sequence WHERE name = ?
