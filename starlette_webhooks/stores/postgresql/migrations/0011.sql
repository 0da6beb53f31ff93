-- Works with version 1 and later.
-- Moves events like `move_outbox_10`, which processes of earlier versions continue to call, and notes the trace contexts in
-- which they were emitted: attempts link to them.
CREATE FUNCTION webhooks.move_outbox_11(
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
        -- Parsed once, rather than once for each field.
        SELECT gone.id, gone.tenant, gone.created_at, head.*,
            substring(body FROM position('\x0a'::bytea IN body) + 1) AS payload
        FROM gone CROSS JOIN LATERAL json_to_record(
            convert_from(substring(body FROM 1 FOR position('\x0a'::bytea IN body) - 1), 'UTF8')::json
        ) AS head ("type" text, "time" text, event_id text, channels text, trace text)
    ), placed AS (
        SELECT parted.*, octet_length(payload) AS size,
            sum(octet_length(payload)) OVER (ORDER BY created_at, id) - octet_length(payload) + 1 AS start
        FROM parted
    )
    SELECT array_agg(id ORDER BY created_at, id) AS found,
        string_agg(id, E'\x1f' ORDER BY created_at, id) AS ids,
        string_agg(tenant, E'\x1f' ORDER BY created_at, id) AS tenants,
        string_agg("type", E'\x1f' ORDER BY created_at, id) AS types,
        string_agg("time"::bigint::text, E'\x1f' ORDER BY created_at, id) AS stamps,
        string_agg(
            CASE WHEN event_id = 'evt_' || substr(id, 5) THEN '' ELSE event_id END, E'\x1f' ORDER BY created_at, id
        ) AS keys,
        string_agg(channels, E'\x1f' ORDER BY created_at, id) AS channel_lists,
        string_agg(start::text, E'\x1f' ORDER BY created_at, id) AS starts,
        string_agg(size::text, E'\x1f' ORDER BY created_at, id) AS sizes,
        string_agg(payload, ''::bytea ORDER BY created_at, id) AS payloads,
        -- Other code may have written the row.
        string_agg(
            CASE WHEN trace ~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$' THEN trace ELSE '' END,
            E'\x1f' ORDER BY created_at, id
        ) AS traces,
        count(trace) AS traced,
        count(*) AS number,
        count(*) FILTER (
            WHERE "type" <> '' AND event_id <> '' AND channels IS NOT NULL AND "time" <> ''
                AND id ~ '^msg_[0-9A-Za-z]{27}$' AND size > 1
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
    IF given.traced > 0 THEN
        PERFORM webhooks.note_traces_8(given.ids, given.tenants, given.traces);
    END IF;
    moved := given.found;
    RETURN NEXT;
END $$;
