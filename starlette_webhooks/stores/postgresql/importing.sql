-- name: is_empty
-- Ignores what processes create by merely starting.
SELECT NOT (
    EXISTS (SELECT FROM webhooks.event) OR EXISTS (SELECT FROM webhooks.endpoint)
    OR EXISTS (SELECT FROM webhooks.svix_outbox)
)

-- name: clear
DELETE FROM webhooks.meta

-- name: count_from
UPDATE webhooks.rollup SET counted_until = %s

-- name: number_events
SELECT setval('webhooks.event_seq', greatest(%(last)s::bigint, (SELECT last_value FROM webhooks.event_seq)), %(last)s > 0)

-- name: number_outbox
SELECT setval('webhooks.svix_outbox_seq', greatest(%(last)s::bigint, (SELECT last_value FROM webhooks.svix_outbox_seq)), %(last)s > 0)

-- name: number_endpoints
SELECT setval(pg_get_serial_sequence('webhooks.endpoint', 'no'), greatest(%(last)s::bigint, 1), %(last)s > 0)

-- name: analyze
ANALYZE webhooks.event, webhooks.event_channel, webhooks.endpoint, webhooks.subscription, webhooks.delivery,
    webhooks.attempt, webhooks.svix_outbox
