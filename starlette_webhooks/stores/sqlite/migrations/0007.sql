-- Works with version 3 and later.
-- The trace context in which an event was emitted, which attempts link to.

ALTER TABLE event ADD COLUMN trace TEXT;
