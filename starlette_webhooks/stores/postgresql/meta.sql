-- name: read
-- The first caller stores the value.
WITH given AS (
    INSERT INTO webhooks.meta (name, value) VALUES (%(name)s, %(value)b) ON CONFLICT DO NOTHING RETURNING value
)
SELECT value FROM given UNION ALL SELECT value FROM webhooks.meta WHERE name = %(name)s

-- name: write
INSERT INTO webhooks.meta (name, value) VALUES (%(name)s, %(value)b)
ON CONFLICT (name) DO UPDATE SET value = excluded.value RETURNING name

-- name: swap
UPDATE webhooks.meta SET value = %(new)b WHERE name = %(name)s AND value = %(old)b RETURNING name

-- name: find
SELECT name, value FROM webhooks.meta WHERE name = ANY (%(names)s::text[])

-- name: drop
DELETE FROM webhooks.meta WHERE name >= %(start)s AND name < %(end)s RETURNING name

-- name: get
SELECT value FROM webhooks.meta WHERE name = %s
