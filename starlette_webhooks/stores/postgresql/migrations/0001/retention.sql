-- Removal of old data, and the statistics that are kept. Each call processes one batch.

-- Removes the events at these positions with everything that depends on them.
CREATE FUNCTION webhooks.remove_events_1(positions bigint[]) RETURNS void
LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
    DELETE FROM webhooks.event_channel USING webhooks.event, unnest(string_to_array(event.channels, ',')) AS name
    WHERE event.seq = ANY (positions) AND event.channels IS NOT NULL AND event_channel.tenant = event.tenant
        AND event_channel.channel = name AND event_channel.type = event.type AND event_channel.id = event.id;
    DELETE FROM webhooks.delivery WHERE event = ANY (positions);
    DELETE FROM webhooks.attempt WHERE event = ANY (positions);
    DELETE FROM webhooks.event WHERE seq = ANY (positions);
END $$;

-- Removes events from before `cutoff` without pending deliveries to enabled endpoints, from a batch after `after`.
-- Returns where to continue, or nothing at the end.
CREATE FUNCTION webhooks.prune_1(after bigint, cutoff bigint, batch integer) RETURNS bigint
LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    old bigint[];
    idle bigint[];
BEGIN
    SELECT array_agg(seq ORDER BY seq), array_agg(seq) FILTER (WHERE NOT pending) INTO old, idle
    FROM (
        SELECT page.seq, EXISTS (
            SELECT FROM webhooks.delivery JOIN webhooks.endpoint ON endpoint.no = delivery.endpoint
            WHERE delivery.event = page.seq AND endpoint.disabled_reason IS NULL AND delivery.due < 9007199254740991
        ) AS pending
        FROM (SELECT seq, timestamp FROM webhooks.event WHERE seq > after ORDER BY seq LIMIT batch) AS page
        WHERE page.timestamp < cutoff
    ) AS found;
    PERFORM webhooks.remove_events_1(idle) WHERE idle IS NOT NULL;
    IF coalesce(cardinality(old), 0) < batch THEN
        DELETE FROM webhooks.endpoint_hour WHERE hour < cutoff;
        RETURN NULL;
    END IF;
    RETURN old[batch];
END $$;

-- Removes a batch of a tenant's events. Returns whether there were any.
CREATE FUNCTION webhooks.erase_events_1(owner text, batch integer) RETURNS boolean
LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off
AS $$
DECLARE
    found bigint[];
BEGIN
    SELECT array_agg(seq) INTO found FROM (SELECT seq FROM webhooks.event WHERE tenant = owner LIMIT batch) AS page;
    PERFORM webhooks.remove_events_1(found) WHERE found IS NOT NULL;
    RETURN found IS NOT NULL;
END $$;

-- Removes a batch of a deleted endpoint's deliveries and attempts. Returns whether there were any.
CREATE FUNCTION webhooks.delete_leftovers_1(number bigint, batch integer) RETURNS boolean
LANGUAGE sql
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
    WITH deliveries AS (
        DELETE FROM webhooks.delivery
        WHERE (event, endpoint) IN (
            SELECT event, endpoint FROM webhooks.delivery WHERE endpoint = number LIMIT batch FOR UPDATE SKIP LOCKED
        ) RETURNING 1
    ), attempts AS (
        DELETE FROM webhooks.attempt
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM webhooks.attempt WHERE endpoint = number LIMIT batch))
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM deliveries) OR EXISTS (SELECT FROM attempts);
$$;

-- The numbers of deleted endpoints that still have deliveries or attempts, because their removal was interrupted or
-- events were committed meanwhile.
CREATE FUNCTION webhooks.orphans_1() RETURNS SETOF bigint
LANGUAGE sql STABLE
SET jit = off SET enable_seqscan = off
AS $$
    WITH RECURSIVE delivering (found) AS (
        SELECT (SELECT endpoint FROM webhooks.delivery ORDER BY endpoint LIMIT 1)
        UNION ALL
        SELECT (SELECT endpoint FROM webhooks.delivery WHERE endpoint > found ORDER BY endpoint LIMIT 1)
        FROM delivering WHERE found IS NOT NULL
    ), attempted (found) AS (
        SELECT (SELECT endpoint FROM webhooks.attempt ORDER BY endpoint LIMIT 1)
        UNION ALL
        SELECT (SELECT endpoint FROM webhooks.attempt WHERE endpoint > found ORDER BY endpoint LIMIT 1)
        FROM attempted WHERE found IS NOT NULL
    )
    SELECT found FROM (SELECT found FROM delivering UNION SELECT found FROM attempted) AS numbers
    WHERE found IS NOT NULL AND NOT EXISTS (SELECT FROM webhooks.endpoint WHERE no = found);
$$;

-- Counts the attempts of a past hour, whose ids are from `low` to below `high`. If every record updated a row per endpoint
-- and hour, that row would be hot. The last hours are therefore counted on request, and the others here, once. Returns
-- the hour to continue with.
CREATE FUNCTION webhooks.roll_up_1(hour bigint, low text, high text) RETURNS bigint
LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off
AS $$
DECLARE
    begun bigint;
BEGIN
    SELECT counted_until INTO begun FROM webhooks.rollup FOR UPDATE;
    IF begun <> hour THEN
        RETURN begun;
    END IF;
    INSERT INTO webhooks.endpoint_hour (endpoint, hour, success, fail)
    SELECT endpoint.no, roll_up_1.hour, counts.success, counts.fail
    FROM webhooks.endpoint CROSS JOIN LATERAL (
        SELECT
            (SELECT count(*) FROM webhooks.attempt
             WHERE attempt.endpoint = endpoint.no AND attempt.ok AND attempt.id >= low AND attempt.id < high) AS success,
            (SELECT count(*) FROM webhooks.attempt
             WHERE attempt.endpoint = endpoint.no AND NOT attempt.ok AND attempt.id >= low AND attempt.id < high) AS fail
    ) AS counts
    WHERE counts.success + counts.fail > 0
    ON CONFLICT DO NOTHING;
    UPDATE webhooks.rollup SET counted_until = counted_until + 3600000 RETURNING counted_until INTO begun;
    RETURN begun;
END $$;
