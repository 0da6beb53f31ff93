"""What the pages show, on each store."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any, get_args

import pytest

from starlette_webhooks import NewEvent, Webhooks
from starlette_webhooks.backends.memory import MemoryBackend
from starlette_webhooks.console.attempts import STATES, UNSENT
from starlette_webhooks.health import Health, Reason
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.testing import Clock
from tests.browser.visitor import HOSTILE
from tests.console.desk import SAME_ORIGIN, Desk, Page, at_console
from tests.eventually import eventually
from tests.hosts import make_webhooks


async def until(desk: Desk, address: str, condition: Callable[[Page], bool]) -> Page:
    """Open a page again and again until it shows something."""

    async def shown() -> Page | None:
        page = await desk.get(address)
        return page if condition(page) else None

    return await eventually(shown)


async def fail(desk: Desk, tenant: str, event_type: str = "invoice.paid", **data: Any) -> tuple[str, str]:
    """Emit an event for an endpoint that fails, and return the ids of both, after the first attempt."""
    desk.receiver.status = 503
    endpoint = await desk.webhooks.endpoints(tenant).create(
        f"{desk.receiver.url}?token=hunter2", event_types=[event_type]
    )
    event = await desk.webhooks.emitter(tenant).send(event_type, data)

    def page_of() -> Awaitable[Page]:
        return desk.get(f"endpoints/{endpoint.id}")

    async def failing() -> bool:
        return "Failing since" in (await page_of()).text

    await eventually(failing)
    return endpoint.id, event.id


async def test_the_overview_shows_what_is_wrong(desk: Desk) -> None:
    await fail(desk, "acme")
    page = await until(desk, "", lambda page: "Failing endpoints 1" in page.text)
    assert "Retrying 1" in page.text
    assert "Processes that deliver 1" in page.text
    assert page.live
    failing = await desk.get(page.links["1"])
    assert "127.0.0.1" in failing.text


async def test_addresses_with_nul_lead_nowhere(desk: Desk) -> None:
    for path in ("events/%00", "endpoints/%00", "events?tenant=%00", "tenants?cursor=%00", "undelivered?type=%00"):
        assert (await desk.client.get(path)).status_code == 404, path
    form = {"tenant": "\x00"}
    assert (await desk.client.post("dead-letters/redrive", data=form, headers=SAME_ORIGIN)).status_code == 400


async def test_the_overview_reads_figures_again_that_are_old(stored: WebhooksSettings) -> None:
    webhooks, clock = make_webhooks(stored), Clock()
    clock.control(webhooks)
    async with webhooks.lifespan(), at_console(webhooks) as client:
        await eventually(lambda: "figuresAgeSeconds" in webhooks.health())
        await clock.sleep(60)
        assert "The figures are 0." in Page(await client.get("")).text


async def test_from_a_failing_tenant_to_the_event_that_did_not_arrive(
    desk: Desk, entries: list[dict[str, Any]]
) -> None:
    await desk.webhooks.emitter("another").send("invoice.paid", {})
    endpoint, event = await fail(desk, "zeta", card="never-shown")
    entries.clear()
    page = await desk.get("tenants")
    assert page.text.index("With failing endpoints") < page.text.index("zeta") < page.text.index("another")
    page = await desk.follow(page, "zeta")
    (url,) = [label for label in page.links if label.startswith("http://127.0.0.1")]
    assert url.endswith("/hook?…")
    page = await desk.follow(page, url)
    assert "HTTP 503" in page.text
    page = await desk.follow(page, "invoice.paid")
    assert page.url.endswith(event)
    assert "Retrying" in page.text
    assert "hunter2" not in page.html
    assert "never-shown" not in page.html
    assert entries == []
    page = await desk.press(page, "Show payload and answers")
    assert '"card": "never-shown"' in page.text
    assert "ok" in page.words
    who = {"via": "operator", "subject": "olga", "address": "192.0.2.7"}
    assert entries == [{"action": "payload.read", "tenant": "zeta", **who, "event": event}]
    page = await desk.get("events", params={"id": event})
    assert page.url.endswith(event)


async def test_an_event_shows_the_endpoints_that_wait_for_their_first_attempt(stored: WebhooksSettings) -> None:
    webhooks = make_webhooks(stored.model_copy(update={"deliver": False}))
    async with webhooks.lifespan(), at_console(webhooks) as client:
        endpoints = webhooks.endpoints("acme")
        waiting = await endpoints.create("http://127.0.0.1:9/hook?token=hunter2")
        other = await endpoints.create("http://127.0.0.1:9/other", event_types=["invoice.failed"])
        event = await webhooks.emitter("acme").send("invoice.paid", {})
        page = Page(await client.get(f"events/{event.id}"))
        assert page.links["http://127.0.0.1:9/hook?…"] == f"../endpoints/{waiting.id}"
        assert "Waiting No attempt · next" in page.text
        assert "hunter2" not in page.html
        assert "Not sent to 1 endpoint http://127.0.0.1:9/other Not subscribed to this event type" in page.text
        assert page.links["http://127.0.0.1:9/other"] == f"../endpoints/{other.id}"
        await endpoints.update(waiting.id, disabled=True)
        assert "Disabled No attempt" in Page(await client.get(f"events/{event.id}")).text
        await endpoints.delete(waiting.id)
        assert "No endpoint receives it." in Page(await client.get(f"events/{event.id}")).text


async def test_an_event_says_why_each_endpoint_got_nothing(stored: WebhooksSettings) -> None:
    webhooks = make_webhooks(stored.model_copy(update={"deliver": False}))
    async with webhooks.lifespan(), at_console(webhooks) as client:
        endpoints = webhooks.endpoints("acme")
        alone = await webhooks.emitter("acme").send("invoice.paid", {})
        assert "The tenant has no endpoints." in Page(await client.get(f"events/{alone.id}")).text
        for name, options in (
            ("type", {"event_types": ["invoice.failed"]}),
            ("channel", {"channels": ["eu"]}),
            ("disabled", {"disabled": True}),
        ):
            await endpoints.create(f"http://127.0.0.1:9/{name}", **options)
        event = await webhooks.emitter("acme").send("invoice.paid", {}, channels=["us"])
        page = Page(await client.get(f"events/{event.id}"))
        assert "No endpoint receives it." in page.text
        assert '<details class="rest" open>' in page.html
        for name, why in (("type", "event_type"), ("channel", "channel"), ("disabled", "disabled")):
            assert f"http://127.0.0.1:9/{name} {UNSENT[why]}" in page.text  # type: ignore[index]
        assert UNSENT["added_later"] in Page(await client.get(f"events/{alone.id}")).text


def test_the_portal_says_it_in_the_same_words() -> None:
    source = (files("starlette_webhooks.portal") / "static" / "states.js").read_text()
    reasons = re.search(r"const REASONS = \{(.*?)\};", source, re.DOTALL)
    pills = re.search(r"const PILLS = \{(.*?)\};", source, re.DOTALL)
    assert reasons is not None
    assert pills is not None
    assert dict(re.findall(r"(\w+): \"(.*?)\"", reasons[1])) == UNSENT
    found = {state: (kind, word) for state, kind, word in re.findall(r"(\w+): \[\"(\w+)\", \"(.*?)\"\]", pills[1])}
    assert {state: found[state] for state in STATES} == STATES


async def test_undelivered_deliveries_are_found_by_every_filter(desk: Desk) -> None:
    endpoint, event = await fail(desk, "acme")
    found = {
        "tenant": "acme",
        "endpoint": endpoint,
        "type": "invoice.paid",
        "state": "failing",
        "answer": "5",
        "after": "2026-01-01T00:00",
        "before": "2149-01-01T00:00:00",
    }
    for name, value in found.items():
        assert event in (await desk.get("undelivered", params={name: value})).text, name
    page = await desk.get("undelivered", params=found)
    assert event in page.text
    others = {**found, "tenant": "other", "state": "waiting", "answer": "0", "after": "2140-01-01T00:00"}
    others |= {"endpoint": "ep_none", "type": "invoice.failed", "before": "2020-01-01T00:00"}
    for name, value in others.items():
        page = await desk.get("undelivered", params={name: value})
        assert (page.status, event in page.text) == (200, False), name
    for name in ("state", "answer", "after", "cursor"):
        page = await desk.get("undelivered", params={name: "x"})
        assert page.status == 400, name


async def test_hostile_text_is_shown_as_text(desk: Desk) -> None:
    desk.receiver.status = 500
    for tenant in HOSTILE:
        endpoint = await desk.webhooks.endpoints(tenant).create(desk.receiver.url, description=HOSTILE[0])
    event = await desk.webhooks.emitter(HOSTILE[3]).send("invoice.paid", {"texts": HOSTILE, HOSTILE[1]: 1})
    pages = [await desk.get(path) for path in ("tenants", "endpoints", f"endpoints/{endpoint.id}", "events")]
    pages.append(await desk.get("undelivered", params={"tenant": HOSTILE[3]}))
    pages.append(await desk.press(await desk.get(f"events/{event.id}"), "Show payload and answers"))
    pages.append(await desk.get(f"undelivered?tenant={HOSTILE[3]}&type=%22%3E%3Csvg%20onload=x%3E"))
    for page in pages:
        assert page.status == 200
        for piece in ("<script>document", "<img src=x", "<svg onload", "</pre></code>", "\u202e"):
            assert piece not in page.html, (page.url, piece)


# What does not depend on the store


@pytest.fixture
def webhooks(settings: WebhooksSettings) -> Webhooks:
    settings = settings.model_copy(update={"endpoints_per_tenant": 100, "deliver": False})
    return make_webhooks(settings, backend=MemoryBackend(settings))


async def test_endpoints_that_need_attention_come_first_on_every_page(webhooks: Webhooks) -> None:
    async with webhooks.lifespan(), at_console(webhooks) as client:
        endpoints = webhooks.endpoints("acme")
        made = [(await endpoints.create(f"http://127.0.0.1:9/{number}")).id for number in range(60)]
        for number in range(52):
            await endpoints.update(made[number], disabled=True)
        seen: list[str] = []
        address = "http://host/endpoints?tenant=acme"
        while address:
            page = Page(await client.get(address))
            seen += [link.rpartition("/")[2] for link in page.links.values() if "/ep_" in link]
            following = page.links.get("Next page")
            address = f"http://host/{following.removeprefix('./')}" if following else ""
        assert seen == [*reversed(made[:52]), *reversed(made[52:])]
        page = Page(await client.get("endpoints?state=ok"))
        assert len([link for link in page.links.values() if "/ep_" in link]) == 8
        page = Page(await client.get("endpoints?state=ok&tenant=other"))
        assert "No endpoints match" in page.text


async def test_what_does_not_exist_is_not_found_and_nonsense_is_refused(webhooks: Webhooks) -> None:
    async with webhooks.lifespan(), at_console(webhooks) as client:
        for path in ("endpoints/ep_x", "events/msg_x", "retries/x", "endpoints/a/b/c", "static/0/none.js"):
            assert (await client.get(path)).status_code == 404, path
        for path in ("endpoints?state=x", "endpoints?cursor=ok.x", "events?cursor=x", "events?tenant=a&cursor=x"):
            assert (await client.get(path)).status_code == 400, path
        # A cursor of a group that the filter leaves out starts from the beginning.
        assert (await client.get("endpoints?state=ok&cursor=failing.")).status_code == 200


async def test_tenants_are_paged_and_searched_by_the_start_of_their_names(webhooks: Webhooks) -> None:
    async with webhooks.lifespan(), at_console(webhooks) as client:
        names = [f"t{number:02}" for number in range(53)]
        await webhooks.emitter().send_many([NewEvent("invoice.paid", {}, name) for name in names])
        page = Page(await client.get("tenants"))
        assert [name for name in page.links if name.startswith("t") and name != "tenants"] == names[:50]
        page = Page(await client.get(page.links["Next page"]))
        assert [name for name in page.links if name.startswith("t")] == names[50:]
        assert "Next page" not in page.links
        page = Page(await client.get("tenants?tenant=t1"))
        assert [name for name in page.links if name.startswith("t")] == names[10:20]
        assert "No tenants" in Page(await client.get("tenants?tenant=u")).text


class Troubled(Webhooks):
    """A host that is not ready, for one reason."""

    reason: Reason

    def health(self) -> Health:
        health = super().health()
        health["reasons"] = [self.reason]
        return health


@pytest.mark.parametrize("reason", get_args(Reason))
async def test_the_overview_has_words_for_each_reason(settings: WebhooksSettings, reason: Reason) -> None:
    webhooks = Troubled(settings=settings, backend=MemoryBackend(settings))
    webhooks.reason = reason
    async with webhooks.lifespan(), at_console(webhooks) as client:
        page = Page(await client.get(""))
    assert page.status == 200
    assert '<div class="notice warn">' in page.html


async def test_outside_the_lifespan_the_overview_says_so(webhooks: Webhooks) -> None:
    async with at_console(webhooks) as client:
        page = Page(await client.get(""))
        assert page.status == 200
        assert "Stopped" in page.text
        assert "Restart the process" in page.text
        for path in ("endpoints", "dead-letters", "tenants"):
            assert (await client.get(path)).status_code == 503, path
