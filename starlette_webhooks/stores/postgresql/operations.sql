-- name: overview
-- Counts stop at `counted`. Deliveries are read by endpoint, so that those of disabled ones are left out.
WITH RECURSIVE delivering (endpoint, place) AS (
    SELECT (SELECT endpoint FROM webhooks.delivery ORDER BY endpoint LIMIT 1), 1
    UNION ALL
    SELECT (
        SELECT delivery.endpoint FROM webhooks.delivery
        WHERE delivery.endpoint > delivering.endpoint ORDER BY delivery.endpoint LIMIT 1
    ), place + 1
    FROM delivering WHERE delivering.endpoint IS NOT NULL AND place < %(counted)s
), target AS MATERIALIZED (
    SELECT endpoint.no, endpoint.disabled_reason IS NULL AS enabled,
        failing_since IS NULL AND paced_until <= %(paced)s AND paused_until <= %(now)s AS works
    FROM delivering JOIN webhooks.endpoint ON endpoint.no = delivering.endpoint
), outbox AS MATERIALIZED (
    SELECT created_at FROM webhooks.outbox ORDER BY created_at, id LIMIT %(counted)s
)
SELECT
    (SELECT count(*) FROM (
        SELECT FROM target CROSS JOIN LATERAL (
            SELECT FROM webhooks.delivery WHERE delivery.endpoint = target.no LIMIT %(counted)s
        ) AS one WHERE target.enabled LIMIT %(counted)s
    ) AS counted),
    (SELECT count(*) FROM (
        SELECT FROM target CROSS JOIN LATERAL (
            SELECT FROM webhooks.delivery WHERE delivery.endpoint = target.no AND delivery.step > 0 LIMIT %(counted)s
        ) AS one WHERE target.enabled LIMIT %(counted)s
    ) AS counted),
    (SELECT count(*) FROM (
        SELECT FROM target CROSS JOIN LATERAL (
            SELECT FROM webhooks.delivery WHERE delivery.endpoint = target.no LIMIT %(counted)s
        ) AS one WHERE NOT target.enabled LIMIT %(counted)s
    ) AS counted),
    (SELECT min(first.due) FROM target CROSS JOIN LATERAL (
        SELECT delivery.due FROM webhooks.delivery
        WHERE delivery.endpoint = target.no AND delivery.leased_until <= %(now)s ORDER BY delivery.due LIMIT 1
    ) AS first WHERE target.enabled AND target.works),
    (SELECT count(*) FROM (SELECT FROM webhooks.endpoint LIMIT %(counted)s) AS counted),
    (SELECT count(*) FROM (
        SELECT FROM webhooks.endpoint
        WHERE (failing_since IS NOT NULL OR disabled_reason IS NOT NULL) AND disabled_reason IS NULL LIMIT %(counted)s
    ) AS counted),
    (SELECT count(*) FROM (
        SELECT FROM webhooks.endpoint
        WHERE (failing_since IS NOT NULL OR disabled_reason IS NOT NULL) AND disabled_reason IS NOT NULL
        LIMIT %(counted)s
    ) AS counted),
    (SELECT count(*) FROM (
        SELECT DISTINCT attempt.endpoint, attempt.event FROM webhooks.attempt
        WHERE NOT attempt.ok AND attempt.next_attempt_at IS NULL
        ORDER BY attempt.endpoint, attempt.event LIMIT %(exhausted)s
    ) AS keys
    WHERE NOT EXISTS (
            SELECT FROM webhooks.delivery WHERE delivery.event = keys.event AND delivery.endpoint = keys.endpoint
        )
        AND NOT EXISTS (
            SELECT FROM webhooks.attempt
            WHERE attempt.event = keys.event AND attempt.endpoint = keys.endpoint AND attempt.ok
        )
        AND EXISTS (SELECT FROM webhooks.endpoint WHERE endpoint.no = keys.endpoint)
        AND NOT EXISTS (SELECT FROM webhooks.event WHERE event.seq = keys.event AND event.test)
    ),
    (SELECT count(*) FROM outbox),
    (SELECT min(created_at) / 1000 FROM outbox),
    (SELECT count(*) FROM (SELECT FROM webhooks.outbox_dead_letter LIMIT %(counted)s) AS counted),
    (SELECT coalesce(sum(pg_total_relation_size(relation.oid)), 0)::bigint
     FROM pg_class AS relation JOIN pg_namespace AS space ON space.oid = relation.relnamespace
     WHERE space.nspname = %(schema)s AND relation.relkind = 'r'),
    ARRAY(SELECT value FROM webhooks.meta WHERE name >= 'process/' AND name < 'process0')

-- name: report
WITH gone AS (
    DELETE FROM webhooks.meta
    WHERE name >= 'process/' AND name < 'process0' AND name <> %(name)s AND value < %(forgotten)b
)
INSERT INTO webhooks.meta (name, value) VALUES (%(name)s, %(value)b)
ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- name: statuses
SELECT
    page.id, page.tenant, page.url, page.description, page.event_types::text, page.channels::text,
    page.disabled_reason, page.rate_limit, page.metadata::text, page.headers::text, page.created_at, page.updated_at,
    page.failing_since, page.paused_until,
    (SELECT count(*) FROM (
        SELECT FROM webhooks.delivery WHERE delivery.endpoint = page.no LIMIT 1000
    ) AS counted),
    failure.timestamp, failure.status_code, failure.error
FROM ({page}) AS page
LEFT JOIN LATERAL (
    SELECT timestamp, status_code, error FROM webhooks.attempt
    WHERE attempt.endpoint = page.no AND NOT attempt.ok ORDER BY attempt.id DESC LIMIT 1
) AS failure ON true
ORDER BY {order}

-- name: by_time
page.id DESC

-- name: by_urgency
page.urgency, page.id DESC

-- name: all
SELECT * FROM webhooks.endpoint WHERE id < %(cursor)s AND {filter} ORDER BY id DESC LIMIT %(limit)s

-- name: of_tenant
SELECT * FROM webhooks.endpoint
WHERE tenant = %(tenant)s AND id < %(cursor)s AND {filter} ORDER BY id DESC LIMIT %(limit)s

-- name: of_tenant_by_urgency
-- See `EndpointStatus.urgency`. A tenant has a thousand endpoints at most.
SELECT * FROM (
    SELECT endpoint.*, CASE
        WHEN disabled_reason = 'manual' THEN 4
        WHEN disabled_reason IS NOT NULL THEN 0
        WHEN failing_since IS NOT NULL THEN 1
        WHEN paused_until > %(now)s THEN 2
        ELSE 3
    END AS urgency
    FROM webhooks.endpoint WHERE tenant = %(tenant)s AND {filter}
) AS ranked
WHERE urgency > %(urgency)s OR (urgency = %(urgency)s AND id < %(cursor)s)
ORDER BY urgency, id DESC LIMIT %(limit)s

-- name: of_id
SELECT * FROM webhooks.endpoint
WHERE id = %(id)s AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s) AND {filter} LIMIT %(limit)s

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
    (SELECT tenant FROM webhooks.event ORDER BY tenant LIMIT 1)
    UNION ALL
    SELECT (SELECT event.tenant FROM webhooks.event WHERE event.tenant > owner.tenant ORDER BY event.tenant LIMIT 1)
    FROM owner WHERE owner.tenant IS NOT NULL
)
SELECT event.seq, event.id, event.tenant, event.type, event.timestamp, event.event_id, event.channels, event.payload,
    event.test
FROM owner JOIN webhooks.event ON event.tenant = owner.tenant AND event.id = %(id)s LIMIT 1

-- name: recent
SELECT seq, id, tenant, type, timestamp, event_id, test FROM webhooks.event
WHERE seq < %(before)s ORDER BY seq DESC LIMIT %(limit)s

-- name: tenants
-- One seek per tenant in each table.
WITH RECURSIVE named (tenant, place) AS (
    SELECT least(
        (SELECT min(tenant) FROM webhooks.endpoint WHERE tenant {beyond} %(start)s),
        (SELECT min(tenant) FROM webhooks.event WHERE tenant {beyond} %(start)s)
    ), 1
    UNION ALL
    SELECT least(
        (SELECT min(endpoint.tenant) FROM webhooks.endpoint WHERE endpoint.tenant > named.tenant),
        (SELECT min(event.tenant) FROM webhooks.event WHERE event.tenant > named.tenant)
    ), place + 1
    FROM named WHERE named.tenant IS NOT NULL AND place < %(limit)s
)
SELECT tenant FROM named WHERE tenant IS NOT NULL LIMIT %(counted)s

-- name: failing_tenants
SELECT DISTINCT tenant FROM (
    SELECT tenant FROM webhooks.endpoint
    WHERE (failing_since IS NOT NULL OR disabled_reason IS NOT NULL) AND disabled_reason IS NULL LIMIT %(counted)s
) AS failing
WHERE tenant {beyond} %(start)s ORDER BY tenant LIMIT %(limit)s

-- name: from
>=

-- name: after
>

-- name: tenant_figures
SELECT
    page.tenant, figures.endpoints, figures.failing, figures.disabled,
    (SELECT count(*) FROM (
        SELECT FROM webhooks.endpoint CROSS JOIN LATERAL (
            SELECT FROM webhooks.delivery WHERE delivery.endpoint = endpoint.no LIMIT 1000
        ) AS one WHERE endpoint.tenant = page.tenant LIMIT 1000
    ) AS counted),
    (SELECT event.timestamp FROM webhooks.event
     WHERE event.tenant = page.tenant ORDER BY event.id DESC LIMIT 1)
FROM ({page}) AS page
CROSS JOIN LATERAL (
    SELECT count(*) AS endpoints,
        count(*) FILTER (WHERE failing_since IS NOT NULL AND disabled_reason IS NULL) AS failing,
        count(*) FILTER (WHERE disabled_reason IS NOT NULL) AS disabled
    FROM webhooks.endpoint WHERE endpoint.tenant = page.tenant
) AS figures
ORDER BY page.tenant
