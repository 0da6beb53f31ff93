-- Stores events in the outbox, all in one commit, and returns those that already existed.
CREATE FUNCTION webhooks.outbox_put_2(
    tenants text[], keys text[], types text[], stamps bigint[], labels text[], payloads bytea[]
) RETURNS SETOF webhooks.svix_outbox
LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
    PERFORM webhooks.be_durable_1();
    PERFORM webhooks.lock_outbox_2();
    RETURN QUERY
    SELECT existing.* FROM (SELECT DISTINCT * FROM unnest(tenants, keys)) AS given (tenant, key)
    JOIN webhooks.svix_outbox AS existing ON existing.tenant = given.tenant AND existing.event_id = given.key;
    INSERT INTO webhooks.svix_outbox (seq, tenant, event_id, type, timestamp, channels, payload)
    SELECT nextval('webhooks.svix_outbox_seq'), tenant, key, type, stamp, label, payload
    FROM (
        SELECT * FROM unnest(tenants, keys, types, stamps, labels, payloads)
            WITH ORDINALITY AS given (tenant, key, type, stamp, label, payload, n)
        ORDER BY n
    ) AS sorted
    ON CONFLICT (tenant, event_id) DO NOTHING;
END $$;

-- The lock for assigning positions in the outbox, held until the transaction ends.
CREATE FUNCTION webhooks.lock_outbox_2() RETURNS void LANGUAGE sql
AS $$ SELECT pg_advisory_xact_lock((5748::bigint << 32) + 'webhooks.svix_outbox_seq'::regclass::oid::bigint) $$;

-- Records the results of events. Returns whether it did, which is false if another process relays now. Term 0 is always
-- recorded.
CREATE FUNCTION webhooks.outbox_settle_2(settled json, given_term bigint) RETURNS boolean
LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
    IF given_term > 0 AND NOT EXISTS (SELECT FROM webhooks.relay WHERE name = 'svix' AND term = given_term) THEN
        RETURN false;
    END IF;
    PERFORM webhooks.be_durable_1();
    UPDATE webhooks.svix_outbox AS entry SET
        state = given.state, settled_at = given.settled_at, keep_until = given.keep_until, check_at = given.check_at,
        message_id = given.message_id, timestamp = coalesce(given.timestamp, entry.timestamp),
        code = given.code, detail = given.detail,
        -- Svix already had another event with this `event_id`.
        type = coalesce(given.type, entry.type),
        channels = CASE WHEN given.payload IS NULL THEN entry.channels ELSE given.channels END,
        payload = coalesce(convert_to(given.payload, 'UTF8'), entry.payload)
    FROM json_to_recordset(settled) AS given (
        seq bigint, state integer, settled_at bigint, keep_until bigint, check_at bigint, message_id text,
        timestamp bigint, code text, detail text, type text, channels text, payload text
    )
    WHERE entry.seq = given.seq AND (given.state = 1 OR entry.state = 0);
    RETURN true;
END $$;

-- Records an event that Svix accepted without the outbox.
CREATE FUNCTION webhooks.outbox_record_2(
    given_tenant text, key text, given_type text, stamp bigint, label text, body bytea,
    message text, moment bigint, keep bigint, check_moment bigint
) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM webhooks.be_durable_1();
    PERFORM webhooks.lock_outbox_2();
    INSERT INTO webhooks.svix_outbox AS entry (
        seq, tenant, event_id, type, timestamp, channels, payload, state, message_id, settled_at, keep_until, check_at
    ) VALUES (
        nextval('webhooks.svix_outbox_seq'), given_tenant, key, given_type, stamp, label, body, 1, message, moment, keep,
        check_moment
    )
    ON CONFLICT (tenant, event_id) DO UPDATE SET
        state = 1, message_id = message, settled_at = moment, keep_until = keep, check_at = check_moment;
END $$;

-- The tenants with waiting events: one seek per tenant, however many events it has.
CREATE FUNCTION webhooks.outbox_tenants_2() RETURNS SETOF text
LANGUAGE sql STABLE
SET jit = off SET enable_seqscan = off
AS $$
    WITH RECURSIVE waiting (tenant) AS (
        (SELECT tenant FROM webhooks.svix_outbox WHERE state = 0 ORDER BY tenant LIMIT 1)
        UNION ALL
        SELECT (
            SELECT next.tenant FROM webhooks.svix_outbox AS next
            WHERE next.state = 0 AND next.tenant > waiting.tenant ORDER BY next.tenant LIMIT 1
        ) FROM waiting WHERE waiting.tenant IS NOT NULL
    )
    SELECT tenant FROM waiting WHERE tenant IS NOT NULL;
$$;
