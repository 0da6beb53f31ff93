-- name: orphans
SELECT * FROM webhooks.orphans_1()

-- name: prune
SELECT webhooks.prune_13(%s, %s, %s, %s)

-- name: erase_events
SELECT webhooks.erase_events_1(%s, %s)

-- name: counted_until
SELECT counted_until FROM webhooks.rollup

-- name: roll_up
SELECT webhooks.roll_up_1(%s, %s, %s)

-- name: is_read_only
SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'

-- name: time
SELECT extract(epoch FROM clock_timestamp())::float8
