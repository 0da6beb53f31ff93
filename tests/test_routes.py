"""The HTTP contract: formats, scopes, tenants, paging, and the errors of bad input."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import jsonschema
import pytest
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient
from starlette.types import Scope

from starlette_webhooks import Principal, Webhooks
from starlette_webhooks.exceptions import Forbidden
from starlette_webhooks.identifiers import mint
from starlette_webhooks.settings import WebhooksSettings
from tests.eventually import wait_for
from tests.hosts import KEYS, MOUNT, READ, WRITE, bearer, make_app, make_webhooks, session_of

ACME = bearer("acme")
URL = "http://127.0.0.1:9/hook"


@pytest.fixture
def webhooks(settings: WebhooksSettings) -> Webhooks:
    return make_webhooks(settings)


@pytest.fixture
def client(webhooks: Webhooks) -> Iterator[TestClient]:
    with TestClient(make_app(webhooks), base_url="http://testserver" + MOUNT) as client:
        yield client


def emit(client: TestClient, *events: tuple[str, dict[str, Any]], tenant: str = "acme") -> list[str]:
    return [
        client.post("/test", json={"eventType": name, "data": data}, headers=bearer(tenant)).json()["id"]
        for name, data in events
    ]


def send(client: TestClient, webhooks: Webhooks, tenant: str = "acme") -> None:
    """Emit an event as the host does, not a test event."""
    assert client.portal is not None
    client.portal.call(partial(webhooks.emitter(tenant).send, "invoice.paid", {"amountPaid": 1}))


def create(client: TestClient, tenant: str = "acme", **fields: Any) -> dict[str, Any]:
    response = client.post("/endpoints", json={"url": URL, **fields}, headers=bearer(tenant))
    assert response.status_code == 201, response.text
    endpoint: dict[str, Any] = response.json()
    return endpoint


# Events


def test_the_list_has_exactly_the_agreed_shape(client: TestClient) -> None:
    (first,) = emit(client, ("invoice.paid", {"amountPaid": 9900}))
    body = client.get("/events", headers=ACME).json()
    assert set(body) == {"events", "nextCursor", "done"}
    (event,) = body["events"]
    # `POST /test` created it, so it is marked as a test event.
    assert set(event) == {"id", "eventType", "payload", "timestamp", "test"}
    assert (event["id"], event["test"]) == (first, True)
    assert event["payload"] == {
        "type": "invoice.paid",
        "timestamp": event["timestamp"],
        "test": True,
        "data": {"amountPaid": 9900},
    }
    assert event["timestamp"].endswith("Z")
    assert (body["nextCursor"], body["done"]) == (None, True)


def test_pages_go_from_the_newest_to_the_oldest_and_hold_each_event_once(client: TestClient) -> None:
    ids = emit(client, *(("invoice.paid", {"n": n}) for n in range(7)))
    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": "3"} if cursor is None else {"limit": "3", "cursor": cursor}
        page = client.get("/events", params=query, headers=ACME).json()
        seen += [event["id"] for event in page["events"]]
        if page["done"]:
            break
        cursor = page["nextCursor"]
    assert seen == ids[::-1]


def test_filters_by_type_may_be_repeated_or_separated_by_commas(client: TestClient) -> None:
    paid, failed, document = emit(
        client, ("invoice.paid", {}), ("invoice.failed", {}), ("document.created", {"title": "x"})
    )

    def ids(query: str) -> list[str]:
        return [event["id"] for event in client.get(f"/events?{query}", headers=ACME).json()["events"]]

    assert ids("event_type=invoice.failed") == [failed]
    assert ids("event_type=invoice.failed,document.created") == [document, failed]
    assert ids("event_type=document.created&event_type=invoice.paid") == [document, paid]


def test_a_type_that_was_retired_is_a_filter_while_there_are_events_of_it(settings: WebhooksSettings) -> None:
    before = make_webhooks(settings, event_types=["invoice.paid", "old.one", "old.two"])
    with TestClient(make_app(before), base_url="http://testserver" + MOUNT) as client:
        paid, old = emit(client, ("invoice.paid", {}), ("old.one", {}))
    after = make_webhooks(settings, event_types=["invoice.paid"])
    with TestClient(make_app(after), base_url="http://testserver" + MOUNT) as client:
        for path in ("/events", f"/events/{old}/attempts"):
            assert client.get(f"{path}?event_type=old.one,invoice.paid", headers=ACME).status_code == 200
            for name in ("old.two", "not a name", "old"):
                refused = client.get(path, params={"event_type": name}, headers=ACME)
                assert (refused.status_code, refused.json()["code"]) == (400, "unknown_event_type")
        listed = client.get("/events?event_type=old.one", headers=ACME).json()["events"]
        assert [event["id"] for event in listed] == [old]
        ticket = {"eventTypes": ["old.one"]}
        assert client.post("/events/stream/ticket", json=ticket, headers=ACME).status_code == 201
        # The log of another tenant does not count.
        assert client.get("/events?event_type=old.one", headers=bearer("globex")).status_code == 400
        assert client.post("/test", json={"eventType": "old.one"}, headers=ACME).status_code == 422


def test_before_and_after_bound_the_list_in_time(client: TestClient) -> None:
    emit(client, ("invoice.paid", {}))

    def count(**query: str) -> int:
        return len(client.get("/events", params=query, headers=ACME).json()["events"])

    assert count(after="2020-01-01T00:00:00Z") == 1
    assert count(before="2020-01-01T00:00:00Z") == 0
    assert count(after="2149-01-01T00:00:00+02:00") == 0
    assert count(before="2149-01-01T00:00:00Z", after="2020-01-01T00:00:00-03:00") == 1
    # Times before and after all possible events are still valid.
    assert count(after="1999-01-01T00:00:00Z") == count(before="9999-12-31T23:59:59Z") == 1
    assert count(before="0000-01-01t00:00:00z") == count(after="9999-12-31T23:59:60Z") == 0


def test_a_plus_that_was_not_encoded_is_read_as_one(client: TestClient) -> None:
    emit(client, ("invoice.paid", {}))
    assert len(client.get("/events?after=2020-01-01T00:00:00+02:00", headers=ACME).json()["events"]) == 1


@pytest.mark.parametrize(("limit", "status"), [("1.0", 200), ("213.000", 200), ("1.5", 400), ("1.", 400), ("1e1", 400)])
def test_a_whole_number_may_be_written_with_a_fraction_of_zero(client: TestClient, limit: str, status: int) -> None:
    assert client.get(f"/events?limit={limit}", headers=ACME).status_code == status


def test_whole_numbers_of_a_body_may_be_written_with_a_fraction_of_zero(client: TestClient) -> None:
    assert create(client, rateLimit=5.0)["rateLimit"] == 5
    assert client.post("/portal", json={"expiresIn": 60.0}, headers=ACME).status_code == 200


def test_one_event_is_read_by_its_id(client: TestClient) -> None:
    (identifier,) = emit(client, ("invoice.paid", {"a": 1}))
    listed = client.get("/events", headers=ACME).json()["events"][0]
    assert client.get(f"/events/{identifier}", headers=ACME).json() == listed


def test_a_test_event_is_a_ping_unless_it_says_otherwise(client: TestClient) -> None:
    response = client.post("/test", headers=ACME)
    assert response.status_code == 202
    assert response.json()["eventType"] == "test.ping"
    named = client.post("/test", json={"eventType": "test.ping", "data": {"hello": "world"}}, headers=ACME)
    assert named.json()["payload"]["data"] == {"hello": "world"}


def test_the_catalog_lists_every_type_with_label_schema_and_example(client: TestClient) -> None:
    types = {each["name"]: each for each in client.get("/event-types", headers=ACME).json()["eventTypes"]}
    assert {"invoice.paid", "invoice.failed", "document.created", "test.ping"} <= set(types)
    assert types["invoice.paid"] == {
        "name": "invoice.paid",
        "label": "Invoice paid",
        "category": "Billing",
        "description": "An invoice was paid.",
        "schema": None,
        "example": {"amount": 9900},
    }
    assert types["document.created"]["schema"]["required"] == ["title"]


def test_sync_reports_every_type_as_unchanged_on_the_sqlite_backend(client: TestClient) -> None:
    body = client.post("/sync", headers=ACME).json()
    assert (body["created"], body["updated"]) == ([], [])
    assert "invoice.paid" in body["unchanged"]


# Endpoints


def test_an_endpoint_is_created_read_changed_and_deleted(client: TestClient) -> None:
    endpoint = create(
        client,
        description="ours",
        eventTypes=["invoice.paid"],
        channels=["eu"],
        rateLimit=5,
        metadata={"team": "a"},
        headers={"X-Token": "hidden"},
    )
    assert endpoint["id"].startswith("ep_")
    assert endpoint["headers"] == ["X-Token"]
    assert (endpoint["disabled"], endpoint["rateLimit"], endpoint["metadata"]) == (False, 5, {"team": "a"})
    path = f"/endpoints/{endpoint['id']}"
    read = client.get(path, headers=ACME).json()
    assert read == {**endpoint, "health": read["health"]}
    assert client.get("/endpoints", headers=ACME).json() == {
        "endpoints": [read],
        "nextCursor": None,
        "done": True,
    }
    changed = client.patch(path, json={"disabled": True, "rateLimit": None}, headers=ACME).json()
    assert (changed["disabled"], changed["disabledReason"], changed["rateLimit"]) == (True, "manual", None)
    assert changed["eventTypes"] == ["invoice.paid"]
    assert client.patch(path, json={"disabled": False}, headers=ACME).json()["disabledReason"] is None
    assert client.delete(path, headers=ACME).status_code == 204
    assert client.get(path, headers=ACME).status_code == 404


def test_a_secret_is_read_and_rotated(client: TestClient) -> None:
    path = f"/endpoints/{create(client)['id']}/secret"
    first = client.get(path, headers=ACME).json()["key"]
    second = client.post(f"{path}/rotate", headers=ACME).json()["key"]
    assert first.startswith("whsec_")
    assert second != first
    assert client.get(path, headers=ACME).json()["key"] == second
    chosen = "whsec_" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
    assert client.post(f"{path}/rotate", json={"key": chosen}, headers=ACME).json() == {"key": chosen}


def test_an_endpoint_may_be_created_with_a_secret(client: TestClient) -> None:
    chosen = "whsec_" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
    endpoint = create(client, secret=chosen)
    assert "secret" not in endpoint
    assert client.get(f"/endpoints/{endpoint['id']}/secret", headers=ACME).json()["key"] == chosen


def test_endpoints_are_listed_in_pages(client: TestClient) -> None:
    ids = [create(client)["id"] for _ in range(5)]
    first = client.get("/endpoints?limit=3", headers=ACME).json()
    second = client.get(f"/endpoints?limit=3&cursor={first['nextCursor']}", headers=ACME).json()
    assert [each["id"] for each in first["endpoints"] + second["endpoints"]] == ids[::-1]
    assert (first["done"], second["done"]) == (False, True)


def test_endpoints_are_listed_by_urgency_in_pages(client: TestClient, webhooks: Webhooks) -> None:
    works = create(client, eventTypes=["document.created"])["id"]
    failing = create(client)["id"]
    disabled = create(client)["id"]
    client.patch(f"/endpoints/{disabled}", json={"disabled": True}, headers=ACME)
    send(client, webhooks)
    wait_for(lambda: client.get(f"/endpoints/{failing}", headers=ACME).json()["health"]["failingSince"])
    first = client.get("/endpoints?order=urgency&limit=2", headers=ACME).json()
    assert first["nextCursor"] == f"3.{works}"
    second = client.get(f"/endpoints?order=urgency&limit=2&cursor={first['nextCursor']}", headers=ACME).json()
    assert [each["id"] for each in first["endpoints"] + second["endpoints"]] == [failing, works, disabled]
    assert (first["done"], second["done"]) == (False, True)
    assert first["endpoints"][0] == client.get(f"/endpoints/{failing}", headers=ACME).json()
    for cursor, following in ((f"3.{works}", [disabled]), (disabled, [failing, works])):
        for order in ("newest", "urgency"):
            page = client.get(f"/endpoints?order={order}&cursor={cursor}", headers=ACME).json()
            assert [each["id"] for each in page["endpoints"]] == following, "a cursor continues in its own order"
    for cursor in ("9.x", f"9.{works}", f"3{works}", "3."):
        assert client.get(f"/endpoints?cursor={cursor}", headers=ACME).json()["code"] == "invalid_cursor"


def test_what_a_recovery_would_send_is_counted(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings.model_copy(update={"retry_schedule": (0.0, 3600.0)}))
    with TestClient(make_app(webhooks), base_url="http://testserver" + MOUNT) as client:
        send(client, webhooks)
        endpoint = create(client)["id"]
        send(client, webhooks)
        path = f"/endpoints/{endpoint}"
        wait_for(lambda: client.get(path, headers=ACME).json()["health"]["failingSince"])
        body = {"since": "2026-01-01T00:00:00Z", "countOnly": True}
        counted = client.post(f"{path}/recover", json=body, headers=ACME)
        assert (counted.status_code, counted.json()) == (
            202,
            {"recovered": 0, "failed": 1, "missing": 0, "exact": True},
        )
        counted = client.post(f"{path}/recover", json={**body, "missing": True}, headers=ACME)
        assert counted.json() == {"recovered": 0, "failed": 1, "missing": 1, "exact": True}
        assert client.post(f"{path}/recover", json=body, headers=bearer("globex")).status_code == 404
        backwards = client.post(f"{path}/recover", json={**body, "until": "2025-01-01T00:00:00Z"}, headers=ACME)
        assert backwards.json()["code"] == "invalid_time"
        body["countOnly"] = False
        assert client.post(f"{path}/recover", json={**body, "missing": True}, headers=ACME).json() == {"recovered": 2}
        client.patch(path, json={"disabled": True}, headers=ACME)
        refused = client.post(f"{path}/recover", json={**body, "countOnly": True}, headers=ACME)
        assert (refused.status_code, refused.json()["code"]) == (409, "endpoint_disabled")


def test_the_number_of_endpoints_is_limited(settings: WebhooksSettings) -> None:
    limited = settings.model_copy(update={"endpoints_per_tenant": 2})
    with TestClient(make_app(make_webhooks(limited)), base_url="http://testserver" + MOUNT) as client:
        create(client)
        create(client)
        response = client.post("/endpoints", json={"url": URL}, headers=ACME)
        assert (response.status_code, response.json()["code"]) == (409, "endpoint_limit")
        create(client, tenant="globex")


def test_statistics_of_a_new_endpoint_are_zero(client: TestClient) -> None:
    stats = client.get(f"/endpoints/{create(client)['id']}/stats", headers=ACME).json()
    assert (stats["success"], stats["fail"], stats["pending"], stats["buckets"]) == (0, 0, 0, [])


def test_attempts_are_listed_over_all_endpoints_or_of_one(client: TestClient) -> None:
    first, second = create(client), create(client)
    create(client, tenant="globex")
    (event,) = emit(client, ("invoice.paid", {}))
    emit(client, ("invoice.paid", {}), tenant="globex")

    def listed(**query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = client.get("/attempts", params=query, headers=ACME).json()["attempts"]
        return found

    wait_for(lambda: len(listed()) == 2)
    assert {one["endpointId"] for one in listed()} == {first["id"], second["id"]}
    assert {one["eventId"] for one in listed()} == {event}
    assert [one["endpointId"] for one in listed(endpoint=second["id"], status_code_class="0")] == [second["id"]]
    assert listed(status="success") == []
    assert listed(endpoint=mint("ep_")) == []
    assert client.get("/attempts?endpoint=x", headers=ACME).status_code == 400


def test_an_endpoint_shows_how_it_is_doing(client: TestClient, webhooks: Webhooks) -> None:
    made = create(client)
    assert "health" not in made
    path = f"/endpoints/{made['id']}"
    calm = client.get(path, headers=ACME).json()["health"]
    assert (calm["failingSince"], calm["disablesAt"], calm["waiting"], calm["error"]) == (None, None, 0, "")
    send(client, webhooks)
    wait_for(lambda: client.get(path, headers=ACME).json()["health"]["failingSince"])
    health = client.get(path, headers=ACME).json()["health"]
    assert (health["statusCode"], health["waiting"]) == (0, 1)
    assert health["error"]
    days = datetime.fromisoformat(health["disablesAt"]) - datetime.fromisoformat(health["failingSince"])
    assert days == timedelta(days=5)
    (listed,) = client.get("/endpoints", headers=ACME).json()["endpoints"]
    assert listed["health"]["failingSince"] == health["failingSince"]


def test_what_was_not_delivered_is_listed_counted_and_retried(settings: WebhooksSettings) -> None:
    # What is due within seconds is not retried earlier.
    webhooks = make_webhooks(settings.model_copy(update={"retry_schedule": (0.0, 3600.0, 3600.0)}))
    with TestClient(make_app(webhooks), base_url="http://testserver" + MOUNT) as client:
        made = create(client)
        create(client, tenant="globex")

        send(client, webhooks)
        send(client, webhooks, "globex")

        def listed(tenant: str = "acme", **query: str) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = client.get("/undelivered", params=query, headers=bearer(tenant)).json()[
                "undelivered"
            ]
            return found

        wait_for(lambda: listed(state="failing"))
        (one,) = listed()
        assert (one["endpointId"], one["attempts"], one["statusCode"]) == (made["id"], 1, 0)
        assert listed(endpoint=made["id"], status_code_class="0") == [one]
        assert (
            listed(state="exhausted")
            == listed(endpoint=mint("ep_"))
            == listed(tenant="globex", endpoint=made["id"])
            == []
        )
        filters = {"endpoint": made["id"], "states": ["failing"], "statusCodeClass": 0}
        path = "/undelivered/retry"
        counted = client.post(path, json={**filters, "countOnly": True}, headers=ACME)
        assert (counted.status_code, counted.json()) == (
            202,
            {"matching": 1, "exact": True, "queued": 0, "disabled": 0},
        )
        assert client.post(path, json=filters, headers=bearer("globex")).json()["matching"] == 0
        assert client.post(path, json=filters, headers=ACME).json()["queued"] == 1
        wait_for(lambda: listed()[0]["attempts"] == 2)
        assert client.post(path, json={"states": ["waiting"]}, headers=ACME).status_code == 422
        # Named one by one. Those of other tenants do not exist.
        (foreign,) = [one["eventId"] for one in listed("globex")]
        named = {"deliveries": {made["id"]: [one["eventId"], foreign]}}
        counted = client.post(path, json={**named, "countOnly": True}, headers=ACME)
        assert (counted.json()["matching"], counted.json()["queued"]) == (1, 0)
        assert client.post(path, json=named, headers=bearer("globex")).json()["matching"] == 0
        wait_for(lambda: listed()[0]["nextAttemptAt"])
        assert client.post(path, json=named, headers=ACME).json()["queued"] == 1
        wait_for(lambda: listed()[0]["attempts"] == 3)
        document = client.get("/openapi.json").json()["components"]["schemas"]["UndeliveredRetry"]
        fits = jsonschema.Draft202012Validator(document).is_valid
        for body, accepted in (
            (named, True),
            (filters, True),
            *(({**named, key: filters[key]}, False) for key in filters),
        ):
            response = client.post(path, json={**body, "countOnly": True}, headers=ACME)
            assert (fits(body), response.status_code) == (accepted, 202 if accepted else 422)
        many = {mint("ep_"): [one["eventId"]] * 1, made["id"]: [mint("msg_") for _ in range(250)]}
        assert client.post(path, json={"deliveries": many}, headers=ACME).status_code == 422
        client.patch(f"/endpoints/{made['id']}", json={"disabled": True}, headers=ACME)
        refused = client.post(path, json=named, headers=ACME).json()
        assert (refused["queued"], refused["disabled"]) == (0, 1)


def test_events_are_found_by_state_and_text_with_their_deliveries(client: TestClient, webhooks: Webhooks) -> None:
    (unsent,) = emit(client, ("invoice.paid", {"customer": "ada"}))
    made = create(client)
    (sent,) = emit(client, ("invoice.paid", {"customer": "zoe"}))

    def found(**query: Any) -> list[dict[str, Any]]:
        page = client.get("/events/search", params=query, headers=ACME).json()
        assert page["done"] is (page["nextCursor"] is None)
        events: list[dict[str, Any]] = page["events"]
        return events

    wait_for(lambda: found(state="failing"))
    assert [(one["id"], one["failing"], one["waiting"]) for one in found()] == [(sent, 1, 0), (unsent, 0, 0)]
    assert [one["id"] for one in found(state="unsent")] == [unsent]
    assert [one["preview"] for one in found(text="zoe")] == ['{"customer":"zoe"}']
    assert [one["failing"] for one in found(endpoint=made["id"], event_type="invoice.paid")] == [1, 0]
    assert client.get("/events/search", params={"state": "lost"}, headers=ACME).status_code == 400
    assert client.get("/events/search", params={"text": "x" * 201}, headers=ACME).status_code == 400
    (delivery,) = client.get(f"/events/{sent}/deliveries", headers=ACME).json()["deliveries"]
    assert (delivery["endpointId"], delivery["state"], delivery["attempts"]) == (made["id"], "failing", 1)
    assert delivery["nextAttemptAt"]
    (delivery,) = client.get(f"/events/{unsent}/deliveries", headers=ACME).json()["deliveries"]
    # An endpoint of the same millisecond is not later.
    assert delivery["state"] == "unsent"
    assert delivery["reason"] in ("added_later", "test")


# Tenants and scopes


READS = [
    "/events",
    "/events/search",
    "/events/{event}",
    "/events/{event}/attempts",
    "/events/{event}/deliveries",
    "/attempts",
    "/undelivered",
    "/event-types",
    "/endpoints",
    "/endpoints/{endpoint}",
    "/endpoints/{endpoint}/attempts",
    "/endpoints/{endpoint}/stats",
]
WRITES: list[tuple[str, str, Any]] = [
    ("POST", "/test", {}),
    ("POST", "/sync", {}),
    ("POST", "/endpoints", {"url": URL}),
    ("PATCH", "/endpoints/{endpoint}", {"description": "x"}),
    ("GET", "/endpoints/{endpoint}/secret", None),
    ("POST", "/endpoints/{endpoint}/secret/rotate", {}),
    ("POST", "/endpoints/{endpoint}/recover", {"since": "2026-01-01T00:00:00Z"}),
    ("POST", "/endpoints/{endpoint}/test", {}),
    ("POST", "/events/{event}/endpoints/{endpoint}/resend", {}),
    ("POST", "/undelivered/retry", {}),
    ("DELETE", "/endpoints/{endpoint}", None),
]
ALL = [("GET", path, None) for path in READS] + WRITES + [("POST", "/events/stream/ticket", {})]


def call(client: TestClient, method: str, path: str, body: Any, headers: dict[str, str], **ids: str) -> Any:
    return client.request(method, path.format(**ids), json=body, headers=headers)


@pytest.fixture
def ids(client: TestClient) -> dict[str, str]:
    return {"event": emit(client, ("invoice.paid", {}))[0], "endpoint": create(client)["id"]}


@pytest.mark.parametrize(("method", "path", "body"), ALL)
def test_an_anonymous_caller_is_asked_to_authenticate(
    client: TestClient, ids: dict[str, str], method: str, path: str, body: Any
) -> None:
    for headers in ({}, bearer("unknown")):
        response = call(client, method, path, body, headers, **ids)
        assert (response.status_code, response.json()["code"]) == (401, "unauthorized")
        assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_a_read_only_key_is_refused_with_the_missing_scope(
    client: TestClient, ids: dict[str, str], method: str, path: str, body: Any
) -> None:
    response = call(client, method, path, body, bearer("acme-read"), **ids)
    assert (response.status_code, response.json()["code"]) == (403, "missing_scope")
    assert "webhooks:write" in response.json()["detail"]


@pytest.mark.parametrize("path", READS)
def test_a_key_that_may_only_write_cannot_read(client: TestClient, ids: dict[str, str], path: str) -> None:
    response = call(client, "GET", path, None, bearer("acme-write"), **ids)
    assert response.status_code == 403
    assert "webhooks:read" in response.json()["detail"]


@pytest.mark.parametrize(("method", "path", "body"), [each for each in ALL if "{" in each[1]])
def test_another_tenants_objects_do_not_exist(
    client: TestClient, ids: dict[str, str], method: str, path: str, body: Any
) -> None:
    response = call(client, method, path, body, bearer("globex"), **ids)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    mine = client.get(f"/endpoints/{ids['endpoint']}", headers=ACME).json()
    assert mine["description"] == ""


def test_lists_contain_only_the_tenants_own_objects(client: TestClient, ids: dict[str, str]) -> None:
    assert client.get("/events", headers=bearer("globex")).json()["events"] == []
    assert client.get("/endpoints", headers=bearer("globex")).json()["endpoints"] == []


# The same-origin rule


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 202),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "http://testserver"}, 202),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://testserver"}, 403),
        ({}, 403),
    ],
)
def test_a_session_may_change_things_from_its_own_origin_only(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    response = client.post("/test", headers={"X-User": "acme", **headers})
    assert response.status_code == status, response.text
    if status == 403:
        assert response.json()["code"] == "cross_origin"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://testserver", 403),
        ("http://testserver:80", 202),
        ("http://testserver:8080", 403),
        ("HTTP://TESTSERVER", 202),
        ("https://example.com", 202),
        ("https://example.com:443", 202),
        ("http://example.com", 403),
    ],
)
def test_the_scheme_and_the_port_of_an_origin_count(settings: WebhooksSettings, origin: str, status: int) -> None:
    public = settings.model_copy(update={"public_url": "https://example.com/hooks"})
    with TestClient(make_app(make_webhooks(public)), base_url="http://testserver" + MOUNT) as client:
        assert client.post("/test", headers={"X-User": "acme", "Origin": origin}).status_code == status


def by_cookie_or_key(connection: HTTPConnection) -> Principal | None:
    """Authenticates like some hosts: by the session first, whatever the header says."""
    user = connection.cookies.get("user")
    return Principal(user, [READ, WRITE]) if user else KEYS.get(connection.headers.get("authorization", "")[7:])


def test_a_cookie_counts_as_a_cookie_with_any_header(settings: WebhooksSettings) -> None:
    app = make_app(make_webhooks(settings, authenticate=by_cookie_or_key))
    with TestClient(app, base_url="http://testserver" + MOUNT) as client:
        cookie = {"Cookie": "user=acme"}
        for key in ("anything", "acme"):
            refused = client.post("/test", headers={**cookie, **bearer(key), "Sec-Fetch-Site": "cross-site"})
            assert (refused.status_code, refused.json()["code"]) == (403, "cross_origin")
        assert client.post("/test", headers={**cookie, **bearer("acme")}).status_code == 403
        assert client.post("/test", headers={**cookie, "Sec-Fetch-Site": "same-origin"}).status_code == 202
        assert client.post("/test", headers=ACME).status_code == 202


def test_a_key_works_from_anywhere_with_any_cookies(client: TestClient) -> None:
    headers = {**ACME, "Cookie": "user=globex; other=1", "Sec-Fetch-Site": "cross-site"}
    assert client.post("/test", headers=headers).status_code == 202


@pytest.mark.parametrize("authorization", ["Bearer wrong", "bearer", "Token acme", "ApiKey x", "acme"])
def test_a_header_that_fails_never_falls_back_to_a_portal_session(client: TestClient, authorization: str) -> None:
    session = {"Cookie": session_of(client, "acme"), "Sec-Fetch-Site": "same-origin"}
    assert client.post("/test", headers=session).status_code == 202
    assert client.post("/test", headers={**session, "Authorization": authorization}).status_code == 401
    assert client.get("/events", headers={**session, "Authorization": authorization}).status_code == 401


def test_credentials_that_browsers_send_automatically_do_not_bypass_the_origin_check(client: TestClient) -> None:
    # Like behind a staging proxy that has its own password.
    session = {"Cookie": session_of(client, "acme"), "Authorization": "Basic YTpi"}
    assert client.get("/events", headers=session).status_code == 200
    assert client.post("/test", headers={**session, "Sec-Fetch-Site": "same-origin"}).status_code == 202
    assert client.post("/test", headers={**session, "Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_a_session_reads_from_anywhere(client: TestClient) -> None:
    assert client.get("/events", headers={"X-User": "acme", "Sec-Fetch-Site": "cross-site"}).status_code == 200


# Bad input


@pytest.mark.parametrize("byte", [b"\0", b"\x01", b"a", b"\xff"])
@pytest.mark.parametrize("size", [24, 32, 64])
def test_a_secret_of_equal_bytes_is_refused(client: TestClient, byte: bytes, size: int) -> None:
    secret = "whsec_" + base64.b64encode(byte * size).decode()
    for given in (secret, secret.removeprefix("whsec_").rstrip("=")):
        answer = client.post("/endpoints", json={"url": URL, "secret": given}, headers=ACME)
        assert answer.status_code == 422
        assert "repeats" in answer.json()["detail"]
        assert given not in answer.text


def test_callers_without_the_write_scope_see_no_query_of_a_url(client: TestClient) -> None:
    made = create(client, url=f"{URL}?token=hunter2")
    assert made["url"] == f"{URL}?token=hunter2"
    (event,) = emit(client, ("invoice.paid", {}))
    wait_for(lambda: client.get(f"/events/{event}/attempts", headers=ACME).json()["attempts"])
    for path in (
        "/endpoints",
        f"/endpoints/{made['id']}",
        f"/endpoints/{made['id']}/attempts",
        f"/events/{event}/attempts",
        "/attempts",
    ):
        assert "hunter2" in client.get(path, headers=ACME).text, path
        read = client.get(path, headers=bearer("acme-read")).text
        assert "hunter2" not in read, path
        assert URL in read, path


@pytest.mark.parametrize(
    "name",
    ["Host", "Content-Type", "webhook-id", "Svix-Id", "X-Forwarded-For", "x-forwarded-host", "Forwarded", "X-Real-IP"],
)
def test_headers_that_a_delivery_or_a_proxy_sets_are_refused(client: TestClient, name: str) -> None:
    answer = client.post("/endpoints", json={"url": URL, "headers": {name: "x"}}, headers=ACME)
    assert answer.status_code == 422
    assert f"`{name}` is not allowed" in answer.json()["detail"]


def test_the_answer_does_not_tell_whether_a_name_exists_in_the_hosts_network(client: TestClient) -> None:
    made = [
        client.post("/endpoints", json={"url": f"http://{host}/"}, headers=ACME).status_code
        for host in ("nothing.invalid", "intranet.example.invalid")
    ]
    assert made == [201, 201]


@pytest.mark.parametrize(
    ("query", "code", "remedy"),
    [
        ("cursor=abc", "invalid_cursor", "nextCursor"),
        ("cursor=", "invalid_cursor", "nextCursor"),
        ("cursor=msg_zzzzzzzzzzzzzzzzzzzzzzzzzzz", "invalid_cursor", "nextCursor"),
        ("limit=0", "invalid_request", "1 to 250"),
        ("limit=251", "invalid_request", "1 to 250"),
        ("limit=-1", "invalid_request", "1 to 250"),
        ("limit=ten", "invalid_request", "1 to 250"),
        ("limit=%D9%A3", "invalid_request", "1 to 250"),
        ("limit=1&limit=2", "invalid_request", "once"),
        ("before=2026-11-23T10:00:00", "invalid_time", "offset from UTC"),
        ("before=2026-02-30T10:00:00Z", "invalid_time", "does not exist"),
        ("after=yesterday", "invalid_time", "offset from UTC"),
        ("after=2026-11-23T23:59:61Z", "invalid_time", "does not exist"),
        ("after=2026-11-23T23:58:60Z", "invalid_time", "leap second"),
        ("event_type=invoice.payd", "unknown_event_type", "`invoice.paid`"),
        ("event_type=", "unknown_event_type", "event-types"),
        ("event_type=" + ",".join(f"t{n}" for n in range(21)), "too_many_event_types", "20"),
        ("channel=", "invalid_request", "1 to 128"),
        ("channel=a%00", "invalid_request", "NUL"),
        ("eventType=invoice.paid", "unknown_parameter", "`event_type`"),
    ],
)
def test_a_bad_query_is_a_400_with_the_remedy(client: TestClient, query: str, code: str, remedy: str) -> None:
    response = client.get(f"/events?{query}", headers=ACME)
    assert (response.status_code, response.json()["code"]) == (400, code), response.text
    assert remedy in response.json()["detail"]


@pytest.mark.parametrize("path", ["/events/nope", "/events/..%2f..", "/endpoints/nope", "/endpoints/nope/secret"])
def test_an_id_of_another_form_is_not_found(client: TestClient, path: str) -> None:
    assert client.get(path, headers=ACME).status_code == 404


def test_an_unknown_event_and_endpoint_are_not_found(client: TestClient) -> None:
    assert client.get(f"/events/{mint('msg_')}", headers=ACME).status_code == 404
    assert client.get(f"/endpoints/{mint('ep_')}", headers=ACME).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"\xff", 400, "invalid_json"),
        (b"[" * 30_000, 400, "invalid_json"),
        (b"[]", 422, "invalid_body"),
        (b'"x"', 422, "invalid_body"),
        (b'{"data": []}', 422, "invalid_body"),
        (b'{"data": 1}', 422, "invalid_body"),
        (b'{"eventType": 1}', 422, "invalid_body"),
        (b'{"eventType": "nope"}', 422, "unknown_event_type"),
        (b'{"eventType": "document.created", "data": {}}', 422, "invalid_event"),
        (b'{"eventType": "endpoint.disabled"}', 422, "reserved_type"),
        (b'{"event_type": "test.ping"}', 422, "invalid_body"),
        (b'{"data": {"x": NaN}}', 422, "invalid_event"),
        (b'{"data": {"x": "\\ud800"}}', 422, "invalid_body"),
        (b'{"data": {"x": [{"\\udfff": 1}]}}', 422, "invalid_body"),
        (b'{"\\ud800": 1}', 422, "invalid_body"),
        (b'{"data": {"x": "\xed\xa0\x80"}}', 400, "invalid_json"),
        (json.dumps({"data": {"x": "y" * 33_000}}).encode(), 422, "invalid_body"),
        (b'{"data": ' + b'{"x":' * 101 + b"1" + b"}" * 101 + b"}", 422, "invalid_event"),
        (b'{"data": {"x": "' + b"y" * 1_200_000 + b'"}}', 413, "payload_too_large"),
    ],
)
def test_a_bad_test_event_is_refused_and_nothing_is_stored(
    client: TestClient, body: bytes, status: int, code: str
) -> None:
    response = client.post("/test", content=body, headers=ACME)
    assert (response.status_code, response.json()["code"]) == (status, code), response.text[:300]
    assert client.get("/events", headers=ACME).json()["events"] == []


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"url": None}, "url"),
        ({"url": ""}, "url"),
        ({"url": "ftp://example.com/"}, "url"),
        ({"url": "example.com"}, "url"),
        ({"url": "http://user:pass@example.com/"}, "url"),
        ({"url": "http://10.0.0.1/"}, "url"),
        ({"url": "http://169.254.169.254/latest"}, "url"),
        ({"url": "http://[::ffff:10.0.0.1]/"}, "url"),
        ({"url": "https://example.com/" + "a" * 2100}, "url"),
        ({"eventTypes": "invoice.paid"}, "eventTypes"),
        ({"eventTypes": ["nope"]}, "nope"),
        ({"eventTypes": [""]}, "eventTypes"),
        ({"channels": ["a b"]}, "channels"),
        ({"rateLimit": 0}, "rateLimit"),
        ({"rateLimit": "5"}, "rateLimit"),
        ({"rateLimit": True}, "rateLimit"),
        ({"disabled": "yes"}, "disabled"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {"a": "x" * 5000}}, "metadata"),
        ({"metadata": {"a": "x\0"}}, "metadata"),
        ({"metadata": {"\0": "x"}}, "metadata"),
        ({"headers": {"Webhook-Id": "x"}}, "headers"),
        ({"headers": {"Host": "x"}}, "headers"),
        ({"headers": {"X-A": "x\r\nY: z"}}, "headers"),
        ({"headers": {"X A": "x"}}, "headers"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "headers"),
        ({"secret": "whsec_c2hvcnQ="}, "secret"),
        ({"secret": "plain"}, "secret"),
        ({"id": "ep_mine"}, "id"),
        ({"description": "x" * 1025}, "description"),
        ({"description": "x\0"}, "description"),
    ],
)
def test_a_bad_endpoint_is_refused_by_the_name_of_its_field(
    client: TestClient, fields: dict[str, Any], part: str
) -> None:
    response = client.post("/endpoints", json={"url": URL, **fields}, headers=ACME)
    assert response.status_code == 422, response.text
    assert part in response.json()["detail"]
    assert client.get("/endpoints", headers=ACME).json()["endpoints"] == []


@pytest.mark.parametrize(
    "body", [{}, {"since": "then"}, {"since": 1}, {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}]
)
def test_a_bad_recovery_is_refused(client: TestClient, body: dict[str, Any]) -> None:
    response = client.post(f"/endpoints/{create(client)['id']}/recover", json=body, headers=ACME)
    assert response.status_code in (400, 422)
    assert "since" in response.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("PUT", "/events", 405, "method_not_allowed"),
        ("GET", "/test", 405, "method_not_allowed"),
        ("DELETE", "/endpoints", 405, "method_not_allowed"),
    ],
)
def test_an_unknown_path_or_method_is_answered_in_json(
    client: TestClient, method: str, path: str, status: int, code: str
) -> None:
    response = client.request(method, path, headers=ACME)
    assert (response.status_code, response.json()["code"]) == (status, code)
    if status == 405:
        assert "allow" in response.headers


@pytest.mark.parametrize("path", ["/events/", "/endpoints/", "/event-types/", "/portal/", "/openapi.json/"])
def test_a_slash_too_many_is_not_found_rather_than_a_redirect_to_another_scheme(client: TestClient, path: str) -> None:
    response = client.get(path, headers=ACME, follow_redirects=False)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("POST", "/test", {"content": b'{"a": [{"\\ud800": 1}]}'}),
        ("POST", "/test", {"content": b'{"\\udfff": 1}'}),
        ("POST", "/endpoints", {"content": b'{"url": "http://127.0.0.1/\\ud800"}'}),
        ("POST", "/endpoints", {"content": b'{"url": "https://example.com", "metadata": {"\\ud800": "x"}}'}),
        ("GET", "/events?event_type=%ED%A0%80", {}),
        ("GET", "/events?%ED%A0%80=1", {}),
        ("GET", "/events?cursor=%ED%A0%80", {}),
    ],
)
def test_an_error_about_text_that_utf_8_cannot_encode_has_a_response(
    client: TestClient, method: str, path: str, sent: dict[str, Any]
) -> None:
    response = client.request(method, path, headers=ACME, **sent)
    assert response.status_code in (400, 422)
    assert set(response.json()) == {"code", "detail"}


def test_an_error_that_quotes_half_of_a_surrogate_pair_is_encoded(settings: WebhooksSettings) -> None:
    def refuse(connection: Any) -> None:
        raise Forbidden("No \ud800 here.")

    with TestClient(make_app(make_webhooks(settings, authenticate=refuse))) as client:
        response = client.get(f"{MOUNT}/events")
    assert (response.status_code, response.json()["detail"]) == (403, "No ? here.")


def test_an_answer_is_never_cached(client: TestClient) -> None:
    for path in ("/events", "/nothing"):
        headers = client.get(path, headers=ACME).headers
        assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")


@pytest.mark.parametrize("name", ["token", "ticket", "%74oken", "tick%65t", "%74%6f%6b%65%6e"])
async def test_no_token_reaches_the_log_however_its_name_is_written(settings: WebhooksSettings, name: str) -> None:
    webhooks = make_webhooks(settings)
    query = f"{name}=secret&limit=1".encode()
    scope: Scope = {"type": "http", "method": "GET", "path": "/events", "query_string": query, "headers": []}

    async def nothing(*args: Any) -> Any:
        return {"type": "http.request"}

    async with webhooks.lifespan():
        await webhooks(scope, nothing, nothing)
    assert b"secret" not in scope["query_string"]
    assert scope["query_string"].endswith(b"=redacted&limit=1")


def test_an_unexpected_error_is_raised_to_the_host(settings: WebhooksSettings) -> None:
    def broken(connection: Any) -> None:
        raise ZeroDivisionError("the host's own bug")

    app = make_app(make_webhooks(settings, authenticate=broken))
    with TestClient(app) as client, pytest.raises(ZeroDivisionError, match="own bug"):
        client.get(f"{MOUNT}/events")
    with TestClient(app, raise_server_exceptions=False) as client:
        response = client.get(f"{MOUNT}/events")
        assert response.status_code == 500
        assert "own bug" not in response.text


def test_a_browsers_own_authorization_does_not_count_as_a_key(client: TestClient) -> None:
    headers = {"X-User": "acme", "Authorization": "Basic YTpi", "Sec-Fetch-Site": "cross-site"}
    assert client.post("/test", headers=headers).status_code == 403


@pytest.mark.parametrize("origin", ["http://[", "//", "", "null", "http://testserver.evil.example"])
def test_an_origin_that_is_not_ours_in_any_form_is_refused(client: TestClient, origin: str) -> None:
    response = client.post("/test", headers={"X-User": "acme", "Origin": origin})
    assert (response.status_code, response.json()["code"]) == (403, "cross_origin")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/endpoints", {"GET", "HEAD", "POST"}),
        ("PUT", "/endpoints/ep_x", {"DELETE", "GET", "HEAD", "PATCH"}),
        ("POST", "/events", {"GET", "HEAD"}),
        ("DELETE", "/portal", {"GET", "HEAD", "POST"}),
    ],
)
def test_a_wrong_method_gets_all_allowed_ones(client: TestClient, method: str, path: str, allowed: set[str]) -> None:
    assert set(client.request(method, path, headers=ACME).headers["allow"].split(", ")) == allowed


def test_a_test_of_a_disabled_endpoint_is_refused(client: TestClient) -> None:
    endpoint = create(client, disabled=True)
    response = client.post(f"/endpoints/{endpoint['id']}/test", headers=ACME)
    assert (response.status_code, response.json()["code"]) == (409, "endpoint_disabled")
    assert "Enable it first" in response.json()["detail"]


def test_a_portal_link_lasts_as_asked_and_cannot_renew_itself(client: TestClient) -> None:
    session = {"Cookie": session_of(client, "acme-read", expiresIn=60), "Sec-Fetch-Site": "same-origin"}
    assert client.get("/events", headers=session).status_code == 200
    assert client.post("/test", headers=session).status_code == 403
    again = client.post("/portal", json={"expiresIn": 604_800}, headers=session)
    assert (again.status_code, again.json()["code"]) == (403, "portal_session")


def test_messages_for_customers_name_no_settings_or_classes(client: TestClient) -> None:
    large = client.post("/test", json={"data": {"x": "y" * 33_000}}, headers=ACME)
    assert "WEBHOOKS_" not in large.text
    assert "32768 bytes" in large.json()["detail"]
