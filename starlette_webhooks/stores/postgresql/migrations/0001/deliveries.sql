-- The queue of deliveries. Requesting endpoints are passed as an array, so that a claim of any size costs two calls.

-- The endpoints with these numbers that are enabled and have deliveries, with what an attempt needs, and when their first
-- unleased delivery is due or their first lease ends. Optionally only for urgent deliveries.
-- Nothing that was due before the floor of its endpoint is looked at: while somebody holds an old snapshot, the rows of
-- all deliveries made since then stand in front.
CREATE FUNCTION webhooks.candidates_1(endpoints bigint[], floors bigint[], moment bigint, only_urgent boolean) RETURNS TABLE (
    no bigint, id text, tenant text, url text, headers text, failing boolean, due bigint, keys text,
    rate_limit integer, paced_until double precision, paused_at bigint, paused_until bigint
)
LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN QUERY
    SELECT
        endpoint.no, endpoint.id, endpoint.tenant, endpoint.url, endpoint.headers::text,
        endpoint.failing_since IS NOT NULL, first.due,
        (SELECT string_agg(secret.key, ' ' ORDER BY secret.expires_at DESC NULLS FIRST)
         FROM webhooks.endpoint_secret AS secret
         WHERE secret.endpoint = endpoint.no AND (secret.expires_at IS NULL OR secret.expires_at > moment)),
        endpoint.rate_limit, endpoint.paced_until, endpoint.paused_at, endpoint.paused_until
    FROM unnest(endpoints, floors) AS given (no, floor) JOIN webhooks.endpoint ON endpoint.no = given.no
    CROSS JOIN LATERAL (
        SELECT CASE WHEN only_urgent THEN (
            SELECT delivery.due FROM webhooks.delivery
            WHERE delivery.urgent AND delivery.endpoint = endpoint.no AND delivery.leased_until <= moment
            ORDER BY delivery.due LIMIT 1
        ) ELSE coalesce(
            (SELECT delivery.due FROM webhooks.delivery
             WHERE delivery.endpoint = endpoint.no AND delivery.due >= given.floor AND delivery.leased_until <= moment
             ORDER BY delivery.due LIMIT 1),
            (SELECT min(delivery.leased_until) FROM webhooks.delivery
             WHERE delivery.endpoint = endpoint.no AND delivery.due >= given.floor)
        ) END AS due
    ) AS first
    WHERE endpoint.disabled_reason IS NULL AND first.due IS NOT NULL;
END $$;

-- The next endpoints by number that have deliveries, at most `endpoints`: one seek per endpoint, however many deliveries it
-- has. For disabled endpoints, only the number. Nothing if there are no more.
CREATE FUNCTION webhooks.due_1(after bigint, endpoints integer, moment bigint)
RETURNS TABLE (
    number bigint, due bigint, failing boolean,
    rate_limit integer, paced_until double precision, paused_at bigint, paused_until bigint
)
LANGUAGE plpgsql STABLE
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN QUERY
    WITH RECURSIVE waiting (endpoint, place) AS (
        SELECT (SELECT endpoint FROM webhooks.delivery WHERE endpoint > after ORDER BY endpoint LIMIT 1), 1
        UNION ALL
        SELECT (
            SELECT delivery.endpoint FROM webhooks.delivery
            WHERE delivery.endpoint > waiting.endpoint ORDER BY delivery.endpoint LIMIT 1
        ), place + 1
        FROM waiting WHERE waiting.endpoint IS NOT NULL AND place < endpoints
    )
    SELECT
        waiting.endpoint,
        coalesce(
            (SELECT delivery.due FROM webhooks.delivery
             WHERE delivery.endpoint = endpoint.no AND delivery.leased_until <= moment
             ORDER BY delivery.due LIMIT 1),
            (SELECT min(delivery.leased_until) FROM webhooks.delivery WHERE delivery.endpoint = endpoint.no)
        ),
        endpoint.failing_since IS NOT NULL, endpoint.rate_limit, endpoint.paced_until, endpoint.paused_at,
        endpoint.paused_until
    FROM waiting
    LEFT JOIN webhooks.endpoint ON endpoint.no = waiting.endpoint AND endpoint.disabled_reason IS NULL;
END $$;

-- Leases due deliveries, as many per endpoint as it has slots. For an endpoint with a rate limit, only one process leases
-- at a time, and only if the pace is unchanged since the slots were allocated. The pace then continues at `starts`, by
-- the milliseconds in `intervals` per lease. Returns the events, each with its leases as
-- `endpoint:attempt:step:trigger`. If an event was removed, its columns are empty.
CREATE FUNCTION webhooks.lease_1(
    endpoints bigint[], floors bigint[], slots integer[], paces double precision[], starts double precision[],
    intervals double precision[], moment bigint, lease bigint
) RETURNS TABLE (seq bigint, id text, type text, payload bytea, leases text)
LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    paced bigint[];
BEGIN
    IF array_remove(paces, NULL) <> '{}' THEN
        SELECT array_agg(locked.no) INTO paced FROM (
            SELECT endpoint.no FROM unnest(endpoints, paces) AS given (no, pace)
            JOIN webhooks.endpoint ON endpoint.no = given.no AND endpoint.paced_until = given.pace
            FOR UPDATE OF endpoint SKIP LOCKED
        ) AS locked;
    END IF;
    RETURN QUERY
    WITH picked AS MATERIALIZED (
        SELECT due.event, given.no
        FROM unnest(endpoints, floors, slots, paces) AS given (no, floor, slots, pace)
        CROSS JOIN LATERAL (
            SELECT delivery.event FROM webhooks.delivery
            WHERE delivery.endpoint = given.no AND delivery.due >= given.floor AND delivery.due <= moment
                AND delivery.leased_until <= moment
            ORDER BY delivery.due, delivery.event LIMIT given.slots FOR UPDATE SKIP LOCKED
        ) AS due
        WHERE given.pace IS NULL OR given.no = ANY (paced)
    ), leased AS (
        UPDATE webhooks.delivery SET leased_until = lease, stamped = moment, attempt = attempt + 1
        FROM picked WHERE delivery.event = picked.event AND delivery.endpoint = picked.no
        RETURNING delivery.event, delivery.endpoint, delivery.attempt, delivery.step, delivery.trigger
    ), pacing AS (
        UPDATE webhooks.endpoint SET paced_until = counted.start + counted.leased * counted.step
        FROM (
            SELECT given.no, given.start, given.step, count(*) AS leased
            FROM unnest(endpoints, paces, starts, intervals) AS given (no, pace, start, step)
            JOIN leased ON leased.endpoint = given.no
            WHERE given.pace IS NOT NULL GROUP BY given.no, given.start, given.step
        ) AS counted
        WHERE endpoint.no = counted.no
    )
    SELECT grouped.event, event.id, event.type, event.payload, grouped.leases
    FROM (
        SELECT leased.event,
            string_agg(concat_ws(':', leased.endpoint, leased.attempt, leased.step, leased.trigger), ',') AS leases
        FROM leased GROUP BY leased.event
    ) AS grouped LEFT JOIN webhooks.event ON event.seq = grouped.event;
END $$;

-- Leases urgent deliveries, ignoring rate limits and pauses. Returns the same as the previous function.
CREATE FUNCTION webhooks.lease_urgent_1(endpoints bigint[], slots integer[], moment bigint, lease bigint)
RETURNS TABLE (seq bigint, id text, type text, payload bytea, leases text)
LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN QUERY
    WITH picked AS MATERIALIZED (
        SELECT due.event, given.no
        FROM unnest(endpoints, slots) AS given (no, slots)
        CROSS JOIN LATERAL (
            SELECT delivery.event FROM webhooks.delivery
            WHERE delivery.urgent AND delivery.endpoint = given.no AND delivery.due <= moment
                AND delivery.leased_until <= moment
            ORDER BY delivery.due, delivery.event LIMIT given.slots FOR UPDATE SKIP LOCKED
        ) AS due
    ), leased AS (
        UPDATE webhooks.delivery SET leased_until = lease, stamped = moment, attempt = attempt + 1
        FROM picked WHERE delivery.event = picked.event AND delivery.endpoint = picked.no
        RETURNING delivery.event, delivery.endpoint, delivery.attempt, delivery.step, delivery.trigger
    )
    SELECT grouped.event, event.id, event.type, event.payload, grouped.leases
    FROM (
        SELECT leased.event,
            string_agg(concat_ws(':', leased.endpoint, leased.attempt, leased.step, leased.trigger), ',') AS leases
        FROM leased GROUP BY leased.event
    ) AS grouped LEFT JOIN webhooks.event ON event.seq = grouped.event;
END $$;
