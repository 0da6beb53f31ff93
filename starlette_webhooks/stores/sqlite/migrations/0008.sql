-- Works with version 3 and later.
-- The headers of attempts that somebody may look into.

ALTER TABLE attempt ADD COLUMN headers TEXT;
