-- name: now
SELECT extract(epoch FROM clock_timestamp())::float8

-- name: backend
SELECT pg_backend_pid()

-- name: settings
SELECT current_setting('default_transaction_isolation'),
    pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on',
    current_setting('synchronous_commit')

-- name: connections
SELECT count(*), current_setting('max_connections')::bigint FROM pg_stat_activity WHERE backend_type = 'client backend'

-- name: oldest_transaction
SELECT extract(epoch FROM max(clock_timestamp() - xact_start))::float8 FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
