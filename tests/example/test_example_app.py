"""The example app on each of its hosts: real servers, a real receiver, and webhooks signed as Stripe signs them."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from stripe import WebhookSignature

from example_app.catalog import EVENT_TYPES
from starlette_webhooks.signing import generate_secret
from tests import plain
from tests.eventually import wait_for
from tests.servers import ROOT, free_port, serving

HOSTS = ["starlette", "fastapi", "litestar"]
KEY = "sk_of_the_test"
STRIPE_SECRET = "whsec_of_the_test"
HOOKS = "/api/v1/webhooks"


@dataclass
class ExampleReceiver:
    """The receiver of the example, running."""

    url: str
    secret: str

    def received(self) -> list[dict[str, Any]]:
        """Return the webhooks that it has verified, newest first."""
        received: list[dict[str, Any]] = plain.get(f"{self.url}/received").json()["received"]
        return received


@pytest.fixture(scope="module")
def receiver() -> Generator[ExampleReceiver]:
    port, secret = free_port(), generate_secret()
    environment = {**os.environ, "RECEIVER_SECRET": secret}
    command = [sys.executable, "-m", "example_app.receiver", "--port", str(port)]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        running = ExampleReceiver(f"http://127.0.0.1:{port}", secret)
        try:
            wait_for(lambda: answers(running.url))
            yield running
        finally:
            process.terminate()


def answers(url: str) -> bool:
    """Return whether something listens there."""
    try:
        return plain.get(url).status_code < 500
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module", params=HOSTS)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The URL of the example app on a host."""
    directory, app = tmp_path_factory.mktemp("example"), f"example_app.{request.param}_app:app"
    with serving(directory, app=app, EXAMPLE_API_KEY=KEY, STRIPE_WEBHOOK_SECRET=STRIPE_SECRET) as server:
        yield server.url
        # The streams of the tests are closed by now, and Stripe and the endpoints have their responses.
        assert server.stop() in (0, -15)


@pytest.fixture
def api(base: str) -> Generator[httpx.Client]:
    """Calls with Ada's API key."""
    with plain.Client(base_url=base, headers={"Authorization": f"Bearer {KEY}"}) as client:
        yield client


@pytest.fixture
def browser(base: str) -> Generator[httpx.Client]:
    """Calls as Ada's browser, signed in."""
    with plain.Client(base_url=base, headers={"Origin": base}) as client:
        signed_in = client.post("/session", json={"email": "ada@example.com", "password": "ada-demo"})
        assert signed_in.json() == {"id": "user_ada", "name": "Ada", "email": "ada@example.com"}
        yield client


def newest(client: httpx.Client, **query: str) -> list[dict[str, Any]]:
    """The events that the client may list."""
    events: list[dict[str, Any]] = client.get(f"{HOOKS}/events", params=query).raise_for_status().json()["events"]
    return events


def event_of(client: httpx.Client, document: dict[str, Any]) -> dict[str, Any]:
    """The event of a document, which is moved into the log a moment after the commit."""

    def found() -> list[dict[str, Any]]:
        events = newest(client, event_type="document.created")
        return [event for event in events if event["payload"]["data"]["documentId"] == document["documentId"]]

    (event,) = wait_for(found)
    return event


def frames(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The events of a stream."""
    for line in lines:
        if line.startswith("data: "):
            yield json.loads(line[6:])


def test_route_emits_an_event_that_is_listed(api: httpx.Client) -> None:
    document = api.post("/api/v1/documents", json={"title": "Minutes"})
    assert document.status_code == 201
    assert api.get("/api/v1/documents").json()["documents"][0] == document.json()
    event = event_of(api, document.json())
    assert set(event) == {"id", "eventType", "payload", "timestamp"}
    assert event["eventType"] == event["payload"]["type"] == "document.created"
    assert event["payload"]["data"] == {"documentId": document.json()["documentId"], "title": "Minutes"}


def test_stream_carries_an_event_as_it_happens(api: httpx.Client) -> None:
    with api.stream("GET", f"{HOOKS}/events/stream", timeout=5) as stream:
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        lines = stream.iter_lines()
        assert next(lines).startswith("retry:")
        document = api.post("/api/v1/documents", json={"title": "Live"}).json()
        event = next(frame for frame in frames(lines) if frame["payload"]["data"].get("title") == "Live")
    assert event == event_of(api, document)


def test_delivery_reaches_the_receiver_which_verifies_it(api: httpx.Client, receiver: ExampleReceiver) -> None:
    endpoint = api.post(f"{HOOKS}/endpoints", json={"url": f"{receiver.url}/", "secret": receiver.secret})
    assert endpoint.status_code == 201
    event = event_of(api, api.post("/api/v1/documents", json={"title": "Delivered"}).json())
    received = wait_for(lambda: [one for one in receiver.received() if one["id"] == event["id"]])
    assert received == [{"id": event["id"], **event["payload"]}]
    attempts = wait_for(lambda: api.get(f"{HOOKS}/events/{event['id']}/attempts").json()["attempts"])
    assert [(one["status"], one["statusCode"]) for one in attempts] == [("success", 204)]
    assert api.delete(f"{HOOKS}/endpoints/{endpoint.json()['id']}").status_code == 204


def test_receiver_refuses_what_is_not_signed(receiver: ExampleReceiver) -> None:
    headers = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,bm8="}
    for sent in ({}, headers, {**headers, "webhook-signature": "nonsense"}):
        assert plain.post(f"{receiver.url}/", json={"type": "a"}, headers=sent).status_code == 400
    assert not [one for one in receiver.received() if one["id"] == "msg_1"]


def test_api_key_works_until_it_is_revoked(base: str, browser: httpx.Client) -> None:
    made = browser.post("/api/v1/keys", json={"name": "ci", "scopes": ["webhooks:read"]})
    assert made.status_code == 201
    secret = made.json().pop("secret")
    public = {"apiKeyId": made.json()["apiKeyId"], "name": "ci", "scopes": ["webhooks:read"]}
    with plain.Client(base_url=base, headers={"Authorization": f"Bearer {secret}"}) as client:
        event = newest(client)[0]
        assert (event["eventType"], event["payload"]["data"]) == ("api_key.created", public)
        assert secret not in json.dumps(event)
        assert client.get("/api/v1/documents").status_code == 403
        assert client.post(f"{HOOKS}/test").json()["code"] == "missing_scope"
        assert client.post("/api/v1/keys", json={"name": "more"}).status_code == 403
        assert browser.delete(f"/api/v1/keys/{public['apiKeyId']}").status_code == 204
        assert client.get(f"{HOOKS}/events").status_code == 401
    revoked = newest(browser)[0]
    assert revoked["eventType"] == "api_key.revoked"
    assert revoked["payload"]["data"] == {"apiKeyId": public["apiKeyId"], "name": "ci"}
    assert browser.delete(f"/api/v1/keys/{public['apiKeyId']}").status_code == 404


@pytest.mark.parametrize("body", [{"name": ""}, {"name": "x", "scopes": ["root"]}, {"scopes": ["webhooks:read"]}, []])
def test_malformed_key_is_refused_and_emits_nothing(browser: httpx.Client, body: object) -> None:
    before = newest(browser, event_type="api_key.created")
    assert browser.post("/api/v1/keys", json=body).status_code in (400, 422)
    assert newest(browser, event_type="api_key.created") == before


def test_session_begins_with_the_password_and_ends_by_signing_out(base: str, browser: httpx.Client) -> None:
    with plain.Client(base_url=base) as stranger:
        for email, password in (("ada@example.com", "wrong"), ("nobody@example.com", "ada-demo")):
            refused = stranger.post("/session", json={"email": email, "password": password})
            assert refused.status_code == 401
        assert "Sign in" in stranger.get("/").text
        assert stranger.post("/api/v1/documents", json={"title": "x"}).status_code == 401
        assert stranger.get(f"{HOOKS}/events").status_code == 401
        assert stranger.get("/webhooks/").status_code == 401
    browser.post("/api/v1/documents", json={"title": "<script>alert(1)</script>"})
    home = browser.get("/")
    assert "Ada" in home.text
    assert "&lt;script&gt;alert(1)" in home.text
    assert "<script>alert" not in home.text
    assert browser.get("/webhooks/").status_code == 200
    assert browser.delete("/session").status_code == 204
    assert browser.get(f"{HOOKS}/events").status_code == 401


def test_page_of_another_site_changes_nothing_with_the_session(browser: httpx.Client) -> None:
    refused = browser.post(f"{HOOKS}/test", headers={"Origin": "https://evil.example"})
    assert (refused.status_code, refused.json()["code"]) == (403, "cross_origin")
    assert browser.post(f"{HOOKS}/test").status_code == 202


CREDENTIALS = {"email": "ada@example.com", "password": "ada-demo"}
ELSEWHERE = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("headers", ELSEWHERE)
def test_page_of_another_site_reaches_no_route_of_the_product(
    base: str, browser: httpx.Client, headers: dict[str, str]
) -> None:
    before = newest(browser)
    key = browser.post("/api/v1/keys", json={"name": "kept"}).json()["apiKeyId"]
    calls: list[tuple[str, str, object]] = [
        ("POST", "/api/v1/documents", {"title": "Forged"}),
        ("POST", "/api/v1/keys", {"name": "forged"}),
        ("DELETE", f"/api/v1/keys/{key}", None),
        ("DELETE", "/session", None),
        ("POST", "/session", CREDENTIALS),
    ]
    for method, path, body in calls:
        refused = browser.request(method, path, json=body, headers={"Origin": "", **headers})
        assert (refused.status_code, refused.json()["code"]) == (403, "cross_origin"), path
    assert len(newest(browser)) == len(before) + 1
    assert browser.delete(f"/api/v1/keys/{key}").status_code == 204
    # A form can send JSON as text without a preflight request. FastAPI refuses that itself.
    body = json.dumps({"title": "Forged"})
    form = {"Origin": "", "Content-Type": "text/plain", **headers}
    assert browser.post("/api/v1/documents", content=body, headers=form).status_code in (403, 422)


def test_cookie_planted_before_signing_in_is_worth_nothing_after_it(base: str) -> None:
    with plain.Client(base_url=base, headers={"Origin": base}) as client:
        client.post("/session", json={"email": "grace@example.com", "password": "grace-demo"}).raise_for_status()
        planted = {"session": client.cookies["session"], "own": "planted"}
    for cookies in (planted, {"session": "chosen by the attacker"}):
        with plain.Client(base_url=base, headers={"Origin": base}, cookies=cookies) as victim:
            signed_in = victim.post("/session", json=CREDENTIALS)
            assert signed_in.cookies["session"] != cookies["session"]
        with plain.Client(base_url=base, cookies={"session": cookies["session"]}) as attacker:
            assert "Ada" not in attacker.get("/").text


def test_session_cookie_is_secure_if_the_site_is(base: str) -> None:
    for scheme, secure in (("https", True), ("http", False)):
        with plain.Client(base_url=base, headers={"X-Forwarded-Proto": scheme}) as client:
            cookie = client.post("/session", json=CREDENTIALS).headers["set-cookie"].lower()
            assert "httponly" in cookie
            assert "samesite=lax" in cookie
            assert ("secure" in cookie) is secure


def test_other_user_sees_no_events_of_it(base: str, api: httpx.Client) -> None:
    api.post("/api/v1/documents", json={"title": "Private"})
    with plain.Client(base_url=base) as grace:
        grace.post("/session", json={"email": "grace@example.com", "password": "grace-demo"}).raise_for_status()
        assert newest(grace) == []
        assert grace.get(f"{HOOKS}/events/{newest(api)[0]['id']}").status_code == 404
        assert "Private" not in grace.get("/").text


def test_every_event_type_is_in_the_catalog_with_its_schema(api: httpx.Client) -> None:
    catalog = {one["name"]: one for one in api.get(f"{HOOKS}/event-types").json()["eventTypes"]}
    for event_type in EVENT_TYPES:
        assert catalog[event_type.name] == event_type.document()
    assert catalog["invoice.payment_failed"]["schema"]["properties"]["amountDue"] == {
        "title": "Amountdue",
        "type": "integer",
    }


INVOICE = {
    "id": "in_1",
    "customer": "cus_1",
    "currency": "eur",
    "parent": {"subscription_details": {"subscription": "s"}},
}
STRIPE_EVENTS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    (
        "customer.subscription.updated",
        {"id": "sub_1", "customer": "cus_1", "status": "past_due", "cancel_at_period_end": True},
        "subscription.updated",
        {"subscriptionId": "sub_1", "customerId": "cus_1", "status": "past_due", "cancelAtPeriodEnd": True},
    ),
    (
        "customer.subscription.deleted",
        {"id": "sub_1", "customer": "cus_1", "status": "canceled"},
        "subscription.canceled",
        {"subscriptionId": "sub_1", "customerId": "cus_1"},
    ),
    (
        "invoice.payment_succeeded",
        {**INVOICE, "amount_paid": 9900},
        "invoice.payment_succeeded",
        {"invoiceId": "in_1", "subscriptionId": "s", "currency": "eur", "amountPaid": 9900},
    ),
    (
        "invoice.payment_failed",
        {**INVOICE, "parent": None, "subscription": "sub_2", "amount_due": 9900, "attempt_count": 2},
        "invoice.payment_failed",
        {"invoiceId": "in_1", "subscriptionId": "sub_2", "currency": "eur", "amountDue": 9900, "attemptCount": 2},
    ),
]


def stripe_sends(
    base: str, kind: str, about: dict[str, Any], id: str = "", secret: str = STRIPE_SECRET
) -> httpx.Response:
    """Send a webhook as Stripe does, signed by Stripe's own library."""
    event = {"id": id or f"evt_{uuid4().hex}", "object": "event", "type": kind, "data": {"object": about}}
    body = json.dumps(event)
    headers = {"Stripe-Signature": WebhookSignature.generate_signature_header(body, secret)}
    return plain.post(f"{base}/stripe/webhook", content=body, headers=headers)


def check_out(base: str, id: str = "") -> httpx.Response:
    """The checkout that makes Ada a customer."""
    about = {"mode": "subscription", "subscription": "sub_1", "customer": "cus_1", "client_reference_id": "user_ada"}
    return stripe_sends(base, "checkout.session.completed", about, id)


def test_checkout_at_stripe_is_one_event_even_if_stripe_repeats_it(base: str, api: httpx.Client) -> None:
    before = len(newest(api, event_type="subscription.created"))
    id = f"evt_{uuid4().hex}"
    for _ in range(3):
        assert check_out(base, id).status_code == 204
    events = newest(api, event_type="subscription.created")
    assert len(events) == before + 1
    assert events[0]["payload"]["data"] == {"subscriptionId": "sub_1", "customerId": "cus_1"}


@pytest.mark.parametrize(("kind", "about", "event_type", "data"), STRIPE_EVENTS, ids=[row[2] for row in STRIPE_EVENTS])
def test_billing_event_of_stripe_becomes_one_of_ours(
    base: str, api: httpx.Client, kind: str, about: dict[str, Any], event_type: str, data: dict[str, Any]
) -> None:
    check_out(base)
    assert stripe_sends(base, kind, about).status_code == 204
    event = newest(api)[0]
    assert (event["eventType"], event["payload"]["data"]) == (event_type, data)


def test_webhook_that_is_not_from_stripe_emits_nothing(base: str, api: httpx.Client) -> None:
    check_out(base)
    before = newest(api)
    kind, about, *_ = STRIPE_EVENTS[0]
    assert stripe_sends(base, kind, about, secret="whsec_of_somebody_else").status_code == 400
    for headers in ({}, {"Stripe-Signature": "nonsense"}, {"Stripe-Signature": "t=1,v1=00"}):
        assert plain.post(f"{base}/stripe/webhook", content=b"\xff", headers=headers).status_code == 400
    assert newest(api) == before


def test_webhook_of_stripe_about_an_unknown_customer_emits_nothing(base: str, api: httpx.Client) -> None:
    before = newest(api)
    assert stripe_sends(base, "customer.created", {"id": "cus_9"}).status_code == 204
    assert stripe_sends(base, "checkout.session.completed", {"mode": "payment", "customer": "cus_1"}).status_code == 204
    kind, about, *_ = STRIPE_EVENTS[0]
    assert stripe_sends(base, kind, {**about, "customer": "cus_of_nobody"}).status_code == 404
    assert newest(api) == before


@pytest.mark.slow  # Starts a server twice.
def test_documents_and_their_events_agree_after_a_kill(tmp_path: Path) -> None:
    app, headers = "example_app.starlette_app:app", {"Authorization": f"Bearer {KEY}"}
    with serving(tmp_path, app=app, EXAMPLE_API_KEY=KEY) as server:
        killer = threading.Timer(0.3, server.kill)
        killer.start()
        with suppress(httpx.TransportError):
            for number in itertools.count():
                plain.post(f"{server.url}/api/v1/documents", json={"title": str(number)}, headers=headers)
        killer.join()
    with (
        serving(tmp_path, app=app, EXAMPLE_API_KEY=KEY) as server,
        plain.Client(base_url=server.url, headers=headers) as client,
    ):
        documents = [document["documentId"] for document in client.get("/api/v1/documents").json()["documents"]]
        assert documents

        def emitted() -> list[str]:
            return [event["payload"]["data"]["documentId"] for event in newest(client, limit="250")]

        wait_for(lambda: len(emitted()) >= min(len(documents), 250))
        assert emitted() == documents[:250]


@pytest.mark.parametrize("host", HOSTS)
def test_server_stops_immediately_even_if_a_stream_is_open(host: str, tmp_path: Path) -> None:
    with serving(tmp_path, app=f"example_app.{host}_app:app", EXAMPLE_API_KEY=KEY) as server:
        headers = {"Authorization": f"Bearer {KEY}"}
        with plain.stream("GET", f"{server.url}{HOOKS}/events/stream", headers=headers, timeout=5) as stream:
            assert next(stream.iter_lines()).startswith("retry:")
            server.stop(timeout=5)


def test_the_portal_opens_without_the_slash_too(browser: httpx.Client) -> None:
    page = browser.get("/webhooks", follow_redirects=True)
    assert page.status_code == 200
    (style,) = re.findall(r'href="([^"]*static/\w+/portal\.css)"', page.text)
    assert browser.get(str(page.url.join(style))).status_code == 200


def test_the_console_opens_for_the_demo_operator_and_for_nobody_else(base: str, browser: httpx.Client) -> None:
    for path in ("/operate", "/operate/", "/operate/endpoints"):
        assert browser.get(path, follow_redirects=True).status_code == 404
    with plain.Client(base_url=base, headers={"Origin": base}, follow_redirects=True) as olga:
        olga.post("/session", json={"email": "olga@example.com", "password": "olga-demo"}).raise_for_status()
        assert '<a href="operate/">' in olga.get("/").text
        overview = olga.get("/operate")
        assert overview.url.path == "/operate/"
        assert "Overview" in overview.text
        (style,) = re.findall(r'href="\./(static/\w+/console\.css)"', overview.text)
        assert olga.get(f"/operate/{style}").status_code == 200
        assert "Olga" not in olga.get("/operate/tenants").text
        assert olga.post("/operate/endpoints/ep_none/disable").status_code == 404
        assert olga.post("/operate/endpoints/ep_none/disable", headers={"Origin": "http://evil"}).status_code == 403
    assert '<a href="operate/">' not in browser.get("/").text
