-- name: drop_deliveries
DELETE FROM delivery

-- name: drop_outbox
DELETE FROM svix_outbox WHERE state = 0

-- name: drop_subscriptions
DELETE FROM subscription

-- name: disable_endpoints
UPDATE endpoint SET disabled_reason = 'manual' WHERE disabled_reason IS NULL
