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
SELECT webhooks.create_endpoint_1(%s, %s, %s, %s)

-- name: update
-- With a URL, only if the endpoint still has this URL.
WITH locked AS MATERIALIZED (
    SELECT FROM webhooks.endpoint
    WHERE tenant = %(tenant)s AND id = %(id)s AND (%(url)s::text IS NULL OR url = %(url)s) FOR UPDATE
)
SELECT webhooks.update_endpoint_1(
    %(tenant)s, %(id)s, %(changes)s::text::jsonb, %(changes)s::text::json, %(now)s
) FROM locked

-- name: delete
SELECT webhooks.delete_endpoint_1(%s, %s)

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
