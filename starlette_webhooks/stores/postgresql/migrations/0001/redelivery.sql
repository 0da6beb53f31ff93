-- Redelivery.

-- Makes the delivery of an event urgent, ignoring the endpoint's filters. Returns nothing if the tenant has no such event
-- or endpoint, otherwise why the endpoint is disabled, or '' if it is not. A manual attempt does not use a step of the
-- schedule. A running attempt loses its lease.
CREATE FUNCTION webhooks.resend_1(owner text, event_name text, endpoint_name text, moment bigint) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    position bigint;
    target bigint;
    reason text;
BEGIN
    PERFORM webhooks.be_durable_1();
    SELECT no, disabled_reason INTO target, reason FROM webhooks.endpoint WHERE tenant = owner AND id = endpoint_name;
    SELECT seq INTO position FROM webhooks.event WHERE tenant = owner AND id = event_name;
    IF target IS NULL OR reason IS NOT NULL THEN
        RETURN reason;
    ELSIF position IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO webhooks.delivery AS waiting (event, endpoint, due, stamped, attempt, trigger, urgent)
    SELECT position, target, moment, moment, coalesce(max(attempt.number), 0), 'manual', true FROM webhooks.attempt
    WHERE attempt.event = position AND attempt.endpoint = target
    ON CONFLICT (event, endpoint) DO UPDATE
    SET due = moment, stamped = moment, leased_until = 0, step = greatest(waiting.step - 1, 0), trigger = 'manual',
        urgent = true;
    RETURN '';
END $$;

-- Queues deliveries that failed and never succeeded, from a batch of failed attempts. Deliveries that are due soon or
-- running stay unchanged. Returns how many it queued, how many attempts it read, and the last of them.
CREATE FUNCTION webhooks.recover_failed_1(
    target bigint, after text, until text, lowest text, highest text, batch integer, moment bigint, soon bigint
) RETURNS TABLE (queued integer, seen integer, last text)
LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
    PERFORM webhooks.be_durable_1();
    RETURN QUERY
    WITH page AS MATERIALIZED (
        SELECT attempt.id, attempt.event FROM webhooks.attempt
        WHERE attempt.endpoint = target AND NOT attempt.ok AND attempt.id > after
            AND attempt.id < until
        ORDER BY attempt.id LIMIT batch
    ), chosen AS (
        SELECT DISTINCT event.seq FROM page JOIN webhooks.event ON event.seq = page.event
        WHERE event.id >= lowest AND event.id < highest AND NOT event.test
    ), again AS (
        INSERT INTO webhooks.delivery AS waiting (event, endpoint, due, stamped, attempt, trigger)
        SELECT chosen.seq, target, moment, moment, known.number, 'manual'
        FROM chosen CROSS JOIN LATERAL (
            SELECT max(attempt.number) AS number, bool_or(attempt.ok) AS ok FROM webhooks.attempt
            WHERE attempt.event = chosen.seq AND attempt.endpoint = target
        ) AS known
        WHERE NOT known.ok
        ORDER BY chosen.seq
        ON CONFLICT (event, endpoint) DO UPDATE
        SET due = moment, stamped = moment, step = greatest(waiting.step - 1, 0), trigger = 'manual'
        WHERE waiting.due > soon AND waiting.leased_until <= moment
        RETURNING 1
    )
    SELECT (SELECT count(*)::integer FROM again), count(*)::integer, max(page.id) FROM page;
END $$;

-- Queues events that were never attempted, from a batch that matches the endpoint's filters. Returns the same as above.
CREATE FUNCTION webhooks.recover_missing_1(
    target bigint, after text, until text, batch integer, moment bigint
) RETURNS TABLE (queued integer, seen integer, last text)
LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    given webhooks.endpoint;
BEGIN
    PERFORM webhooks.be_durable_1();
    SELECT * INTO given FROM webhooks.endpoint WHERE no = target;
    RETURN QUERY
    WITH page AS MATERIALIZED (
        SELECT event.id, event.seq, event.type, event.channels, event.test FROM webhooks.event
        WHERE event.tenant = given.tenant AND event.id > after AND event.id < until
        ORDER BY event.id LIMIT batch
    ), missing AS (
        INSERT INTO webhooks.delivery (event, endpoint, due, stamped, trigger)
        SELECT page.seq, target, moment, moment, 'manual' FROM page
        WHERE NOT page.test
            AND (json_array_length(given.event_types) = 0
                OR page.type IN (SELECT json_array_elements_text(given.event_types)))
            AND (json_array_length(given.channels) = 0
                OR string_to_array(page.channels, ',') && ARRAY(SELECT json_array_elements_text(given.channels)))
            AND NOT EXISTS (
                SELECT FROM webhooks.attempt WHERE attempt.event = page.seq AND attempt.endpoint = target
            )
        ORDER BY page.seq
        ON CONFLICT DO NOTHING
        RETURNING 1
    )
    SELECT (SELECT count(*)::integer FROM missing), count(*)::integer, max(page.id) FROM page;
END $$;
