-- name: unlimited
SELECT set_config('statement_timeout', '0', true)

-- name: lock
-- Readers continue.
LOCK TABLE webhooks.meta, webhooks.event, webhooks.endpoint, webhooks.subscription, webhooks.delivery,
    webhooks.attempt, webhooks.svix_outbox IN SHARE ROW EXCLUSIVE MODE

-- name: drop_deliveries
DELETE FROM webhooks.delivery

-- name: drop_outbox
DELETE FROM webhooks.svix_outbox WHERE state = 0

-- name: drop_subscriptions
DELETE FROM webhooks.subscription

-- name: disable_endpoints
UPDATE webhooks.endpoint SET disabled_reason = 'manual' WHERE disabled_reason IS NULL

-- name: delete_meta
DELETE FROM webhooks.meta WHERE name = %s

-- name: insert_meta
INSERT INTO webhooks.meta (name, value) VALUES (%s, %b)
