-- What operators look for, over all tenants. Only failures write to these indexes.
CREATE INDEX CONCURRENTLY IF NOT EXISTS endpoint_troubled ON webhooks.endpoint (id)
    WHERE failing_since IS NOT NULL OR disabled_reason IS NOT NULL;
CREATE INDEX CONCURRENTLY IF NOT EXISTS delivery_failing ON webhooks.delivery (endpoint, event) WHERE step > 0;
CREATE INDEX CONCURRENTLY IF NOT EXISTS attempt_exhausted ON webhooks.attempt (endpoint, event)
    WHERE NOT ok AND next_attempt_at IS NULL;
