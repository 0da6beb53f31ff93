-- name: list
SELECT id, tenant, url, description, event_types::text, channels::text, disabled_reason, rate_limit, metadata::text,
    headers::text, created_at, updated_at
FROM webhooks.endpoint WHERE tenant = %s AND id < %s ORDER BY id DESC LIMIT %s

-- name: get
SELECT id, tenant, url, description, event_types::text, channels::text, disabled_reason, rate_limit, metadata::text,
    headers::text, created_at, updated_at
FROM webhooks.endpoint WHERE tenant = %s AND id = %s

-- name: number
SELECT no FROM webhooks.endpoint WHERE tenant = %s AND id = %s

-- name: any
SELECT id FROM webhooks.endpoint WHERE tenant = %s LIMIT 1

-- name: create
WITH done AS MATERIALIZED (
    SELECT webhooks.create_endpoint_1(%(document)s, %(secret)s, %(limit)s, %(now)s) AS too_many
), told AS MATERIALIZED (
    SELECT webhooks.tell_7(%(notices)s) FROM done WHERE too_many IS NULL
)
SELECT too_many, (SELECT count(*) FROM told) FROM done

-- name: update
-- With a URL, only if the endpoint still has this URL.
WITH locked AS MATERIALIZED (
    SELECT disabled_reason FROM webhooks.endpoint
    WHERE tenant = %(tenant)s AND id = %(id)s AND (%(url)s::text IS NULL OR url = %(url)s) FOR UPDATE
), done AS MATERIALIZED (
    SELECT disabled_reason, webhooks.update_endpoint_1(
        %(tenant)s, %(id)s, %(changes)s::text::jsonb, %(changes)s::text::json, %(now)s
    ) AS found FROM locked
), told AS MATERIALIZED (
    SELECT webhooks.tell_7(
        CASE WHEN disabled_reason IS NULL THEN %(notices_if_enabled)s::json ELSE %(notices)s::json END
    ) FROM done WHERE found
)
SELECT found, (SELECT count(*) FROM told) FROM done

-- name: delete
WITH done AS MATERIALIZED (
    SELECT webhooks.delete_endpoint_1(%(tenant)s, %(id)s) AS number
), told AS MATERIALIZED (
    SELECT webhooks.tell_7(%(notices)s) FROM done WHERE number IS NOT NULL
)
SELECT number, (SELECT count(*) FROM told) FROM done

-- name: delete_leftovers
SELECT webhooks.delete_leftovers_1(%s, %s)

-- name: secret
SELECT secret.key FROM webhooks.endpoint JOIN webhooks.endpoint_secret AS secret ON secret.endpoint = endpoint.no
WHERE endpoint.tenant = %s AND endpoint.id = %s AND secret.expires_at IS NULL

-- name: rotate
-- The function expires the current secret. Earlier ones that would stay valid for longer are expired here too.
WITH done AS MATERIALIZED (
    SELECT webhooks.rotate_secret_1(%(tenant)s, %(id)s, %(key)s, %(most)s, %(expiry)s, %(now)s) AS problem
), shortened AS (
    UPDATE webhooks.endpoint_secret AS secret SET expires_at = %(expiry)s FROM webhooks.endpoint, done
    WHERE done.problem IS NULL AND endpoint.tenant = %(tenant)s AND endpoint.id = %(id)s
        AND secret.endpoint = endpoint.no AND secret.expires_at > %(expiry)s
)
SELECT problem FROM done
