-- name: begin
INSERT INTO sqlite_sequence (name, seq)
SELECT 'commits:' || lower(hex(randomblob(16))), 1
WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name GLOB 'commits:*')

-- name: count
UPDATE sqlite_sequence SET seq = seq + 1 WHERE name GLOB 'commits:*'

-- name: commit
SELECT name, seq FROM sqlite_sequence WHERE name GLOB 'commits:*'
