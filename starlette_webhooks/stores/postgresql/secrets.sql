-- name: sealing_keys
SELECT DISTINCT substr(key, length(%(mark)s::text) + 1, 8) FROM webhooks.endpoint_secret
WHERE starts_with(key, %(mark)s::text)

-- name: stored
SELECT endpoint.no, endpoint.tenant,
    (SELECT json_agg(secret.key)::text FROM webhooks.endpoint_secret AS secret WHERE secret.endpoint = endpoint.no),
    endpoint.headers::text
FROM webhooks.endpoint WHERE endpoint.no > %s ORDER BY endpoint.no LIMIT %s

-- name: replace_key
UPDATE webhooks.endpoint_secret SET key = given.fresh
FROM unnest(%(endpoints)s::bigint[], %(old)s::text[], %(new)s::text[]) AS given (endpoint, former, fresh)
WHERE endpoint_secret.endpoint = given.endpoint AND endpoint_secret.key = given.former
RETURNING given.endpoint

-- name: replace_headers
UPDATE webhooks.endpoint SET headers = given.fresh::json
FROM unnest(%(endpoints)s::bigint[], %(old)s::text[], %(new)s::text[]) AS given (endpoint, former, fresh)
WHERE endpoint.no = given.endpoint AND endpoint.headers::text = given.former
RETURNING given.endpoint

-- name: drop_expired
DELETE FROM webhooks.endpoint_secret WHERE expires_at <= %s RETURNING endpoint
