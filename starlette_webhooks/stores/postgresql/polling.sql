-- name: look
SELECT (SELECT last_value FROM webhooks.handover_seq), webhooks.outbox_waits_10(%s, %s::text[]::xid8[], %s::bigint[])

-- name: and_hand_over
-- Follows a call that returns the endpoints of new deliveries, in a process that does not deliver.
CROSS JOIN LATERAL webhooks.hand_over_5(coalesce(endpoints, asked) IS NOT NULL)

-- name: hand_over
SELECT webhooks.hand_over_5(true)
