-- Works with version 3 and later.
-- What operators look for, over all tenants. Only failures write to these indexes.

CREATE INDEX endpoint_troubled ON endpoint (id) WHERE failing_since IS NOT NULL OR disabled_reason IS NOT NULL;
CREATE INDEX delivery_failing ON delivery (endpoint, event) WHERE step > 0;
CREATE INDEX attempt_exhausted ON attempt (endpoint, event) WHERE ok = 0 AND next_attempt_at IS NULL;
