-- Shared by all functions that write.

-- Makes the commit of this transaction wait for the disk, regardless of the server's default.
CREATE FUNCTION webhooks.be_durable_1() RETURNS void LANGUAGE sql AS $$
    SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') IN ('off', 'local');
$$;

-- Identifies the log: a server that was restarted, took over or was restored may have lost the end of it.
CREATE FUNCTION webhooks.log_1() RETURNS text LANGUAGE sql STABLE
AS $$ SELECT extract(epoch FROM pg_postmaster_start_time())::text || '/' || 'webhooks.event_seq'::regclass::oid $$;

-- The lock for assigning positions, held until the transaction ends. Its key is specific to this schema.
CREATE FUNCTION webhooks.lock_log_1() RETURNS void LANGUAGE sql
AS $$ SELECT pg_advisory_xact_lock((5747::bigint << 32) + 'webhooks.event_seq'::regclass::oid::bigint) $$;
