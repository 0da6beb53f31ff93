-- Works with version 1 and later.
-- The outbox of hosts that have their own tables in this database: `emit(..., within=)` inserts here, in a transaction
-- of the host. No positions, as those are given in order of commits; no constraint but the key, so that no insert waits.
-- A host may have created these tables itself.
CREATE TABLE IF NOT EXISTS webhooks.outbox (
    id text COLLATE "C" PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL,
    body bytea NOT NULL,            -- a line of JSON, and the payload
    created_at bigint NOT NULL DEFAULT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)
);
CREATE INDEX IF NOT EXISTS outbox_by_time ON webhooks.outbox (created_at, id);

CREATE TABLE IF NOT EXISTS webhooks.outbox_dead_letter (
    id text COLLATE "C" PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL,
    body bytea NOT NULL,
    created_at bigint NOT NULL DEFAULT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint),
    code text COLLATE "C" NOT NULL,
    detail text COLLATE "C" NOT NULL
);
CREATE INDEX IF NOT EXISTS outbox_dead_letter_by_time ON webhooks.outbox_dead_letter (created_at, id);

-- Moves events that hosts committed from the outbox into the log, in their order. Any process may call it: the lock of
-- the log comes first, so that two calls do not move the same rows, nor later rows before earlier ones. It holds no
-- lock beyond this call. Rows of a newer version of the package are left for it.
CREATE FUNCTION webhooks.move_outbox_3(
    only_id text, many integer, most_bytes bigint, due_in bigint, process text, delivers boolean
) RETURNS TABLE (moved text[], endpoints bigint[], asked bigint[], heard boolean)
LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    chosen text[];
    given record;
BEGIN
    PERFORM webhooks.be_durable_1();
    PERFORM webhooks.lock_log_1();
    SELECT array_agg(id) INTO chosen FROM (
        SELECT id, sum(octet_length(body)) OVER (ORDER BY created_at, id) - octet_length(body) AS bytes_before
        FROM (
            SELECT id, body, created_at FROM webhooks.outbox
            WHERE (only_id IS NULL OR id = only_id)
                AND (substring(body FROM 1 FOR 5) <> '{"v":' OR substring(body FROM 1 FOR 7) = '{"v":1,')
            ORDER BY created_at, id LIMIT many
        ) AS first
    ) AS measured WHERE bytes_before < most_bytes;
    IF chosen IS NULL THEN
        RETURN;
    END IF;

    WITH gone AS (
        DELETE FROM webhooks.outbox WHERE id = ANY (chosen) RETURNING id, tenant, body, created_at
    ), parted AS MATERIALIZED (
        SELECT id, tenant, created_at,
            convert_from(substring(body FROM 1 FOR position('\x0a'::bytea IN body) - 1), 'UTF8')::json AS head,
            substring(body FROM position('\x0a'::bytea IN body) + 1) AS payload
        FROM gone
    ), placed AS (
        SELECT parted.*, octet_length(payload) AS size,
            sum(octet_length(payload)) OVER (ORDER BY created_at, id) - octet_length(payload) + 1 AS start
        FROM parted
    )
    SELECT array_agg(id ORDER BY created_at, id) AS found,
        string_agg(id, E'\x1f' ORDER BY created_at, id) AS ids,
        string_agg(tenant, E'\x1f' ORDER BY created_at, id) AS tenants,
        string_agg(head->>'type', E'\x1f' ORDER BY created_at, id) AS types,
        string_agg((head->>'time')::bigint::text, E'\x1f' ORDER BY created_at, id) AS stamps,
        string_agg(
            CASE WHEN head->>'event_id' = 'evt_' || substr(id, 5) THEN '' ELSE head->>'event_id' END,
            E'\x1f' ORDER BY created_at, id
        ) AS keys,
        string_agg(head->>'channels', E'\x1f' ORDER BY created_at, id) AS channel_lists,
        string_agg(start::text, E'\x1f' ORDER BY created_at, id) AS starts,
        string_agg(size::text, E'\x1f' ORDER BY created_at, id) AS sizes,
        string_agg(payload, ''::bytea ORDER BY created_at, id) AS payloads,
        count(*) AS number,
        count(*) FILTER (
            WHERE head->>'type' <> '' AND head->>'event_id' <> '' AND head->>'channels' IS NOT NULL
                AND head->>'time' <> '' AND id ~ '^msg_[0-9A-Za-z]{27}$' AND size > 1
        ) AS whole
    INTO given FROM placed;
    IF given.number <> given.whole THEN
        RAISE 'It is not complete.' USING ERRCODE = '22000';
    END IF;

    SELECT appended.endpoints, appended.asked, appended.heard INTO endpoints, asked, heard
    FROM webhooks.append_1(
        given.ids, given.tenants, given.types, given.stamps, given.keys, given.channel_lists, '', given.starts,
        given.sizes, given.payloads, due_in, true, true, NULL, process, delivers
    ) AS appended;
    moved := given.found;
    RETURN NEXT;
END $$;

-- Moves a row that cannot be read to the dead letters.
CREATE FUNCTION webhooks.bury_outbox_3(only_id text, why text, details text) RETURNS void LANGUAGE sql
AS $$
    WITH gone AS (DELETE FROM webhooks.outbox WHERE id = only_id RETURNING id, tenant, body)
    INSERT INTO webhooks.outbox_dead_letter (id, tenant, body, code, detail)
    SELECT id, tenant, body, why, details FROM gone ON CONFLICT DO NOTHING;
$$;
