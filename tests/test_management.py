"""Managing endpoints from code: the same rules and the same errors as the routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from starlette_webhooks import Event, NotRunning, Webhooks
from starlette_webhooks.exceptions import Conflict, InvalidBody, InvalidRequest, NotFound
from starlette_webhooks.identifiers import mint
from starlette_webhooks.management import TenantEndpoints
from starlette_webhooks.settings import WebhooksSettings
from tests.hosts import MOUNT, bearer, make_app, make_webhooks

URL = "http://127.0.0.1:9/hook"
SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"


@pytest.fixture
async def webhooks(settings: WebhooksSettings) -> AsyncIterator[Webhooks]:
    webhooks = make_webhooks(settings.model_copy(update={"deliver": False, "endpoints_per_tenant": 3}))
    async with webhooks.lifespan():
        yield webhooks


@pytest.fixture
def endpoints(webhooks: Webhooks) -> TenantEndpoints:
    return webhooks.endpoints("acme")


async def test_an_endpoint_is_created_read_changed_and_deleted(endpoints: TenantEndpoints) -> None:
    created = await endpoints.create(
        URL,
        description="ours",
        event_types=["invoice.paid", "invoice.paid"],
        channels=("eu",),
        rate_limit=5,
        metadata={"team": "a"},
        headers={"X-Token": "hidden"},
        secret=SECRET,
    )
    assert (created.tenant, created.url, created.event_types, created.channels) == (
        "acme",
        URL,
        ("invoice.paid",),
        ("eu",),
    )
    assert (created.rate_limit, created.metadata, created.headers) == (5, {"team": "a"}, {"X-Token": "hidden"})
    assert await endpoints.get(created.id) == created
    assert (await endpoints.list()).items == [created]
    changed = await endpoints.update(created.id, disabled=True, rate_limit=None, event_types=())
    assert (changed.disabled, changed.rate_limit, changed.event_types) == (True, None, ())
    assert (changed.description, changed.metadata) == ("ours", {"team": "a"})
    assert (await endpoints.update(created.id, disabled=False, url=URL + "/2")).url == URL + "/2"
    await endpoints.delete(created.id)
    with pytest.raises(NotFound):
        await endpoints.get(created.id)


async def test_endpoints_are_listed_in_pages(endpoints: TenantEndpoints) -> None:
    ids = [(await endpoints.create(URL)).id for _ in range(3)]
    first = await endpoints.list(limit=2)
    second = await endpoints.list(limit=2, cursor=first.next_cursor)
    assert [one.id for one in (*first.items, *second.items)] == ids[::-1]
    assert (first.done, second.done, second.next_cursor) == (False, True, None)
    with pytest.raises(InvalidRequest, match="1 to 250"):
        await endpoints.list(limit=0)


async def test_a_secret_is_read_and_rotated(endpoints: TenantEndpoints) -> None:
    id = (await endpoints.create(URL, secret=SECRET)).id
    assert await endpoints.secret(id) == SECRET
    rotated = await endpoints.rotate(id)
    assert rotated == await endpoints.secret(id) != SECRET
    assert await endpoints.rotate(id, SECRET) == SECRET
    with pytest.raises(InvalidBody, match="key"):
        await endpoints.rotate(id, "short")
    with pytest.raises(InvalidBody, match="overlap"):
        await endpoints.rotate(id, overlap=604_801)


@pytest.mark.parametrize("secret", ["MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNA==", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNA"])
async def test_a_secret_is_kept_with_its_prefix_and_its_padding(endpoints: TenantEndpoints, secret: str) -> None:
    canonical = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNA=="
    id = (await endpoints.create(URL, secret=secret)).id
    assert await endpoints.secret(id) == canonical
    await endpoints.rotate(id)
    assert await endpoints.rotate(id, secret) == await endpoints.secret(id) == canonical


async def test_a_test_event_goes_to_the_endpoint_and_is_in_the_log(
    webhooks: Webhooks, endpoints: TenantEndpoints
) -> None:
    endpoint = await endpoints.create(URL, event_types=["invoice.paid"])
    event = await endpoints.test(endpoint.id)
    assert isinstance(event, Event)
    assert (event.type, event.data["hello"]) == ("test.ping", "world")
    assert (await endpoints.test(endpoint.id, "document.created", {"title": "x"})).data["title"] == "x"
    with pytest.raises(InvalidBody, match="There is no event type `invoice.payd`. Did you mean `invoice.paid`?"):
        await endpoints.test(endpoint.id, "invoice.payd")
    with pytest.raises(InvalidBody, match="title"):
        await endpoints.test(endpoint.id, "document.created", {})
    await endpoints.update(endpoint.id, disabled=True)
    with pytest.raises(Conflict, match="disabled"):
        await endpoints.test(endpoint.id)


async def test_events_without_an_attempt_are_recovered(webhooks: Webhooks, endpoints: TenantEndpoints) -> None:
    for number in range(3):
        await webhooks.emitter("acme").emit("invoice.paid", {"n": number})
    endpoint = await endpoints.create(URL)
    since = datetime.now(UTC) - timedelta(hours=1)
    assert await endpoints.recover(endpoint.id, since) == 0
    assert await endpoints.recover(endpoint.id, since, missing=True) == 3
    for times in ((since, since), (since.replace(tzinfo=None), None)):
        with pytest.raises(InvalidBody, match="since"):
            await endpoints.recover(endpoint.id, *times)


async def test_objects_of_other_tenants_are_not_found(webhooks: Webhooks, endpoints: TenantEndpoints) -> None:
    others = (await webhooks.endpoints("globex").create(URL)).id
    for id in (others, mint("ep_"), "nonsense"):
        for call in (
            endpoints.get(id),
            endpoints.update(id, description="x"),
            endpoints.delete(id),
            endpoints.secret(id),
            endpoints.rotate(id),
            endpoints.test(id),
            endpoints.recover(id, datetime.now(UTC)),
        ):
            with pytest.raises(NotFound, match="There is no such endpoint"):
                await call


async def test_the_number_of_endpoints_is_limited(endpoints: TenantEndpoints) -> None:
    for _ in range(3):
        await endpoints.create(URL)
    with pytest.raises(Conflict) as raised:
        await endpoints.create(URL)
    assert raised.value.code == "endpoint_limit"


WRONG: list[dict[str, Any]] = [
    {"url": "ftp://example.com/"},
    {"url": "http://10.0.0.1/"},
    {"url": 7},
    {"eventTypes": ["invoice.payd"]},
    {"eventTypes": "invoice.paid"},
    {"channels": ["a b"]},
    {"channels": [f"c{number}" for number in range(11)]},
    {"rateLimit": 0},
    {"rateLimit": "5"},
    {"rateLimit": 5.5},
    {"disabled": 1},
    {"description": "x" * 1025},
    {"metadata": {"a": 1}},
    {"metadata": {"a": "x" * 5000}},
    {"headers": {"Host": "x"}},
    {"headers": {"X-A": "x\r\nY: z"}},
    {"headers": {f"X-{number}": "x" for number in range(21)}},
    {"secret": "whsec_c2hvcnQ="},
]
ARGUMENTS = {"eventTypes": "event_types", "rateLimit": "rate_limit"}


@pytest.mark.parametrize("fields", WRONG)
async def test_code_gets_the_same_errors_as_the_routes(
    webhooks: Webhooks, endpoints: TenantEndpoints, fields: dict[str, Any]
) -> None:
    with pytest.raises(InvalidBody) as raised:
        await endpoints.create(**{"url": URL, **{ARGUMENTS.get(name, name): value for name, value in fields.items()}})
    assert (await endpoints.list()).items == []
    with TestClient(make_app(make_webhooks(webhooks.settings.model_copy(update={"database": ":memory:"})))) as client:
        answer = client.post(f"{MOUNT}/endpoints", json={"url": URL, **fields}, headers=bearer("acme"))
    assert answer.status_code == raised.value.status_code
    assert answer.json() == {"code": raised.value.code, "detail": raised.value.detail}


async def test_an_endpoint_keeps_the_names_of_types_that_were_retired(settings: WebhooksSettings) -> None:
    settings = settings.model_copy(update={"deliver": False})
    before = make_webhooks(settings, event_types=["old.one", "old.two", "new.one"])
    async with before.lifespan():
        id = (await before.endpoints("acme").create(URL, event_types=["old.one", "new.one"])).id
    after = make_webhooks(settings, event_types=["new.one", "new.two"])
    async with after.lifespan():
        endpoints = after.endpoints("acme")
        changed = await endpoints.update(id, event_types=["new.two", "old.one"])
        assert changed.event_types == ("new.two", "old.one")
        with pytest.raises(InvalidBody, match=r"old\.two"):
            await endpoints.update(id, event_types=["old.two"])
        assert (await endpoints.update(id, event_types=["new.one"])).event_types == ("new.one",)
        with pytest.raises(InvalidBody, match=r"old\.one"):
            await endpoints.update(id, event_types=["old.one"])


async def test_outside_the_lifespan_nothing_is_managed(settings: WebhooksSettings) -> None:
    endpoints = make_webhooks(settings).endpoints("acme")
    with pytest.raises(NotRunning):
        await endpoints.list()
