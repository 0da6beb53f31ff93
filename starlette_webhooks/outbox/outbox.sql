-- name: insert
INSERT INTO {outbox} (id, tenant, body) VALUES {rows}

-- name: insert_arrays
INSERT INTO {outbox} (id, tenant, body) SELECT * FROM unnest({ids}::text[], {tenants}::text[], {bodies}::bytea[])

-- name: insert_arrays_on_server
-- Inserts nothing on another server of PostgreSQL.
INSERT INTO {outbox} (id, tenant, body) SELECT * FROM unnest({ids}::text[], {tenants}::text[], {bodies}::bytea[])
WHERE {server}::text = (SELECT CAST(system_identifier AS text) FROM pg_control_system())

-- name: server
SELECT CAST(system_identifier AS text) FROM pg_control_system()

-- name: read
-- The first rows, as far as their bodies fit into memory.
SELECT id, tenant, body FROM (
    SELECT id, tenant, body, created_at,
        SUM(LENGTH(body)) OVER (ORDER BY created_at, id) - LENGTH(body) AS bytes_before
    FROM (SELECT id, tenant, body, created_at FROM {outbox} ORDER BY created_at, id LIMIT {limit}) AS first_rows
) AS page
WHERE bytes_before < 8388608 ORDER BY created_at, id

-- name: read_from
-- Like `read`, on PostgreSQL, from where there may be rows: see `Horizon`. Returns at least one row, without an id if
-- there is none.
SELECT moment, mark, snapshot, id, tenant, body, created_at FROM (
    SELECT CAST(extract(epoch FROM statement_timestamp()) * 1000000 AS bigint) AS moment,
        CASE WHEN CAST(:marks AS boolean) THEN CAST(pg_current_xact_id() AS text) END AS mark,
        CAST(pg_current_snapshot() AS text) AS snapshot
) AS state LEFT JOIN (
    SELECT id, tenant, body, created_at,
        SUM(LENGTH(body)) OVER (ORDER BY created_at, id) - LENGTH(body) AS bytes_before
    FROM (
        SELECT id, tenant, body, created_at FROM {outbox} WHERE created_at >= (
            SELECT least(CAST(:floor AS bigint), min(began)) FROM unnest(
                CAST(string_to_array(CAST(:numbers AS text), ',') AS xid8[]),
                CAST(string_to_array(CAST(:times AS text), ',') AS bigint[])
            ) AS older (number, began) WHERE pg_visible_in_snapshot(number, pg_current_snapshot())
        ) ORDER BY created_at, id LIMIT {limit}
    ) AS first_rows
) AS page ON bytes_before < 8388608 ORDER BY created_at, id

-- name: delete
-- Only the process that relays may do this: its term is the last one.
DELETE FROM {outbox} WHERE id IN ({ids}) AND EXISTS (SELECT 1 FROM {relay} WHERE name = 'relay' AND term = :term)

-- name: erase
DELETE FROM {outbox} WHERE tenant = :tenant

-- name: erase_dead_letters
DELETE FROM {dead_letters} WHERE tenant = :tenant

-- name: discard
DELETE FROM {dead_letters} WHERE id IN ({ids})

-- name: bury
INSERT INTO {dead_letters} (id, tenant, body, code, detail) SELECT id, tenant, body, :code, :detail FROM {outbox}
WHERE id = :id AND EXISTS (SELECT 1 FROM {relay} WHERE name = 'relay' AND term = :term)

-- name: dead_letters
SELECT id, tenant, body, code, detail, created_at FROM {dead_letters} ORDER BY created_at, id LIMIT {limit}

-- name: dead_letters_of_tenant
SELECT id, tenant, body, code, detail, created_at FROM {dead_letters}
WHERE tenant = :tenant ORDER BY created_at, id LIMIT {limit}

-- name: dead_letter_ids
SELECT id, tenant FROM {dead_letters} ORDER BY created_at, id

-- name: redrive
INSERT INTO {outbox} (id, tenant, body) SELECT id, tenant, body FROM {dead_letters} AS dead
WHERE id IN ({ids}) AND NOT EXISTS (SELECT 1 FROM {outbox} AS queued WHERE queued.id = dead.id) ORDER BY created_at, id

-- name: count
SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM {outbox} LIMIT 1000) AS waiting),
    (SELECT COUNT(*) FROM (SELECT 1 FROM {dead_letters} LIMIT 1000) AS dead)

-- name: figures
SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM {outbox} LIMIT 1000) AS waiting),
    COALESCE({now} - (SELECT MIN(created_at) FROM {outbox}), 0),
    (SELECT COUNT(*) FROM (SELECT 1 FROM {dead_letters} LIMIT 1000) AS dead)

-- name: found
SELECT COUNT(*) FROM {relay} WHERE name = 'relay'

-- name: prepare
INSERT INTO {relay} (name, holder, term, until, log) SELECT 'relay', '', 0, 0, '' FROM (SELECT 1 AS one) AS one
WHERE NOT EXISTS (SELECT 1 FROM {relay} WHERE name = 'relay')

-- name: lease
UPDATE {relay}
SET term = CASE WHEN holder = :holder THEN term ELSE term + 1 END, holder = :holder, until = {now} + :microseconds
WHERE name = 'relay' AND (until < {now} OR holder = :holder OR until > {now} + :longest)

-- name: leader
SELECT holder, term, log FROM {relay} WHERE name = 'relay'

-- name: bind
UPDATE {relay} SET log = :log WHERE name = 'relay' AND log = ''

-- name: adopt
UPDATE {relay} SET log = :log WHERE name = 'relay'

-- name: release
UPDATE {relay} SET until = 0, holder = '' WHERE name = 'relay' AND holder = :holder
