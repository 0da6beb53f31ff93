-- Works with version 1 and later.
-- The server of an endpoint that has accepted a delivery, NULL before the first 2xx. Existing endpoints prove themselves
-- with their next success.
ALTER TABLE webhooks.endpoint ADD COLUMN proven_server text COLLATE "C";

-- The endpoints with these numbers that are enabled and have deliveries, with what an attempt needs, and when their first
-- unleased delivery is due or their first lease ends. Optionally only for urgent deliveries.
-- Nothing that was due before the floor of its endpoint is looked at: while somebody holds an old snapshot, the rows of
-- all deliveries made since then stand in front.
CREATE FUNCTION webhooks.candidates_6(endpoints bigint[], floors bigint[], moment bigint, only_urgent boolean) RETURNS TABLE (
    no bigint, id text, tenant text, url text, headers text, failing boolean, due bigint, keys text,
    proven_server text, rate_limit integer, paced_until double precision, paused_at bigint, paused_until bigint
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
        endpoint.proven_server, endpoint.rate_limit, endpoint.paced_until, endpoint.paused_at, endpoint.paused_until
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
CREATE FUNCTION webhooks.due_6(after bigint, endpoints integer, moment bigint)
RETURNS TABLE (
    number bigint, due bigint, failing boolean, url text, proven_server text,
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
        endpoint.failing_since IS NOT NULL, endpoint.url, endpoint.proven_server, endpoint.rate_limit,
        endpoint.paced_until, endpoint.paused_at, endpoint.paused_until
    FROM waiting
    LEFT JOIN webhooks.endpoint ON endpoint.no = waiting.endpoint AND endpoint.disabled_reason IS NULL;
END $$;

-- Subscribes an endpoint to what it receives. Only the difference is written: there may be a thousand rows.
CREATE OR REPLACE FUNCTION webhooks.subscribe_1(number bigint) RETURNS void LANGUAGE sql AS $$
    WITH wanted AS MATERIALIZED (
        SELECT DISTINCT endpoint.tenant, type, channel
        FROM webhooks.endpoint,
            json_array_elements_text(
                CASE json_array_length(endpoint.event_types) WHEN 0 THEN '[""]' ELSE endpoint.event_types END
            ) AS type,
            json_array_elements_text(
                CASE json_array_length(endpoint.channels) WHEN 0 THEN '[""]' ELSE endpoint.channels END
            ) AS channel
        WHERE endpoint.no = number AND endpoint.disabled_reason IS NULL
    ), others AS (
        DELETE FROM webhooks.subscription AS old WHERE old.endpoint = number AND NOT EXISTS (
            SELECT FROM wanted WHERE wanted.type = old.type AND wanted.channel = old.channel
        )
    )
    INSERT INTO webhooks.subscription (tenant, type, channel, endpoint)
    SELECT tenant, type, channel, number FROM wanted
    ON CONFLICT DO NOTHING;
$$;
