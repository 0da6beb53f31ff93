"""Event types, the portal, the check at startup, and health."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel

from starlette_webhooks.backends.svix import SvixBackend
from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.event_types import EventType, EventTypes
from starlette_webhooks.exceptions import BackendRefused, BackendUnavailable
from starlette_webhooks.settings import WebhooksSettings
from tests.backends.svix.fake_server import FakeSvix
from tests.backends.svix.support import TYPES, make, running, running_fast
from tests.eventually import eventually


class Line(BaseModel):
    """A line of an order."""

    amount: int


class Order(BaseModel):
    """An order."""

    lines: list[Line]


async def test_the_catalog_is_registered_and_a_second_time_nothing_happens(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    types = EventTypes([*TYPES, EventType("order.placed", description="An order.", schema=Order)])
    names = tuple(sorted(event_type.name for event_type in types))
    async with running(svix_settings) as backend:
        assert (await backend.sync(types)).created == names
        calls = len([call for call in fake.calls if call.method != "GET"])
        again = await backend.sync(types)
        assert (again.created, again.updated, again.unchanged) == ((), (), names)
        assert len([call for call in fake.calls if call.method != "GET"]) == calls
    schema = fake.event_types["order.placed"]["schemas"]["1"]
    assert schema["properties"]["data"]["properties"]["lines"]["items"] == {"$ref": "#/$defs/Line"}
    assert schema["$defs"]["Line"]["properties"]["amount"]["type"] == "integer"
    assert fake.event_types["invoice.paid"]["schemas"]["1"]["examples"][0]["data"] == {"amount": 1}


async def test_what_others_set_of_an_event_type_is_kept(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    async with running(svix_settings) as backend:
        await backend.sync(TYPES)
        by_hand = {"featureFlag": "beta", "deprecated": True, "archived": True, "description": "old words"}
        fake.event_types["invoice.paid"].update(by_hand)
        fake.event_types["invoice.paid"]["schemas"]["2"] = {"title": "by hand"}
        fake.event_types["others.own"] = fake.event_types["invoice.paid"] | {"name": "others.own"}
        result = await backend.sync(TYPES)
        assert result.updated == ("invoice.paid",)
    changed = fake.event_types["invoice.paid"]
    assert (changed["featureFlag"], changed["deprecated"], changed["archived"]) == ("beta", True, False)
    assert set(changed["schemas"]) == {"1", "2"}
    assert fake.event_types["others.own"]["archived"]


async def test_types_that_vanished_are_archived_if_the_setting_says_so(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    async with running(svix_settings, archive_event_types=True) as backend:
        await backend.sync(EventTypes(["invoice.paid", "old.type"]))
        fake.event_types["others.own"] = fake.event_types["old.type"] | {"name": "others.own"}
        await backend.sync(EventTypes(["invoice.paid"]))
    assert fake.event_types["old.type"]["archived"]
    assert not fake.event_types["others.own"]["archived"]
    assert not fake.event_types["invoice.paid"]["archived"]


async def test_a_type_that_svix_refuses_does_not_keep_the_others_out(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    fake.fail("/event-type$", method="POST", status=422, body=b'{"detail":[{"loc":["body"],"msg":"bad schema"}]}')
    async with running(svix_settings) as backend:
        with pytest.raises(BackendRefused, match="bad schema"):
            await backend.sync(TYPES)
        assert len(fake.event_types) == len(TYPES) - 1
        assert len((await backend.sync(TYPES)).created) == 1


async def test_a_type_that_svix_refuses_is_logged_and_keeps_no_portal_closed(
    fake: FakeSvix, svix_settings: WebhooksSettings, caplog: pytest.LogCaptureFixture
) -> None:
    fake.portal_url = "https://app.svix.com/login#key=abc"
    fake.fail("/event-type$", method="POST", status=422, body=b'{"detail":[{"loc":["body"],"msg":"bad schema"}]}')
    async with running(svix_settings) as backend:
        assert await backend.portal("a", write=False, expires_in=60) is not None
        assert "Svix refused an event type" in caplog.text
        assert await backend.portal("a", write=False, expires_in=60) is not None
        assert caplog.text.count("Svix refused an event type") == 1


async def test_a_type_that_another_process_registers_at_the_same_time_is_unchanged(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    conflict = b'{"code":"event_type_exists","detail":"An event_type with this name already exists"}'
    fake.fail("/event-type$", method="POST", status=409, body=conflict)
    async with running(svix_settings) as backend:
        result = await backend.sync(EventTypes(["invoice.paid", "user.created"]))
        assert len(result.unchanged) == 1
        assert not {*result.created} & {*result.unchanged}


async def test_a_schema_that_changed_is_updated_and_a_type_archived_by_hand_is_forgotten(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    async with running(svix_settings, archive_event_types=True) as backend:
        await backend.sync(EventTypes(["invoice.paid", "old.type"]))
        fake.event_types["old.type"]["archived"] = True
        changed = EventTypes([EventType("invoice.paid", schema=Order)])
        assert (await backend.sync(changed)).updated == ("invoice.paid",)
    schema = fake.event_types["invoice.paid"]["schemas"]["1"]
    assert "lines" in schema["properties"]["data"]["properties"]
    assert fake.calls_to("/event-type/old.type$") == []


async def test_many_event_types_are_read_in_pages(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    types = EventTypes(f"type.number_{number}" for number in range(300))
    async with running(svix_settings) as backend:
        assert len((await backend.sync(types)).created) == len(types)
        assert len((await backend.sync(types)).unchanged) == len(types)
    assert fake.most_at_once <= 10


async def test_a_self_hosted_server_has_no_portal_so_ours_serves(svix_settings: WebhooksSettings, tenant: str) -> None:
    async with running(svix_settings) as backend:
        assert await backend.portal(tenant, write=True, expires_in=3600) is None
        assert await backend.portal(tenant, write=True, expires_in=3600) is None
        await backend.end_portal_access(tenant)


async def test_the_portal_is_read_only_for_callers_with_the_read_scope(
    fake: FakeSvix, svix_settings: WebhooksSettings
) -> None:
    fake.portal_url = "https://app.svix.com/login#key=abc"
    async with running(svix_settings) as backend:
        before = datetime.now(UTC)
        access = await backend.portal("a", write=False, expires_in=60)
        assert access is not None
        assert access.url == fake.portal_url
        assert timedelta(minutes=59) < access.expires_at - before < timedelta(minutes=61)
        await backend.portal("a", write=True, expires_in=10**9)
        reading, writing = (call.body for call in fake.calls_to("/auth/app-portal-access/a$"))
        assert reading == {"capabilities": ["ViewBase"], "expiry": 3600}
        assert "ManageEndpoint" in writing["capabilities"]
        assert writing["expiry"] == 604_800
        assert set(fake.event_types) == {event_type.name for event_type in TYPES}


async def test_access_to_the_portal_of_svix_can_be_ended(fake: FakeSvix, svix_settings: WebhooksSettings) -> None:
    fake.portal_url = "https://app.svix.com/login#key=abc"
    async with running(svix_settings) as backend:
        await backend.portal("a", write=False, expires_in=60)
        await backend.end_portal_access("a")
        (call,) = fake.calls_to("/auth/app/a/expire-all$")
        assert call.body == {"expiry": 0}
        await backend.end_portal_access("nobody")


async def test_the_backend_starts_while_svix_is_down_keeps_events_and_says_so(
    fake: FakeSvix, svix_settings: WebhooksSettings, caplog: pytest.LogCaptureFixture
) -> None:
    fake.go_down()
    async with running_fast(svix_settings) as backend:
        await backend.submit([make("a", 1)]).wait()
        await eventually(lambda: backend.health()["outbox"]["waiting"] == 1)
        await eventually(lambda: "cannot be reached" in caplog.text)
        health = backend.health()
        assert health["status"] == "degraded"
        assert "cannot be reached" in (health["svix"]["problem"] or "")
        assert health["relay"]["here"]
        await eventually(lambda: len(fake.calls_to("/event-type$", "GET")) > 3)
        assert caplog.text.count("Events are stored meanwhile") == 1
        fake.heal()
        await backend.settle()
        await eventually(lambda: backend.health()["outbox"]["waiting"] == 0)
        await eventually(lambda: backend.health()["svix"]["answered"])
        assert backend.health()["status"] == "ok"


async def test_a_wrong_key_raises_with_the_remedy(
    fake: FakeSvix, svix_settings: WebhooksSettings, caplog: pytest.LogCaptureFixture
) -> None:
    from pydantic import SecretStr

    async with running(svix_settings.model_copy(update={"svix_api_key": SecretStr("wrong-key")})) as backend:
        await eventually(lambda: "SVIX_API_KEY" in caplog.text)
        assert "svix-server jwt generate" in caplog.text
        assert "wrong-key" not in caplog.text
        assert "wrong-key" not in str(backend.health())
        assert backend.health()["status"] == "degraded"
        await backend.submit([make("a", 1)]).wait()
    assert fake.applications == {}


async def test_a_server_that_is_too_old_is_reported(
    fake: FakeSvix, svix_settings: WebhooksSettings, caplog: pytest.LogCaptureFixture
) -> None:
    fake.ignores_filters = True
    async with running(svix_settings) as backend:
        await eventually(lambda: backend.health()["svix"]["answered"])
        assert backend.health()["status"] == "degraded"
        assert "Upgrade it to 1.99" in (backend.health()["svix"]["problem"] or "")
        assert caplog.text.count("Upgrade it to 1.99") == 1


async def test_a_server_without_an_openapi_document_is_not_called_too_old(
    fake: FakeSvix, svix_settings: WebhooksSettings, caplog: pytest.LogCaptureFixture
) -> None:
    fake.fail("/openapi.json$", status=404, body=b"")
    async with running(svix_settings) as backend:
        await eventually(lambda: backend.health()["svix"]["answered"])
        assert backend.health()["status"] == "ok"
        assert [record.message for record in caplog.records if record.name == "starlette_webhooks"] == []


async def test_health_is_fine_when_all_is_fine(
    svix_settings: WebhooksSettings, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with running(svix_settings) as backend:
            await backend.send([make("health", 1)])
            await backend.create_endpoint("health", EndpointChanges(url="https://example.com/"))
            await eventually(lambda: backend.health()["svix"]["answered"])
            assert backend.health()["status"] == "ok"
            await backend.erase("health")
    assert [record.message for record in caplog.records if record.name == "starlette_webhooks"] == []


async def test_the_secret_key_is_made_once_and_kept(svix_settings: WebhooksSettings) -> None:
    async with running(svix_settings) as backend:
        keys = await backend.secret_keys()
    async with running(svix_settings) as backend:
        assert await backend.secret_keys() == keys
        assert [len(key) for key in keys] == [32]


def test_without_a_key_the_backend_says_what_is_missing(svix_settings: WebhooksSettings) -> None:
    with pytest.raises(BackendUnavailable, match="SVIX_API_KEY"):
        SvixBackend(svix_settings.model_copy(update={"svix_api_key": None}))
