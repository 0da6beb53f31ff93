-- Endpoints, and the subscriptions of enabled ones. Columns with JSON keep the order of keys.

CREATE FUNCTION webhooks.subscribe_1(number bigint) RETURNS void LANGUAGE sql AS $$
    DELETE FROM webhooks.subscription WHERE endpoint = number;
    INSERT INTO webhooks.subscription (tenant, type, channel, endpoint)
    SELECT DISTINCT endpoint.tenant, type, channel, endpoint.no
    FROM webhooks.endpoint,
        json_array_elements_text(
            CASE json_array_length(endpoint.event_types) WHEN 0 THEN '[""]' ELSE endpoint.event_types END
        ) AS type,
        json_array_elements_text(
            CASE json_array_length(endpoint.channels) WHEN 0 THEN '[""]' ELSE endpoint.channels END
        ) AS channel
    WHERE endpoint.no = number AND endpoint.disabled_reason IS NULL;
$$;

-- Creates an endpoint from a document of its columns. Returns the tenant's number of endpoints if there are too many,
-- otherwise nothing.
CREATE FUNCTION webhooks.create_endpoint_1(document json, secret text, allowed integer, moment bigint) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    owner text := document->>'tenant';
    many integer;
    number bigint;
BEGIN
    PERFORM webhooks.be_durable_1();
    -- Otherwise two concurrent calls could both find a free place.
    PERFORM pg_advisory_xact_lock(hashtextextended(owner, 'webhooks.endpoint'::regclass::oid::bigint));
    SELECT count(*) INTO many FROM webhooks.endpoint WHERE tenant = owner;
    IF many >= allowed THEN
        RETURN many;
    END IF;
    INSERT INTO webhooks.endpoint (
        id, tenant, url, description, event_types, channels, disabled_reason, rate_limit, metadata, headers,
        created_at, updated_at
    ) VALUES (
        document->>'id', owner, document->>'url', document->>'description', document->'event_types',
        document->'channels', document->>'disabled_reason', (document->>'rate_limit')::integer, document->'metadata',
        document->'headers', moment, moment
    ) RETURNING no INTO number;
    INSERT INTO webhooks.endpoint_secret (endpoint, created_at, key) VALUES (number, moment, secret);
    PERFORM webhooks.subscribe_1(number);
    RETURN NULL;
END $$;

-- Changes the columns of an endpoint that `changes` names. Enabling it resets its failures.
CREATE FUNCTION webhooks.update_endpoint_1(
    owner text, name text, changes jsonb, texts json, moment bigint
) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
BEGIN
    PERFORM webhooks.be_durable_1();
    UPDATE webhooks.endpoint SET
        url = coalesce(changes->>'url', url),
        description = coalesce(changes->>'description', description),
        event_types = coalesce(texts->'event_types', event_types),
        channels = coalesce(texts->'channels', channels),
        rate_limit = CASE WHEN changes ? 'rate_limit' THEN (changes->>'rate_limit')::integer ELSE rate_limit END,
        metadata = coalesce(texts->'metadata', metadata),
        headers = coalesce(texts->'headers', headers),
        failing_since = CASE
            WHEN changes->>'disabled' = 'false' AND disabled_reason IS NOT NULL THEN NULL ELSE failing_since
        END,
        disabled_reason = CASE changes->>'disabled'
            WHEN 'true' THEN coalesce(disabled_reason, 'manual') WHEN 'false' THEN NULL ELSE disabled_reason
        END,
        updated_at = moment
    WHERE tenant = owner AND id = name
    RETURNING no INTO number;
    IF number IS NOT NULL THEN
        PERFORM webhooks.subscribe_1(number);
    END IF;
    RETURN number IS NOT NULL;
END $$;

-- Deletes an endpoint. Returns its number, under which its deliveries and attempts remain.
CREATE FUNCTION webhooks.delete_endpoint_1(owner text, name text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
BEGIN
    PERFORM webhooks.be_durable_1();
    DELETE FROM webhooks.endpoint WHERE tenant = owner AND id = name RETURNING no INTO number;
    DELETE FROM webhooks.subscription WHERE endpoint = number;
    DELETE FROM webhooks.endpoint_secret WHERE endpoint = number;
    DELETE FROM webhooks.endpoint_hour WHERE endpoint = number;
    RETURN number;
END $$;

-- Makes `fresh` the secret of an endpoint. Returns `none` if there is no such endpoint, `same` if it already is the
-- secret, `many` if too many earlier ones are still valid, and otherwise nothing.
CREATE FUNCTION webhooks.rotate_secret_1(
    owner text, name text, fresh text, allowed integer, expiry bigint, moment bigint
) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
    live integer;
BEGIN
    PERFORM webhooks.be_durable_1();
    SELECT no INTO number FROM webhooks.endpoint WHERE tenant = owner AND id = name FOR UPDATE;
    IF number IS NULL THEN
        RETURN 'none';
    END IF;
    DELETE FROM webhooks.endpoint_secret WHERE endpoint = number AND expires_at <= moment;
    SELECT count(*) INTO live FROM webhooks.endpoint_secret WHERE endpoint = number;
    IF live >= allowed THEN
        RETURN 'many';
    ELSIF EXISTS (
        SELECT FROM webhooks.endpoint_secret WHERE endpoint = number AND expires_at IS NULL AND key = fresh
    ) THEN
        RETURN 'same';
    END IF;
    UPDATE webhooks.endpoint_secret SET expires_at = expiry WHERE endpoint = number AND expires_at IS NULL;
    INSERT INTO webhooks.endpoint_secret (endpoint, created_at, key) VALUES (number, moment, fresh);
    RETURN NULL;
END $$;
