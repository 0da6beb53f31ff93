-- name: sealing_keys
SELECT DISTINCT substr(key, length(:mark) + 1, 8) FROM endpoint_secret WHERE substr(key, 1, length(:mark)) = :mark

-- name: stored
SELECT endpoint.no, endpoint.tenant,
    (SELECT json_group_array(secret.key) FROM endpoint_secret AS secret WHERE secret.endpoint = endpoint.no),
    endpoint.headers
FROM endpoint WHERE endpoint.no > ? ORDER BY endpoint.no LIMIT ?

-- name: replace_key
UPDATE endpoint_secret SET key = :new WHERE endpoint = :endpoint AND key = :old

-- name: replace_headers
UPDATE endpoint SET headers = :new WHERE no = :endpoint AND headers = :old

-- name: drop_expired
DELETE FROM endpoint_secret WHERE expires_at <= ?
