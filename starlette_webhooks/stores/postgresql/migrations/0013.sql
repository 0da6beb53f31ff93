-- Works with version 1 and later.
-- Removes old events like `prune_1`, which processes of earlier versions continue to call. That one ends at the first batch
-- with an event that is not old. If the clock was ahead for a while, old ones follow: `moment` is the time now.
CREATE FUNCTION webhooks.prune_13(after bigint, cutoff bigint, moment bigint, batch integer) RETURNS bigint
LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    idle bigint[];
    last bigint;
    continues boolean;
BEGIN
    SELECT array_agg(seq) FILTER (WHERE old AND NOT pending), max(seq), bool_or(old OR timestamp > moment)
    INTO idle, last, continues
    FROM (
        SELECT seq, timestamp, timestamp < cutoff AS old, timestamp < cutoff AND EXISTS (
            SELECT FROM webhooks.delivery JOIN webhooks.endpoint ON endpoint.no = delivery.endpoint
            WHERE delivery.event = page.seq AND endpoint.disabled_reason IS NULL AND delivery.due < 9007199254740991
        ) AS pending
        FROM (SELECT seq, timestamp FROM webhooks.event WHERE seq > after ORDER BY seq LIMIT batch) AS page
    ) AS found;
    PERFORM webhooks.remove_events_1(idle) WHERE idle IS NOT NULL;
    IF continues THEN
        RETURN last;
    END IF;
    DELETE FROM webhooks.endpoint_hour WHERE hour < cutoff;
    RETURN NULL;
END $$;
