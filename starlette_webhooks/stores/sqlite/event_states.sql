-- name: events
-- Read row by row until there are enough of them. The text is compared bytewise.
SELECT
    {id}, event.seq, event.type, event.timestamp, event.test, substr(event.payload, 1, :preview),
    length(event.payload), {matches}
FROM {keys} ORDER BY {id} DESC

-- name: of_tenant
event WHERE event.tenant = :tenant AND event.id < :high AND event.id >= :low

-- name: of_type
event WHERE event.tenant = :tenant AND event.type = :type AND event.id < :high AND event.id >= :low

-- name: of_channel
event_channel AS label CROSS JOIN event ON event.seq = label.seq
WHERE label.tenant = :tenant AND label.channel = :channel AND label.id < :high AND label.id >= :low

-- name: of_channel_and_type
event_channel AS label CROSS JOIN event ON event.seq = label.seq
WHERE label.tenant = :tenant AND label.channel = :channel AND label.type = :type
    AND label.id < :high AND label.id >= :low

-- name: any
true

-- name: containing
instr(event.payload, :text) > 0 OR instr(event.payload, :escaped) > 0

-- name: counts
-- How many endpoints have the event in each state. A delivery that was set aside is exhausted.
SELECT
    (SELECT count(*) FROM (
        SELECT DISTINCT endpoint FROM attempt WHERE event = :event AND {endpoint} AND ok = 1 LIMIT :counted
    )),
    (SELECT count(*) FROM (
        SELECT 1 FROM delivery WHERE event = :event AND {endpoint} AND step = 0 AND due < 9007199254740991
            AND NOT EXISTS (SELECT 1 FROM attempt WHERE event = :event AND endpoint = delivery.endpoint AND ok = 1)
        LIMIT :counted
    )),
    (SELECT count(*) FROM (
        SELECT 1 FROM delivery WHERE event = :event AND {endpoint} AND step > 0 AND due < 9007199254740991
            AND NOT EXISTS (SELECT 1 FROM attempt WHERE event = :event AND endpoint = delivery.endpoint AND ok = 1)
        LIMIT :counted
    )),
    (SELECT count(*) FROM (
        SELECT endpoint FROM attempt AS tried WHERE event = :event AND {endpoint} AND ok = 0
            AND NOT EXISTS (SELECT 1 FROM attempt WHERE event = :event AND endpoint = tried.endpoint AND ok = 1)
            AND NOT EXISTS (
                SELECT 1 FROM delivery WHERE event = :event AND endpoint = tried.endpoint AND due < 9007199254740991
            )
        UNION
        SELECT endpoint FROM delivery WHERE event = :event AND {endpoint} AND due >= 9007199254740991
            AND NOT EXISTS (SELECT 1 FROM attempt WHERE event = :event AND endpoint = delivery.endpoint AND ok = 1)
        LIMIT :counted
    ))

-- name: to_any
true

-- name: to_one
endpoint = :endpoint

-- name: endpoint
SELECT no FROM endpoint WHERE tenant = ? AND id = ?

-- name: event
SELECT seq, id, tenant, type, timestamp, event_id, channels, x'' AS payload, test FROM event WHERE tenant = ? AND id = ?

-- name: deliveries
SELECT
    endpoint.id, endpoint.url, endpoint.event_types, endpoint.channels, endpoint.disabled_reason IS NOT NULL,
    endpoint.created_at, delivery.due, delivery.step, delivery.leased,
    last.number, last.timestamp, last.status_code, last.error,
    EXISTS (SELECT 1 FROM attempt WHERE attempt.event = :event AND attempt.endpoint = endpoint.no AND ok = 1)
FROM endpoint
LEFT JOIN delivery ON delivery.event = :event AND delivery.endpoint = endpoint.no
LEFT JOIN attempt AS last ON last.no = (
    SELECT no FROM attempt
    WHERE attempt.event = :event AND attempt.endpoint = endpoint.no ORDER BY number DESC, no DESC LIMIT 1
)
WHERE endpoint.tenant = :tenant AND endpoint.id < :cursor ORDER BY endpoint.id DESC LIMIT :limit
