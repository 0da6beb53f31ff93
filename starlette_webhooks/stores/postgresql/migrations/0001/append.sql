-- Appends events to the log with their deliveries: a whole group commit in one call.
--
-- The lock of the log is acquired here and held until the commit of the same call, so no client ever holds it. Each
-- statement sees what was committed before it began, as in any volatile function at READ COMMITTED. Decisions under the
-- lock therefore see all earlier commits.
--
-- Texts are joined by U+001F, which none of them contains, and payloads are concatenated, with their sizes: arrays would
-- cost the client three times as much. `keyed` says that some events have a key of the host or channels, and `again` that
-- the response to an earlier call with the same events was lost. Returns the positions: only the first one if not keyed,
-- otherwise one per event, negative if the event already existed. With a target, the events are delivered to this
-- endpoint only, ignoring its filters. Test events, for which `tests` is 1, and those with a target are urgent. Also
-- returns which endpoints got urgent deliveries, and whether another process wants a hint, for its streams or to deliver
-- what this process does not.
CREATE FUNCTION webhooks.append_1(
    ids text, tenants text, types text, stamps text, keys text, channel_lists text, tests text, starts text, sizes text,
    payloads bytea, due_in bigint, keyed boolean, again boolean, target text, process text, delivers boolean
) RETURNS TABLE (positions bigint[], endpoints bigint[], asked bigint[], heard boolean)
LANGUAGE plpgsql
-- Plans are made while tables are small and kept while they grow. Disabled scans count as so costly that JIT would start.
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    base bigint;
    many bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE 'The transaction isolation of this role must be READ COMMITTED.' USING ERRCODE = '55000';
    END IF;
    PERFORM webhooks.be_durable_1();
    PERFORM webhooks.lock_log_1();
    SELECT last_value - (NOT is_called)::int INTO base FROM webhooks.event_seq;

    IF NOT keyed THEN
        WITH given AS (
            SELECT * FROM ROWS FROM (
                string_to_table(ids, E'\x1f'), string_to_table(tenants, E'\x1f'), string_to_table(types, E'\x1f'),
                string_to_table(stamps, E'\x1f'), string_to_table(starts, E'\x1f'), string_to_table(sizes, E'\x1f')
            ) WITH ORDINALITY AS t (id, tenant, type, stamp, start, size, n)
        ), stored AS (
            INSERT INTO webhooks.event (seq, id, tenant, type, timestamp, payload)
            SELECT base + n, id, tenant, type, stamp::bigint, substring(payloads FROM start::int FOR size::int)
            FROM given
            RETURNING event.seq, event.tenant, event.type, event.timestamp
        ), queued AS (
            INSERT INTO webhooks.delivery (event, endpoint, due, stamped)
            SELECT stored.seq, subscription.endpoint, stored.timestamp + due_in, stored.timestamp
            FROM stored JOIN webhooks.subscription
                ON subscription.tenant = stored.tenant AND subscription.type IN ('', stored.type)
                AND subscription.channel = ''
            RETURNING endpoint
        )
        SELECT (SELECT count(*) FROM stored), (SELECT array_agg(DISTINCT endpoint) FROM queued)
        INTO many, endpoints;
        positions := ARRAY[base + 1];
    ELSE
        WITH given AS MATERIALIZED (
            SELECT n, id, tenant, type, stamp::bigint AS stamp, nullif(key, '') AS key,
                coalesce(nullif(key, ''), 'evt_' || substr(id, 5)) AS name,
                nullif(channels, '') AS channels, (test IS NOT DISTINCT FROM '1' OR target IS NOT NULL) AS test,
                start::int AS start, size::int AS size
            FROM ROWS FROM (
                string_to_table(ids, E'\x1f'), string_to_table(tenants, E'\x1f'), string_to_table(types, E'\x1f'),
                string_to_table(stamps, E'\x1f'), string_to_table(keys, E'\x1f'),
                string_to_table(channel_lists, E'\x1f'), string_to_table(tests, E'\x1f'),
                string_to_table(starts, E'\x1f'), string_to_table(sizes, E'\x1f')
            ) WITH ORDINALITY AS t (id, tenant, type, stamp, key, channels, test, start, size, n)
        ), known AS MATERIALIZED (
            -- By the host's key; by the key that an event got for which the host gave none; and by its id, if the
            -- answer to an earlier call was lost.
            SELECT given.*, n = first_value(n) OVER (PARTITION BY tenant, name ORDER BY n) AS leads, coalesce(
                CASE WHEN key IS NOT NULL THEN
                    (SELECT seq FROM webhooks.event WHERE event.tenant = given.tenant AND event.event_id = given.key)
                END,
                CASE WHEN key LIKE 'evt\_%' THEN (
                    SELECT seq FROM webhooks.event
                    WHERE event.tenant = given.tenant AND event.id = 'msg_' || substr(given.key, 5)
                ) END,
                CASE WHEN again THEN
                    (SELECT seq FROM webhooks.event WHERE event.tenant = given.tenant AND event.id = given.id)
                END
            ) AS seq
            FROM given
        ), numbered AS MATERIALIZED (
            SELECT known.*, seq IS NULL AND leads AS fresh,
                base + count(*) FILTER (WHERE seq IS NULL AND leads) OVER (ORDER BY n) AS place
            FROM known
        ), fresh AS (
            SELECT * FROM numbered WHERE fresh
        ), stored AS (
            INSERT INTO webhooks.event (seq, id, tenant, type, timestamp, event_id, channels, payload, test)
            SELECT place, id, tenant, type, stamp, key, channels, substring(payloads FROM start FOR size),
                test
            FROM fresh
            RETURNING event.seq, event.id, event.tenant, event.type, event.timestamp, event.channels, event.test
        ), labelled AS (
            INSERT INTO webhooks.event_channel (tenant, channel, type, id, seq)
            SELECT tenant, unnest(string_to_array(channels, ',')), type, id, seq FROM stored
        ), queued AS (
            INSERT INTO webhooks.delivery (event, endpoint, due, stamped, trigger, urgent)
            SELECT DISTINCT stored.seq, subscription.endpoint, stored.timestamp + due_in, stored.timestamp,
                CASE WHEN stored.test THEN 'test' ELSE 'scheduled' END, stored.test
            FROM stored JOIN webhooks.subscription
                ON subscription.tenant = stored.tenant AND subscription.type IN ('', stored.type)
                AND subscription.channel = ANY (array_prepend('', string_to_array(stored.channels, ',')))
            WHERE target IS NULL
            UNION ALL
            SELECT stored.seq, endpoint.no, stored.timestamp + due_in, stored.timestamp, 'test', true
            FROM stored JOIN webhooks.endpoint ON endpoint.tenant = stored.tenant AND endpoint.id = target
            WHERE endpoint.disabled_reason IS NULL
            RETURNING endpoint, urgent
        )
        SELECT
            (SELECT count(*) FROM stored), (SELECT array_agg(DISTINCT endpoint) FROM queued WHERE NOT urgent),
            (SELECT array_agg(DISTINCT endpoint) FROM queued WHERE urgent),
            (SELECT array_agg(CASE WHEN fresh THEN place ELSE -coalesce(seq, first) END ORDER BY n) FROM (
                SELECT numbered.*, first_value(place) OVER (PARTITION BY tenant, name ORDER BY n) AS first FROM numbered
            ) AS answered)
        INTO many, endpoints, asked, positions;
    END IF;

    IF many > 0 THEN
        PERFORM setval('webhooks.event_seq', base + many);
    END IF;
    heard := EXISTS (
        SELECT FROM webhooks.listener
        WHERE until > clock_timestamp() AND name <> process AND (streams OR (coalesce(endpoints, asked) IS NOT NULL AND NOT delivers))
    );
    RETURN NEXT;
END $$;
