-- Works with version 1 and later.
-- The headers of attempts that somebody may look into, as JSON. NULL if they are not stored.
ALTER TABLE webhooks.attempt ADD COLUMN headers text;
