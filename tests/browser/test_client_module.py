"""The JavaScript client in a browser."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

from starlette_webhooks.identifiers import mint
from tests import plain
from tests.browser.test_streams import emit, opening, streams
from tests.client.scripted import Answer, event_of, frame, stream
from tests.eventually import wait_for
from tests.servers import Server, serving

# Iterates a stream, and keeps what it yields and throws. "online" ends the pauses between attempts.
FOLLOW = """
async (options) => {
  const client = await import("/api/v1/webhooks/client.js");
  setInterval(() => dispatchEvent(new Event("online")), 20);
  const keys = [...(options.keys ?? [])];
  if (options.keys) options.key = async () => keys.shift();
  window.seen = [];
  window.events = client.stream(options);
  const follow = async () => {
    for await (const event of window.events) window.seen.push(event.payload.data.number ?? event.eventType);
    window.seen.push("end");
  };
  const again = (error) => {
    window.seen.push(`${error.name} ${error.status ?? error.requested}`);
    if (error instanceof client.Gap) return follow().catch(again);
  };
  follow().catch(again);
}
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with serving(tmp_path_factory.mktemp("module"), app="tests.browser.streaming:app", heartbeat="0.2") as running:
        yield running


@pytest.fixture
def page(browser: Browser, host: Server) -> Generator[Page]:
    with opening(browser, host) as page:
        page.goto(f"{host.url}/page/empty")
        yield page


def script(page: Page, *answers: Answer) -> list[dict[str, str]]:
    """Answer the requests of a page for its stream. Returns their headers. Later ones have no answer."""
    waiting, requests = list(answers), list[dict[str, str]]()

    def answer(route: Route) -> None:
        requests.append(route.request.headers)
        if waiting:
            found = waiting.pop(0)
            route.fulfill(status=found.status, headers=found.headers, body=found.body)

    page.route("**/events/stream?*", answer)
    return requests


def expect(page: Page, *seen: Any) -> None:
    wanted = json.dumps(seen, separators=(",", ":"))
    page.wait_for_function("(wanted) => JSON.stringify(window.seen) === wanted", arg=wanted, timeout=10_000)


EVENTS = [event_of(number) for number in range(5)]
FRAMES = [frame(event) for event in EVENTS]
IDS = [event["id"] for event in EVENTS]
RETRY = b"retry: 1\n\n"


def test_it_resumes_renews_its_key_drops_repeats_and_throws_gaps(page: Page) -> None:
    gap = json.dumps({"requested": IDS[1], "oldest": IDS[3]}).encode()
    start = mint("msg_")
    requests = script(
        page,
        Answer(401),
        stream(b"\xef\xbb\xbf", RETRY, b": heartbeat\n\n", FRAMES[0].replace(b"\n", b"\r\n")),
        Answer(503, {"Retry-After": "0"}),
        Answer(401),
        stream(FRAMES[0], FRAMES[1], b"id: %b\n\n" % IDS[2].encode(), FRAMES[3][:30]),
        stream(b"event: gap\ndata: %b\n\n" % gap, FRAMES[3]),
        Answer(403, {}, b'{"code":"missing_scope","detail":"Requires the scope."}'),
    )
    page.evaluate(
        FOLLOW, {"after": start, "keys": ["old", "new", "newer"], "eventTypes": ["a", "b"], "headers": {"x-a": "b"}}
    )
    expect(page, 0, 1, f"Gap {IDS[1]}", 3, "APIError 403")
    assert [request["authorization"] for request in requests] == [
        f"Bearer {key}" for key in ("old", "new", "new", "new", "newer", "newer", "newer")
    ]
    assert [request["last-event-id"] for request in requests] == [start, start, *IDS[:1] * 3, IDS[2], IDS[3]]
    assert {request["x-a"] for request in requests} == {"b"}


@pytest.mark.parametrize("answer", [Answer(200, {"Content-Type": "text/html"}, b"<html>"), Answer(401), Answer(404)])
def test_what_will_not_succeed_later_is_thrown(page: Page, answer: Answer) -> None:
    script(page, answer)
    page.evaluate(FOLLOW, {"after": IDS[0]})
    expect(page, f"APIError {answer.status}")


@pytest.mark.parametrize("options", [{"key": "cl\u0119"}, {"url": "http://["}, {"headers": {"a b": "c"}}])
def test_a_request_that_cannot_be_sent_is_thrown(page: Page, options: dict[str, Any]) -> None:
    page.evaluate(FOLLOW, {"after": IDS[0], **options})
    page.wait_for_function("() => String(window.seen).startsWith('TypeError')")


def test_closing_ends_the_iteration_wherever_it_is(page: Page, host: Server) -> None:
    script(page, Answer(503))
    page.evaluate(FOLLOW, {"after": IDS[0]})
    page.evaluate("() => window.events.close()")
    expect(page, "end")
    page.unroute_all()
    page.evaluate(FOLLOW, {})
    wait_for(lambda: streams(host)["streams"] == 1)
    page.evaluate("() => window.events.close()")
    expect(page, "end")
    wait_for(lambda: streams(host)["streams"] == 0)


def test_closing_while_a_key_is_fetched_opens_no_connection(page: Page) -> None:
    asked = """async () => {
      const { stream } = await import("/api/v1/webhooks/client.js");
      const events = stream({ key: () => new Promise((resolve) => (window.resolve = resolve)) });
      const next = events.next();
      events.close();
      window.resolve("acme");
      return (await next).done;
    }"""
    requests = script(page)
    page.on("request", lambda request: requests.append({"url": request.url}))
    assert page.evaluate(asked) is True
    assert [request["url"] for request in requests if "/client.js" not in request["url"]] == []


def test_a_session_that_has_expired_is_thrown(page: Page) -> None:
    requests = script(page, Answer(401, {}, b'{"code":"session_expired","detail":"Sign in again."}'))
    page.evaluate(FOLLOW, {"after": IDS[0]})
    expect(page, "APIError 401")
    # Without it, the server would take the page for an `EventSource`, and answer with a stream.
    assert requests[0]["accept"] == "text/event-stream, application/json"


def test_a_hidden_page_disconnects_and_misses_nothing(page: Page, host: Server) -> None:
    show = """(hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(FOLLOW, {"hiddenAfter": 1})
    page.wait_for_function("() => window.events.lastEventId")
    page.evaluate(show, True)
    wait_for(lambda: streams(host)["streams"] == 0)
    emit(host, "invoice.paid")
    page.evaluate(show, False)
    expect(page, "invoice.paid")


def test_it_throws_a_gap_if_later_events_came_and_went_while_it_was_away(page: Page, host: Server) -> None:
    def age() -> None:
        plain.post(f"{host.url}/age?days=31").raise_for_status()

    position = """async (key) => {
      const { stream } = await import("/api/v1/webhooks/client.js");
      const events = stream({ key });
      events.next();
      while (events.lastEventId === null) await new Promise((resolve) => setTimeout(resolve, 5));
      events.close();
      return events.lastEventId;
    }"""
    tenant = mint("tenant_")
    start = page.evaluate(position, tenant)
    age()
    page.evaluate(FOLLOW, {"after": start, "key": tenant})
    emit(host, "invoice.paid", tenant)
    expect(page, "invoice.paid")
    page.evaluate("() => window.events.close()")
    age()
    emit(host, "invoice.failed", tenant)
    page.evaluate(FOLLOW, {"after": start, "key": tenant})
    expect(page, f"Gap {start}", "invoice.failed")
