-- name: read
-- Is anything there? Without the lock of the log.
SELECT first, moment, mark, snapshot FROM webhooks.read_outbox_10(%s, %s::text[]::xid8[], %s::bigint[], %s)

-- name: first
SELECT id FROM webhooks.outbox ORDER BY created_at, id LIMIT %s

-- name: move
SELECT moved, endpoints, asked, heard FROM webhooks.move_outbox_11(%s::text, %s, %s::bigint, %s, %s, %s, %s, %s)

-- name: bury
SELECT webhooks.bury_outbox_3(%s, %s, %s)

-- name: dead_letters
SELECT id, tenant, body, code, detail, created_at FROM webhooks.outbox_dead_letter
WHERE %(tenant)s::text IS NULL OR tenant = %(tenant)s ORDER BY created_at, id LIMIT %(limit)s

-- name: dead_letter_tenants
SELECT id, tenant FROM webhooks.outbox_dead_letter WHERE id = ANY (%s::text[])

-- name: redrive
WITH chosen AS (
    DELETE FROM webhooks.outbox_dead_letter
    WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s) AND (%(ids)s::text[] IS NULL OR id = ANY (%(ids)s::text[]))
    RETURNING id, tenant, body
), queued AS (
    INSERT INTO webhooks.outbox (id, tenant, body) SELECT id, tenant, body FROM chosen ON CONFLICT DO NOTHING
)
SELECT count(*) FROM chosen

-- name: discard
WITH discarded AS (DELETE FROM webhooks.outbox_dead_letter WHERE id = ANY (%s::text[]) RETURNING 1)
SELECT count(*) FROM discarded

-- name: may_identify
SELECT has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')

-- name: server
SELECT system_identifier::text FROM pg_control_system()

-- name: erase
DELETE FROM webhooks.outbox WHERE tenant = %s

-- name: erase_dead_letters
DELETE FROM webhooks.outbox_dead_letter WHERE tenant = %s
