-- Works with version 1 and later.
-- Processes that do not deliver count here how often they left deliveries to others, which poll it. A table would keep a
-- dead row for each time.
CREATE SEQUENCE webhooks.handover_seq;
-- The first number only marks the sequence as used, and does not change it.
SELECT nextval('webhooks.handover_seq');

-- Counts a commit with deliveries that other processes have to make.
CREATE FUNCTION webhooks.hand_over_5(wanted boolean) RETURNS void LANGUAGE sql
AS $$ SELECT nextval('webhooks.handover_seq') WHERE wanted $$;
