-- name: due
SELECT number, due, failing FROM webhooks.due_1(%s, %s, %s)

-- name: candidates
SELECT no, id, tenant, url, headers, rate_limit, paced_until, failing, due, keys
FROM webhooks.candidates_1(%s::bigint[], %s)

-- name: lease
SELECT seq, id, type, payload, leases
FROM webhooks.lease_1(%s::bigint[], %s::integer[], %s::float8[], %s::float8[], %s::float8[], %s, %s)

-- name: drop
DELETE FROM webhooks.delivery WHERE event = ANY (%s::bigint[]) AND leased_until = %s

-- name: endpoint_states
SELECT no, failing_since, disabled_reason, paced_until FROM webhooks.endpoint WHERE no = ANY (%s::bigint[])

-- name: record
SELECT webhooks.record_1(%s, %s, %s::bigint[], %s, %s)

-- name: resend
SELECT webhooks.resend_1(%s, %s, %s, %s)

-- name: target
SELECT no, disabled_reason FROM webhooks.endpoint WHERE tenant = %s AND id = %s

-- name: recover_failed
SELECT queued, seen, last FROM webhooks.recover_failed_1(%s, %s, %s, %s, %s, %s, %s, %s)

-- name: recover_missing
SELECT queued, seen, last FROM webhooks.recover_missing_1(%s, %s, %s, %s, %s)
