-- name: waiting
-- Is anything there? Without the lock of the log.
SELECT EXISTS (SELECT FROM webhooks.outbox)

-- name: first
SELECT id FROM webhooks.outbox ORDER BY created_at, id LIMIT %s

-- name: move
SELECT moved, endpoints, asked, heard FROM webhooks.move_outbox_3(%s::text, %s, %s, %s, %s, %s)

-- name: bury
SELECT webhooks.bury_outbox_3(%s, %s, %s)

-- name: erase
DELETE FROM webhooks.outbox WHERE tenant = %s

-- name: erase_dead_letters
DELETE FROM webhooks.outbox_dead_letter WHERE tenant = %s
