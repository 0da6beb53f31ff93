-- Works with version 1 and later.
-- Reads of the outbox of hosts that do not walk over moved rows, which stay while a transaction is open: see `Horizon`.

-- The time of the first row that is at `floor` or later, or was inserted by one of these transactions, if it has ended.
CREATE FUNCTION webhooks.first_in_outbox_10(floor bigint, numbers xid8[], times bigint[]) RETURNS bigint
LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off
AS $$
DECLARE
    start bigint;
BEGIN
    SELECT least(floor, min(began)) INTO start FROM unnest(numbers, times) AS older (number, began)
    WHERE pg_visible_in_snapshot(number, pg_current_snapshot());
    RETURN (SELECT created_at FROM webhooks.outbox WHERE created_at >= start ORDER BY created_at, id LIMIT 1);
END $$;

-- Whether the process should read the outbox: there are rows, or there may be so many deleted ones that it should learn
-- where to start.
CREATE FUNCTION webhooks.outbox_waits_10(floor bigint, numbers xid8[], times bigint[]) RETURNS boolean
LANGUAGE sql STABLE
AS $$
    SELECT webhooks.first_in_outbox_10(floor, numbers, times) IS NOT NULL OR (
        floor < CAST(extract(epoch FROM statement_timestamp() - interval '10 s') * 1000000 AS bigint)
        AND pg_relation_size('webhooks.outbox') > 262144
    )
$$;

-- The first row as of a snapshot, the time before that, and the number of this transaction if it should get one.
CREATE FUNCTION webhooks.read_outbox_10(floor bigint, numbers xid8[], times bigint[], marks boolean)
RETURNS TABLE (first bigint, moment bigint, mark text, snapshot text)
LANGUAGE plpgsql
AS $$
BEGIN
    moment := CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint);
    IF marks THEN
        mark := pg_current_xact_id()::text;
    END IF;
    SELECT webhooks.first_in_outbox_10(floor, numbers, times), pg_current_snapshot()::text INTO first, snapshot;
    RETURN NEXT;
END $$;

-- See `move_outbox_3`. Moves rows from `since` on, which is where `read_outbox_10` found the first, and before `until`.
-- That is the time before it: a transaction that has ended later may have inserted rows before `since`, and those of the
-- transactions that began after its end must follow them.
CREATE FUNCTION webhooks.move_outbox_10(
    only_id text, since bigint, until bigint, many integer, most_bytes bigint, due_in bigint, process text, delivers boolean
) RETURNS TABLE (moved text[], endpoints bigint[], asked bigint[], heard boolean)
LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    chosen text[];
    places tid[];
    given record;
BEGIN
    PERFORM webhooks.be_durable_1();
    PERFORM webhooks.lock_log_1();
    SELECT array_agg(id), array_agg(place) INTO chosen, places FROM (
        SELECT id, place, sum(octet_length(body)) OVER (ORDER BY created_at, id) - octet_length(body) AS bytes_before
        FROM (
            SELECT id, ctid AS place, body, created_at FROM webhooks.outbox
            WHERE (only_id IS NULL OR id = only_id) AND created_at >= since AND (until IS NULL OR created_at < until)
                AND (substring(body FROM 1 FOR 5) <> '{"v":' OR substring(body FROM 1 FOR 7) = '{"v":1,')
            ORDER BY created_at, id LIMIT many
        ) AS first
    ) AS measured WHERE bytes_before < most_bytes;
    IF chosen IS NULL THEN
        RETURN;
    END IF;

    WITH gone AS (
        -- By their places, since the planner may otherwise read the whole index by time, with all deleted rows.
        DELETE FROM webhooks.outbox WHERE ctid = ANY (places) AND id = ANY (chosen)
        RETURNING id, tenant, body, created_at
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
