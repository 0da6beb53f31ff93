-- Records attempts: removes or reschedules their deliveries if the lease is still held, and updates the state of
-- endpoints. `attempts` is a JSON array of objects. `states` is an array of arrays, for endpoints with a failed attempt:
-- the number, failing_since and disabled_reason at the time of the decision, their new values, and since and until when
-- the endpoint is paused, or nulls. If the state of an endpoint has changed meanwhile, the endpoint and its attempts stay
-- unchanged and it is returned, so that the decision is repeated. `working` are endpoints whose attempts all succeeded.
-- `notices` are the events about disabled endpoints.
CREATE FUNCTION webhooks.record_1(attempts json, states json, working bigint[], notices json, moment bigint)
RETURNS bigint[]
LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    decided boolean := json_array_length(states) > 0;
    stale bigint[];
    notice json;
BEGIN
    PERFORM webhooks.be_durable_1();
    -- In order of numbers, so that no two calls deadlock.
    IF decided THEN
        PERFORM FROM webhooks.endpoint
        WHERE no IN (SELECT (state->>0)::bigint FROM json_array_elements(states) AS state)
            OR (no = ANY (working) AND failing_since IS NOT NULL)
        ORDER BY no FOR UPDATE;
        SELECT array_agg(endpoint.no) INTO stale
        FROM json_array_elements(states) AS state JOIN webhooks.endpoint ON endpoint.no = (state->>0)::bigint
        WHERE endpoint.failing_since IS DISTINCT FROM (state->>1)::bigint
            OR endpoint.disabled_reason IS DISTINCT FROM state->>2;
    ELSE
        PERFORM FROM webhooks.endpoint WHERE no = ANY (working) AND failing_since IS NOT NULL ORDER BY no FOR UPDATE;
    END IF;

    WITH given AS MATERIALIZED (
        SELECT * FROM json_to_recordset(attempts) AS t (
            id text, event bigint, endpoint bigint, ok boolean, number integer, ended bigint, started bigint,
            status integer, ms integer, url text, response text, error text, trigger text, due bigint, last boolean
        )
        WHERE stale IS NULL OR endpoint <> ALL (stale)
    ), finished AS (
        DELETE FROM webhooks.delivery USING given
        WHERE given.due IS NULL AND delivery.event = given.event AND delivery.endpoint = given.endpoint
            AND delivery.attempt = given.number AND delivery.leased_until > 0
    ), rescheduled AS (
        UPDATE webhooks.delivery SET
            due = given.due, stamped = given.ended, leased_until = 0, urgent = false, step = delivery.step + 1,
            trigger = CASE delivery.trigger WHEN 'manual' THEN 'scheduled' ELSE delivery.trigger END
        FROM given
        WHERE given.due IS NOT NULL AND delivery.event = given.event AND delivery.endpoint = given.endpoint
            AND delivery.attempt = given.number AND delivery.leased_until > 0
        RETURNING given.id
    )
    INSERT INTO webhooks.attempt (
        id, event, endpoint, ok, number, timestamp, status_code, duration_ms, url, response, error, trigger,
        next_attempt_at
    )
    SELECT given.id, given.event, given.endpoint, given.ok, given.number, given.started, given.status, given.ms,
        given.url, given.response, given.error, given.trigger,
        CASE WHEN given.due IS NOT NULL AND NOT given.last
            THEN (SELECT given.due FROM rescheduled WHERE rescheduled.id = given.id) END
    FROM given
    -- Records of a removed endpoint or event are dropped.
    WHERE EXISTS (SELECT FROM webhooks.endpoint WHERE no = given.endpoint)
        AND EXISTS (SELECT FROM webhooks.event WHERE seq = given.event)
        -- The response to an earlier call may have been lost.
        AND NOT EXISTS (
            SELECT FROM webhooks.attempt AS before
            WHERE before.endpoint = given.endpoint AND before.ok = given.ok AND before.id = given.id
        );

    UPDATE webhooks.endpoint SET failing_since = NULL WHERE no = ANY (working) AND failing_since IS NOT NULL;
    IF decided THEN
        UPDATE webhooks.endpoint SET
            failing_since = (state->>3)::bigint, disabled_reason = state->>4,
            paused_at = coalesce((state->>5)::bigint, paused_at),
            paused_until = coalesce((state->>6)::bigint, paused_until),
            updated_at = CASE WHEN disabled_reason IS DISTINCT FROM state->>4 THEN moment ELSE updated_at END
        FROM json_array_elements(states) AS state
        WHERE no = (state->>0)::bigint AND (stale IS NULL OR no <> ALL (stale));
        DELETE FROM webhooks.subscription
        USING json_array_elements(states) AS state JOIN webhooks.endpoint ON endpoint.no = (state->>0)::bigint
        WHERE subscription.endpoint = endpoint.no AND endpoint.disabled_reason IS NOT NULL;
        FOR notice IN SELECT * FROM json_array_elements(notices) LOOP
            IF stale IS NULL OR (notice->>'endpoint')::bigint <> ALL (stale) THEN
                PERFORM webhooks.append_1(
                    notice->>'id', notice->>'tenant', notice->>'type', notice->>'timestamp', '', '', '', '1',
                    octet_length(notice->>'payload')::text, convert_to(notice->>'payload', 'UTF8'), 0, true, false, NULL,
                    '', true
                );
            END IF;
        END LOOP;
    END IF;
    RETURN stale;
END $$;
