-- Works with version 1 and later.
-- The trace context in which an event was emitted, which attempts link to.
ALTER TABLE webhooks.event ADD COLUMN trace text COLLATE "C";

-- Notes the trace contexts of events in the transaction that appends them. Events that existed before keep theirs.
-- `ids`, `tenants` and `traces` are joined by U+001F. A trace is empty for an event without one.
CREATE FUNCTION webhooks.note_traces_8(ids text, tenants text, traces text) RETURNS void LANGUAGE sql
SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
    UPDATE webhooks.event SET trace = given.trace
    FROM ROWS FROM (
        string_to_table(ids, E'\x1f'), string_to_table(tenants, E'\x1f'), string_to_table(traces, E'\x1f')
    ) AS given (id, tenant, trace)
    WHERE given.trace <> '' AND event.tenant = given.tenant AND event.id = given.id AND event.trace IS NULL;
$$;
