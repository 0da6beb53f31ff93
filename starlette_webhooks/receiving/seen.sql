-- name: create
CREATE TABLE IF NOT EXISTS seen_webhook (
    id TEXT PRIMARY KEY,
    handled INTEGER NOT NULL,
    until REAL NOT NULL
) WITHOUT ROWID

-- name: create_index
CREATE INDEX IF NOT EXISTS seen_webhook_until ON seen_webhook (until)

-- name: begin
INSERT INTO seen_webhook (id, handled, until) VALUES (:id, 0, :until)
ON CONFLICT (id) DO UPDATE SET handled = 0, until = excluded.until WHERE seen_webhook.until <= :now
RETURNING id

-- name: state
SELECT handled FROM seen_webhook WHERE id = :id

-- name: finish
INSERT INTO seen_webhook (id, handled, until) VALUES (:id, 1, :until)
ON CONFLICT (id) DO UPDATE SET handled = 1, until = excluded.until

-- name: forget
DELETE FROM seen_webhook WHERE id = :id AND handled = 0

-- name: prune
DELETE FROM seen_webhook WHERE until <= :now
