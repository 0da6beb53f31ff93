-- Works with version 1 and later.
-- Streams are told of a gap only if it is possible that they have missed something. What was removed of a tenant is
-- therefore noted as a value `removed:` and the SHA-256 of its name: the last position, the id there, and the greatest
-- id. Processes of earlier versions note it, too.

-- Joins two notes about a tenant.
CREATE FUNCTION webhooks.later_removal_12(one bytea, other bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE
AS $$
    SELECT convert_to(concat_ws(' ', max(seq), (array_agg(last ORDER BY seq DESC))[1], max(latest)), 'UTF8')
    FROM (
        SELECT split_part(note, ' ', 1)::bigint AS seq, split_part(note, ' ', 2) AS last,
            split_part(note, ' ', 3) COLLATE "C" AS latest
        FROM (VALUES (convert_from(one, 'UTF8')), (convert_from(other, 'UTF8'))) AS notes (note)
    ) AS parts
$$;

CREATE OR REPLACE FUNCTION webhooks.remove_events_1(positions bigint[]) RETURNS void
LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
    DELETE FROM webhooks.event_channel USING webhooks.event, unnest(string_to_array(event.channels, ',')) AS name
    WHERE event.seq = ANY (positions) AND event.channels IS NOT NULL AND event_channel.tenant = event.tenant
        AND event_channel.channel = name AND event_channel.type = event.type AND event_channel.id = event.id;
    DELETE FROM webhooks.delivery WHERE event = ANY (positions);
    DELETE FROM webhooks.attempt WHERE event = ANY (positions);
    WITH removed AS (
        DELETE FROM webhooks.event WHERE seq = ANY (positions) RETURNING tenant, seq, id
    ), noted AS (
        SELECT 'removed:' || encode(sha256(convert_to(tenant, 'UTF8')), 'hex') AS name,
            max(seq) AS seq, (array_agg(id ORDER BY seq DESC))[1] AS last, max(id) AS latest
        FROM removed GROUP BY tenant
    )
    INSERT INTO webhooks.meta AS known (name, value)
    -- In one order everywhere, so that two processes never wait for each other.
    SELECT name, convert_to(concat_ws(' ', seq, last, latest), 'UTF8') FROM noted ORDER BY name COLLATE "C"
    ON CONFLICT (name) DO UPDATE SET value = webhooks.later_removal_12(known.value, excluded.value);
END $$;
