-- name: overview
-- Counts stop at `:counted`. Deliveries are read by endpoint, so that those of disabled ones are left out.
WITH RECURSIVE
    delivering (endpoint) AS MATERIALIZED (
        SELECT (SELECT endpoint FROM delivery WHERE endpoint > 0 ORDER BY endpoint LIMIT 1)
        UNION ALL
        SELECT (SELECT endpoint FROM delivery WHERE endpoint > delivering.endpoint ORDER BY endpoint LIMIT 1)
        FROM delivering WHERE delivering.endpoint IS NOT NULL
        LIMIT :counted
    ),
    enabled (no, works) AS MATERIALIZED (
        SELECT endpoint.no, failing_since IS NULL AND paced_until <= :paced AND paused_until <= :now
        FROM delivering CROSS JOIN endpoint ON endpoint.no = delivering.endpoint
        WHERE endpoint.disabled_reason IS NULL
    ),
    disabled (no) AS MATERIALIZED (
        SELECT endpoint.no FROM delivering CROSS JOIN endpoint ON endpoint.no = delivering.endpoint
        WHERE endpoint.disabled_reason IS NOT NULL
    )
SELECT
    (SELECT count(*) FROM (
        SELECT 1 FROM enabled CROSS JOIN delivery ON delivery.endpoint = enabled.no LIMIT :counted
    )),
    (SELECT count(*) FROM (
        SELECT 1 FROM enabled CROSS JOIN delivery ON delivery.endpoint = enabled.no AND delivery.step > 0 LIMIT :counted
    )),
    (SELECT count(*) FROM (
        SELECT 1 FROM disabled CROSS JOIN delivery ON delivery.endpoint = disabled.no LIMIT :counted
    )),
    (SELECT min((SELECT due FROM delivery WHERE endpoint = enabled.no ORDER BY due LIMIT 1)) FROM enabled WHERE works),
    (SELECT count(*) FROM (SELECT 1 FROM endpoint LIMIT :counted)),
    (SELECT count(*) FROM (
        SELECT 1 FROM endpoint
        WHERE (failing_since IS NOT NULL OR disabled_reason IS NOT NULL) AND disabled_reason IS NULL LIMIT :counted
    )),
    (SELECT count(*) FROM (
        SELECT 1 FROM endpoint
        WHERE (failing_since IS NOT NULL OR disabled_reason IS NOT NULL) AND disabled_reason IS NOT NULL LIMIT :counted
    ))

-- name: exhausted
-- An event that was retried since, or that arrived, does not count.
SELECT count(*) FROM (
    SELECT DISTINCT endpoint, event FROM attempt
    WHERE ok = 0 AND next_attempt_at IS NULL ORDER BY endpoint, event LIMIT :counted
) AS keys
WHERE NOT EXISTS (SELECT 1 FROM delivery WHERE event = keys.event AND endpoint = keys.endpoint)
    AND NOT EXISTS (SELECT 1 FROM attempt WHERE event = keys.event AND endpoint = keys.endpoint AND ok = 1)
    AND EXISTS (SELECT 1 FROM endpoint WHERE no = keys.endpoint)
    AND NOT EXISTS (SELECT 1 FROM event WHERE seq = keys.event AND test = 1)

-- name: processes
SELECT value FROM meta WHERE name >= 'process/' AND name < 'process0'

-- name: forget
DELETE FROM meta WHERE name >= 'process/' AND name < 'process0' AND name <> :name AND value < :forgotten

-- name: report
INSERT INTO meta (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- name: bytes
SELECT page_count * page_size FROM pragma_page_count, pragma_page_size

-- name: statuses
SELECT
    page.no, page.id, page.tenant, page.url, page.description, page.event_types, page.channels, page.disabled_reason,
    page.rate_limit, page.metadata, page.headers, page.created_at, page.updated_at, page.failing_since,
    page.paused_until, (SELECT count(*) FROM (SELECT 1 FROM delivery WHERE endpoint = page.no LIMIT 1000)),
    failure.timestamp, failure.status_code, failure.error
FROM ({page}) AS page
LEFT JOIN attempt AS failure ON failure.no = (
    SELECT no FROM attempt WHERE endpoint = page.no AND ok = 0 ORDER BY id DESC LIMIT 1
)
ORDER BY {order}

-- name: by_time
page.id DESC

-- name: by_urgency
page.urgency, page.id DESC

-- name: all
SELECT * FROM endpoint WHERE id < :cursor AND {filter} ORDER BY id DESC LIMIT :limit

-- name: of_tenant
SELECT * FROM endpoint WHERE tenant = :tenant AND id < :cursor AND {filter} ORDER BY id DESC LIMIT :limit

-- name: of_tenant_by_urgency
-- See `EndpointStatus.urgency`. A tenant has a thousand endpoints at most.
SELECT * FROM (
    SELECT endpoint.*, CASE
        WHEN disabled_reason = 'manual' THEN 4
        WHEN disabled_reason IS NOT NULL THEN 0
        WHEN failing_since IS NOT NULL THEN 1
        WHEN paused_until > :now THEN 2
        ELSE 3
    END AS urgency
    FROM endpoint WHERE tenant = :tenant AND {filter}
) AS ranked
WHERE urgency > :urgency OR (urgency = :urgency AND id < :cursor)
ORDER BY urgency, id DESC LIMIT :limit

-- name: of_id
SELECT * FROM endpoint WHERE id = :id AND (:tenant IS NULL OR tenant = :tenant) AND {filter} LIMIT :limit

-- name: any
true

-- name: ok
failing_since IS NULL AND disabled_reason IS NULL

-- name: failing
(failing_since IS NOT NULL OR disabled_reason IS NOT NULL) AND disabled_reason IS NULL

-- name: disabled
(failing_since IS NOT NULL OR disabled_reason IS NOT NULL) AND disabled_reason IS NOT NULL

-- name: event
-- One seek per tenant.
WITH RECURSIVE owner (tenant) AS (
    SELECT (SELECT tenant FROM event ORDER BY tenant LIMIT 1)
    UNION ALL
    SELECT (SELECT tenant FROM event WHERE event.tenant > owner.tenant ORDER BY tenant LIMIT 1)
    FROM owner WHERE owner.tenant IS NOT NULL
)
SELECT event.seq, event.id, event.tenant, event.type, event.timestamp, event.event_id, event.channels, event.payload,
    event.test
FROM owner CROSS JOIN event ON event.tenant = owner.tenant AND event.id = :id LIMIT 1

-- name: recent
SELECT seq, id, tenant, type, timestamp, event_id, test FROM event WHERE seq < :before ORDER BY seq DESC LIMIT :limit

-- name: tenants
-- One seek per tenant in each table.
WITH RECURSIVE named (tenant) AS (
    SELECT min(tenant) FROM (
        SELECT min(tenant) AS tenant FROM endpoint WHERE tenant {beyond} :start
        UNION ALL
        SELECT min(tenant) FROM event WHERE tenant {beyond} :start
    )
    UNION ALL
    SELECT (
        SELECT min(tenant) FROM (
            SELECT min(tenant) AS tenant FROM endpoint WHERE endpoint.tenant > named.tenant
            UNION ALL
            SELECT min(tenant) FROM event WHERE event.tenant > named.tenant
        )
    )
    FROM named WHERE named.tenant IS NOT NULL
    LIMIT :limit
)
SELECT tenant FROM named WHERE tenant IS NOT NULL LIMIT :counted

-- name: failing_tenants
SELECT DISTINCT tenant FROM (
    SELECT tenant FROM endpoint
    WHERE (failing_since IS NOT NULL OR disabled_reason IS NOT NULL) AND disabled_reason IS NULL LIMIT :counted
)
WHERE tenant {beyond} :start ORDER BY tenant LIMIT :limit

-- name: from
>=

-- name: after
>

-- name: tenant_figures
SELECT
    page.tenant,
    (SELECT count(*) FROM endpoint WHERE endpoint.tenant = page.tenant),
    (SELECT count(*) FROM endpoint
     WHERE endpoint.tenant = page.tenant AND failing_since IS NOT NULL AND disabled_reason IS NULL),
    (SELECT count(*) FROM endpoint WHERE endpoint.tenant = page.tenant AND disabled_reason IS NOT NULL),
    (SELECT count(*) FROM (
        SELECT 1 FROM endpoint CROSS JOIN delivery ON delivery.endpoint = endpoint.no
        WHERE endpoint.tenant = page.tenant LIMIT 1000
    )),
    (SELECT timestamp FROM event WHERE event.tenant = page.tenant ORDER BY id DESC LIMIT 1)
FROM ({page}) AS page
ORDER BY page.tenant
