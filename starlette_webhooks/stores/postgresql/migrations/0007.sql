-- Works with version 1 and later.
-- Operational events, and warnings to tenants whose endpoints will be disabled. When the last warning was.
ALTER TABLE webhooks.endpoint ADD COLUMN warned_at bigint;

-- Stores events that tell about a change, in the transaction of the change. `notices` is a JSON array of objects.
CREATE FUNCTION webhooks.tell_7(notices json) RETURNS void
LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    given record;
BEGIN
    IF coalesce(json_array_length(notices), 0) = 0 THEN
        RETURN;
    END IF;
    WITH parted AS MATERIALIZED (
        SELECT n, notice, convert_to(notice->>'payload', 'UTF8') AS payload
        FROM json_array_elements(notices) WITH ORDINALITY AS t (notice, n)
    ), placed AS (
        SELECT parted.*, octet_length(payload) AS size,
            sum(octet_length(payload)) OVER (ORDER BY n) - octet_length(payload) + 1 AS start
        FROM parted
    )
    SELECT string_agg(notice->>'id', E'\x1f' ORDER BY n) AS ids,
        string_agg(notice->>'tenant', E'\x1f' ORDER BY n) AS tenants,
        string_agg(notice->>'type', E'\x1f' ORDER BY n) AS types,
        string_agg(notice->>'timestamp', E'\x1f' ORDER BY n) AS stamps,
        string_agg(notice->>'key', E'\x1f' ORDER BY n) AS keys,
        string_agg(start::text, E'\x1f' ORDER BY n) AS starts,
        string_agg(size::text, E'\x1f' ORDER BY n) AS sizes,
        string_agg(payload, ''::bytea ORDER BY n) AS payloads
    INTO given FROM placed;
    PERFORM webhooks.append_1(
        given.ids, given.tenants, given.types, given.stamps, given.keys, '', '', given.starts, given.sizes,
        given.payloads, 0, true, false, NULL, '', true
    );
END $$;

-- Records attempts: removes or reschedules their deliveries if the lease is still held, and updates the state of
-- endpoints. `attempts` is a JSON array of objects. `states` is an array of arrays, for endpoints with a failed attempt:
-- the number, failing_since and disabled_reason at the time of the decision, their new values, since and until when the
-- endpoint is paused, or nulls, and when its tenant was warned, now and at the time of the decision. If the state of an
-- endpoint has changed meanwhile, the endpoint and its attempts stay unchanged and it is returned, so that the decision
-- is repeated. `working` are endpoints whose attempts all succeeded. `notices` are events about endpoints and their
-- deliveries. One that names an attempt is stored if that attempt held its lease.
CREATE FUNCTION webhooks.record_7(attempts json, states json, working bigint[], notices json, moment bigint)
RETURNS bigint[]
LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    decided boolean := json_array_length(states) > 0;
    stale bigint[];
    held text[];
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
            OR endpoint.disabled_reason IS DISTINCT FROM state->>2
            OR endpoint.warned_at IS DISTINCT FROM (state->>8)::bigint;
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
        RETURNING given.id
    ), rescheduled AS (
        UPDATE webhooks.delivery SET
            due = given.due, stamped = given.ended, leased_until = 0, urgent = false, step = delivery.step + 1,
            trigger = CASE delivery.trigger WHEN 'manual' THEN 'scheduled' ELSE delivery.trigger END
        FROM given
        WHERE given.due IS NOT NULL AND delivery.event = given.event AND delivery.endpoint = given.endpoint
            AND delivery.attempt = given.number AND delivery.leased_until > 0
        RETURNING given.id
    ), logged AS (
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
            )
    )
    SELECT array_agg(id) INTO held FROM (SELECT id FROM finished UNION ALL SELECT id FROM rescheduled) AS settled;

    UPDATE webhooks.endpoint SET failing_since = NULL WHERE no = ANY (working) AND failing_since IS NOT NULL;
    IF decided THEN
        UPDATE webhooks.endpoint SET
            failing_since = (state->>3)::bigint, disabled_reason = state->>4,
            paused_at = coalesce((state->>5)::bigint, paused_at),
            paused_until = coalesce((state->>6)::bigint, paused_until),
            warned_at = (state->>7)::bigint,
            updated_at = CASE WHEN disabled_reason IS DISTINCT FROM state->>4 THEN moment ELSE updated_at END
        FROM json_array_elements(states) AS state
        WHERE no = (state->>0)::bigint AND (stale IS NULL OR no <> ALL (stale));
        DELETE FROM webhooks.subscription
        USING json_array_elements(states) AS state JOIN webhooks.endpoint ON endpoint.no = (state->>0)::bigint
        WHERE subscription.endpoint = endpoint.no AND endpoint.disabled_reason IS NOT NULL;
    END IF;
    PERFORM webhooks.tell_7((
        SELECT json_agg(notice ORDER BY n) FROM json_array_elements(notices) WITH ORDINALITY AS given (notice, n)
        WHERE (stale IS NULL OR (notice->>'endpoint')::bigint <> ALL (stale))
            AND (notice->>'attempt' IS NULL OR notice->>'attempt' = ANY (held))
    )) WHERE json_array_length(notices) > 0;
    RETURN stale;
END $$;
