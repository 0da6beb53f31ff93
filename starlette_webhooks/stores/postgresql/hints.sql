-- name: hint
SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, %s)

-- name: register
WITH old AS (DELETE FROM webhooks.listener WHERE until < clock_timestamp())
INSERT INTO webhooks.listener (name, streams, until)
VALUES (%s, %s, clock_timestamp() + make_interval(secs => %s))
ON CONFLICT (name) DO UPDATE SET streams = excluded.streams, until = excluded.until

-- name: leave
DELETE FROM webhooks.listener WHERE name = %s
