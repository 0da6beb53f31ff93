"""What operators change, on each store: endpoints, retries and dead letters."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import anyio
import httpx
import pytest
from sqlalchemy import create_engine, text

from starlette_webhooks import BackendUnavailable
from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.backends.operations import RetryProgress
from starlette_webhooks.backends.sqlite import SQLiteBackend
from starlette_webhooks.outbox import Outbox
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.undelivered import Retried, UndeliveredQuery
from tests.console.desk import SAME_ORIGIN, Desk, Page, at_console
from tests.console.test_pages import fail, until
from tests.eventually import eventually
from tests.hosts import make_webhooks
from tests.receivers import Receiver

WHO = {"via": "operator", "subject": "olga", "address": "192.0.2.7"}


async def test_an_endpoint_is_disabled_and_enabled(desk: Desk, entries: list[dict[str, Any]]) -> None:
    endpoint, _ = await fail(desk, "acme")
    entries.clear()
    page = await desk.press(await desk.get(f"endpoints/{endpoint}"), "Disable")
    assert "The endpoint is disabled." in page.text
    assert (await desk.webhooks.endpoints("acme").get(endpoint)).disabled_reason == "manual"
    page = await desk.press(page, "Enable")
    assert "The endpoint is enabled." in page.text
    assert not (await desk.webhooks.endpoints("acme").get(endpoint)).disabled
    origin = desk.receiver.server.url
    entry = {"action": "endpoint.changed", "tenant": "acme", **WHO, "endpoint": endpoint, "origin": origin}
    assert entries == [{**entry, "fields": ["disabled"]}] * 2
    answer = await desk.client.post("endpoints/ep_x/disable", headers=SAME_ORIGIN)
    assert answer.status_code == 404


async def test_what_was_not_delivered_is_counted_confirmed_retried_and_arrives(
    desk: Desk, entries: list[dict[str, Any]]
) -> None:
    endpoint, event = await fail(desk, "acme")
    disabled, _ = await fail(desk, "acme", "invoice.failed")
    await desk.webhooks.backend.disable_endpoint(disabled)
    await fail(desk, "other")
    entries.clear()
    desk.receiver.status = 200
    page = await desk.follow(await desk.get("undelivered?tenant=acme"), "Retry all of these…")
    assert "Retry 2 deliveries?" in page.text
    assert "tenant: acme" in page.text
    page = await desk.press(page, "Retry now")
    assert "Started by olga" in page.text
    assert [(entry["action"], entry["tenant"]) for entry in entries] == [("deliveries.retried", "acme")]
    page = await until(desk, page.url, lambda page: "Done." in page.text)
    assert "1 delivery queued. 1 left out, because their endpoints are disabled." in page.text
    assert not page.live
    # Every process of the host shows it.
    other = make_webhooks(desk.webhooks.settings.model_copy(update={"deliver": False}))
    async with other.lifespan(), at_console(other) as client:
        assert "1 delivery queued." in Page(await client.get(page.url)).text

    async def arrived() -> bool:
        found = await desk.webhooks.backend.find_undelivered(UndeliveredQuery(endpoint_id=endpoint))
        return not found.items

    await eventually(arrived)
    assert event in desk.receiver.ids()


async def test_what_waits_for_its_first_attempt_is_not_retried(desk: Desk) -> None:
    await fail(desk, "acme")
    for filters in ("state=waiting", "tenant=other"):
        page = await desk.get(f"undelivered/retry?{filters}")
        assert "Nothing to retry" in page.text
        assert page.buttons() == []
    answer = await desk.client.post("undelivered/retry", data={"state": "waiting"}, headers=SAME_ORIGIN)
    assert answer.status_code == 400


# Dead letters


@pytest.fixture
async def refused(settings: WebhooksSettings, receiver: Receiver, tmp_path: Path) -> AsyncIterator[Desk]:
    """A console with three dead letters in the outbox of the host."""
    engine = create_engine(f"sqlite:///{tmp_path / 'host.db'}")
    outbox = Outbox(engine)
    outbox.metadata.create_all(engine)
    webhooks = make_webhooks(settings, backend=MemoryBackend(settings), outbox=outbox)
    table = outbox.names.quoted(outbox.names.name)
    async with webhooks.lifespan(), at_console(webhooks) as client:
        with engine.begin() as connection:
            statement = text(f"INSERT INTO {table} (id, tenant, body) VALUES (:id, :tenant, :body)")
            for id, tenant in (("one", "acme"), ("two", "acme"), ("three", "other")):
                connection.execute(statement, {"id": id, "tenant": tenant, "body": b"\x00"})
        desk = Desk(webhooks, client, receiver)
        await until(desk, "dead-letters", lambda page: page.buttons() == ["Redrive"] * 3)
        yield desk
    engine.dispose()


async def test_dead_letters_are_listed_by_tenant_and_one_is_discarded_after_a_question(
    refused: Desk, entries: list[dict[str, Any]]
) -> None:
    page = await refused.get("dead-letters?tenant=other")
    assert "three" in page.text
    assert "one" not in page.words
    assert "Not a valid event" in page.text
    page = await refused.follow(page, "Discard…")
    assert "Its id is three." in page.text
    page = await refused.press(page, "Discard forever")
    assert "1 event discarded." in page.text
    assert page.buttons() == ["Redrive"] * 2
    assert entries == [{"action": "dead_letters.discarded", "tenant": "other", **WHO, "ids": ["three"]}]
    answer = await refused.client.post("dead-letters/discard", headers=SAME_ORIGIN)
    assert answer.status_code == 400


async def test_dead_letters_are_redriven_one_by_one_and_all_at_once(
    refused: Desk, entries: list[dict[str, Any]]
) -> None:
    page = await refused.press(await refused.get("dead-letters?tenant=other"), "Redrive")
    assert "1 event queued again." in page.text
    page = await refused.follow(await refused.get("dead-letters?tenant=acme"), "Redrive all…")
    assert "Redrive all dead letters of acme?" in page.text
    page = await refused.press(page, "Redrive all")
    assert "2 events queued again." in page.text
    assert [(entry["action"], entry["tenant"]) for entry in entries] == [
        ("dead_letters.redriven", "other"),
        ("dead_letters.redriven", "acme"),
    ]
    # They are refused again.
    await until(refused, "dead-letters", lambda page: page.buttons() == ["Redrive"] * 3)


@pytest.mark.parametrize("action", ["redrive", "discard"])
async def test_the_audit_log_names_whose_dead_letter_it_was_and_nothing_that_did_not_happen(
    refused: Desk, entries: list[dict[str, Any]], action: str
) -> None:
    async def post(**fields: str) -> str:
        address = f"dead-letters/{action}"
        return Page(await refused.client.post(address, data=fields, headers=SAME_ORIGIN, follow_redirects=True)).text

    assert "Nothing was changed" in await post(id="none")
    if action == "redrive":
        assert "Nothing was changed" in await post(id="three", tenant="acme")
        assert "Nothing was changed" in await post(tenant="nobody")
    assert entries == []
    assert "1 event " in await post(id="three")
    assert [(entry["tenant"], entry["ids"]) for entry in entries] == [("other", ["three"])]


async def test_only_the_operator_who_acted_is_told_what_was_done_and_only_for_a_minute(refused: Desk) -> None:
    answer = await refused.client.post("dead-letters/redrive", data={"id": "three"}, headers=SAME_ORIGIN)
    address = urljoin("http://host/dead-letters/redrive", answer.headers["location"])
    told = "1 event queued again."
    assert told in (await refused.get(address)).text
    async with at_console(refused.webhooks, "oscar") as other:
        assert told not in Page(await other.get(address)).text
    refused.webhooks.set_clock(lambda: time.time() + 61)
    assert told not in (await refused.get(address)).text


async def test_an_address_cannot_claim_that_something_was_done(refused: Desk) -> None:
    answer = await refused.client.post("dead-letters/redrive", data={"id": "three"}, headers=SAME_ORIGIN)
    token = answer.headers["location"].partition("done=")[2]
    endpoint = await refused.webhooks.endpoints("acme").create(refused.receiver.url)
    body, _, mac = token.partition(".")
    for forged in ("redriven", "redriven&count=1", f"{body}.", f"{body[:-2]}AA.{mac}", f"{body}.{mac[:-2]}AA", "é.x"):
        page = await refused.get(f"dead-letters?done={forged}")
        assert (page.status, "queued again." in page.text) == (200, False), forged
    # It belongs to one page.
    assert "notice good" not in (await refused.get(f"endpoints/{endpoint.id}?done={token}")).html
    assert "notice good" in (await refused.get(f"dead-letters?done={token}")).html


# Retries that do not end well


class Waiting(SQLiteBackend):
    """A backend whose retries wait for the test, and then fail."""

    def __init__(self, settings: WebhooksSettings) -> None:
        super().__init__(settings)
        self.go_on = anyio.Event()

    async def retry_undelivered(self, query: UndeliveredQuery, *, on_progress: RetryProgress | None = None) -> Retried:
        assert on_progress is not None
        on_progress(Retried(queued=7))
        await self.go_on.wait()
        raise BackendUnavailable("The database is away.")


async def begin(client: httpx.AsyncClient, **fields: str) -> str:
    """Start a retry, and return the address of its page."""
    answer = await client.post("undelivered/retry", data=fields, headers=SAME_ORIGIN)
    assert answer.status_code == 303
    return answer.headers["location"].removeprefix("../")


async def test_a_retry_shows_its_progress_and_that_it_failed(settings: WebhooksSettings, receiver: Receiver) -> None:
    backend = Waiting(settings)
    webhooks = make_webhooks(settings, backend=backend)
    async with webhooks.lifespan(), at_console(webhooks) as client:
        desk = Desk(webhooks, client, receiver)
        address = await begin(client, count="20")
        page = await until(desk, address, lambda page: "7 deliveries queued." in page.text)
        assert "Running." in page.text
        assert 'value="7" max="20"' in page.html
        assert page.live
        backend.go_on.set()
        page = await until(desk, address, lambda page: "It failed." in page.text)
        assert not page.live


async def test_only_so_many_retries_run_at_once(settings: WebhooksSettings) -> None:
    backend = Waiting(settings)
    webhooks = make_webhooks(settings, backend=backend)
    async with webhooks.lifespan(), at_console(webhooks) as client:
        for _ in range(8):
            await begin(client)
        answer = await client.post("undelivered/retry", headers=SAME_ORIGIN)
        assert (answer.status_code, "Too many retries" in answer.text) == (409, True)
        backend.go_on.set()

        async def ended() -> bool:
            return (await client.post("undelivered/retry", headers=SAME_ORIGIN)).status_code == 303

        await eventually(ended)


async def test_a_retry_whose_process_stopped_says_so(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings, backend=Waiting(settings))
    async with webhooks.lifespan(), at_console(webhooks) as client:
        address = await begin(client)
    async with webhooks.lifespan(), at_console(webhooks) as client:
        assert "has stopped" in Page(await client.get(address)).text


async def test_a_retry_whose_process_was_killed_says_so_after_half_a_minute(settings: WebhooksSettings) -> None:
    webhooks = make_webhooks(settings, backend=Waiting(settings))
    later = make_webhooks(settings)
    later.set_clock(lambda: time.time() + 31)
    async with webhooks.lifespan(), at_console(webhooks) as client:
        address = await begin(client)
        # The process does report, but as far as the other one can see, long ago.
        async with later.lifespan(), at_console(later) as other:
            assert "has stopped" in Page(await other.get(address)).text
        assert "Running." in Page(await client.get(address)).text


@pytest.mark.parametrize("ended", [False, True], ids=["empty places", "places of ended retries"])
async def test_retries_that_start_at_the_same_moment_have_a_place_each(settings: WebhooksSettings, ended: bool) -> None:
    backend = Waiting(settings)
    webhooks = make_webhooks(settings, backend=backend)
    if ended:
        async with webhooks.lifespan(), at_console(webhooks) as client:
            for _ in range(8):
                await begin(client)
    async with webhooks.lifespan(), at_console(webhooks) as client:
        addresses: list[str] = []

        async def start() -> None:
            addresses.append(await begin(client))

        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(start)
        assert len(set(addresses)) == 8
        for address in addresses:
            assert "Running." in Page(await client.get(address)).text
        backend.go_on.set()
