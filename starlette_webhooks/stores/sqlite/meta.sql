-- name: get_meta
SELECT value FROM meta WHERE name = ?

-- name: put_meta
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING

-- name: replace_meta
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- name: swap_meta
UPDATE meta SET value = :new WHERE name = :name AND value = :old

-- name: find_meta
SELECT name, value FROM meta WHERE name IN (SELECT value FROM json_each(?))

-- name: drop_meta
DELETE FROM meta WHERE name >= ? AND name < ?

-- name: delete_meta
DELETE FROM meta WHERE name = ?
