-- Works with version 3 and later.
-- The server of an endpoint that has accepted a delivery. Existing endpoints prove themselves with their next success.

ALTER TABLE endpoint ADD COLUMN proven_server TEXT;
