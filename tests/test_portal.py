"""The portal as a server sees it: URLs, headers, sessions, files. `browser/` tests what users see."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Generator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Mount, Router
from starlette.testclient import TestClient

from starlette_webhooks.authentication import APIKeys, Principal
from starlette_webhooks.backends.base import PortalAccess
from starlette_webhooks.exceptions import BackendUnavailable, NotRunning
from starlette_webhooks.portal.pages import Portal, PortalHost, portal_routes
from starlette_webhooks.portal.session import SESSION_COOKIE, session_cookie, session_token
from starlette_webhooks.portal.theme import contrast, parse_colour, theme_css
from starlette_webhooks.routes.limits import OpenedSessions, TenantLimits
from starlette_webhooks.sessions import Session, SessionRegister
from starlette_webhooks.settings import WebhooksSettings
from tests.hosts import MOUNT, bearer, enter, make_app, make_webhooks, session_of
from tests.metas import DictMeta
from tests.settings import make_settings

KEY = b"k" * 32
READ, WRITE = "webhooks:read", "webhooks:write"


class Page(HTMLParser):
    """Collects the tags of a page, and what it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def body(self) -> dict[str, str]:
        return next(attributes for tag, attributes in self.tags if tag == "body")

    def references(self) -> list[str]:
        found = [attributes.get("src") or attributes.get("href") for _, attributes in self.tags]
        return [url for url in found if url]


@pytest.fixture
def host(tmp_path: Path) -> Generator[TestClient]:
    """A host with the page at `MOUNT/dashboard` and at `/hooks`."""
    webhooks = make_webhooks(make_settings(tmp_path))
    app = make_app(webhooks)
    app.router.routes.insert(0, Mount("/hooks", webhooks.portal))
    with TestClient(app, follow_redirects=False) as client:
        yield client


class Host:
    """The services of a portal: users by a header, and no portal of the backend."""

    def __init__(self, now: float = 1000.0) -> None:
        self.sessions = SessionRegister([KEY], DictMeta(), clock=lambda: now)
        self.limits = TenantLimits(per_second=0, burst=1, in_flight=0)
        self.opened_sessions = OpenedSessions(most=2, every=3600)

    def admit(self, tenant: str) -> AbstractContextManager[None]:
        return self.limits.admit(tenant)

    def count_session(self, tenant: str) -> None:
        self.opened_sessions.take(tenant)

    async def find_principal(self, connection: HTTPConnection) -> Principal | None:
        user = connection.headers.get("x-user")
        return None if user is None else Principal(user, connection.headers.get("x-scopes", READ).split())

    async def backend_portal(self, principal: Principal) -> PortalAccess | None:
        return None

    async def find_session(self, connection: HTTPConnection) -> Session | None:
        token = connection.cookies.get(SESSION_COOKIE)
        return await self.sessions.read(token) if token else None

    async def sign_out(self, session: Session) -> None:
        await self.sessions.end(session)


def portal_page(settings: WebhooksSettings, host: PortalHost | None = None) -> Portal:
    host = host or Host()
    return Portal(settings, lambda: host)


def client_of(page: Portal, **options: Any) -> TestClient:
    app = Starlette(routes=[Mount("/api", app=Router(portal_routes(page, "/dashboard")))])
    return TestClient(app, follow_redirects=False, headers={"x-user": "acme"}, **options)


@pytest.mark.parametrize("address", [f"{MOUNT}/dashboard", f"{MOUNT}/dashboard/", "/hooks/"])
def test_everything_the_page_refers_to_exists_with_and_without_a_slash(host: TestClient, address: str) -> None:
    answer = host.get(address, headers={"x-user": "acme"})
    assert answer.status_code == 200
    page = Page(answer.text)
    references = page.references()
    assert {url.rpartition("/")[2] for url in references} == {"icon.svg", "portal.css", "portal.js"}
    for reference in references:
        assert host.get(urljoin(address, reference)).status_code == 200, reference
    api = urljoin(address, page.body()["data-api"])
    assert host.get(urljoin(api, "event-types"), headers={"x-user": "acme"}).status_code == 200


@pytest.mark.parametrize("address", [f"{MOUNT}/dashboard", f"{MOUNT}/dashboard/"])
def test_the_page_works_behind_a_proxy_that_strips_a_prefix_silently(host: TestClient, address: str) -> None:
    answer = host.get(address, headers={"x-user": "acme"})
    for reference in Page(answer.text).references():
        seen = urljoin(f"/a/prefix{address}", reference)
        assert seen.startswith("/a/prefix/")
        assert host.get(seen.removeprefix("/a/prefix")).status_code == 200


def test_the_page_works_below_a_root_path(tmp_path: Path) -> None:
    webhooks = make_webhooks(make_settings(tmp_path))
    with TestClient(make_app(webhooks), root_path="/proxied", follow_redirects=False) as client:
        address = f"/proxied{MOUNT}/dashboard"
        answer = client.get(address, headers={"x-user": "acme"})
        assert answer.status_code == 200
        for reference in Page(answer.text).references():
            assert client.get(urljoin(address, reference)).status_code == 200


def test_nothing_in_the_page_is_inline_or_from_elsewhere(host: TestClient) -> None:
    answer = host.get(f"{MOUNT}/dashboard", headers={"x-user": "acme"})
    page = Page(answer.text)
    assert "//" not in "".join(page.references())
    for tag, attributes in page.tags:
        assert tag != "style"
        assert tag != "script" or attributes.get("src")
        assert not any(name == "style" or name.startswith("on") for name in attributes)


def test_the_policy_forbids_everything_but_our_own_files(host: TestClient) -> None:
    for path in ("", "/nothing"):
        headers = host.get(f"{MOUNT}/dashboard{path}", headers={"x-user": "acme"}).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self' data:",
            "connect-src": "'self'",
            "form-action": "'self'",
            "base-uri": "'none'",
            "frame-src": "'none'",
            "frame-ancestors": "'self'",
        }
        assert headers["x-frame-options"] == "SAMEORIGIN"
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-opener-policy"] == "same-origin"


def test_settings_list_who_may_frame_the_page(settings: WebhooksSettings) -> None:
    changed = settings.model_copy(update={"portal_frame_ancestors": ("https://app.example.com",)})
    headers = client_of(portal_page(changed)).get("/api/dashboard").headers
    assert headers["content-security-policy"].endswith("frame-ancestors 'self' https://app.example.com")
    assert "x-frame-options" not in headers


def test_brand_and_logo_are_escaped(settings: WebhooksSettings) -> None:
    brand = '"><script>alert(1)</script>&$brand'
    changed = settings.model_copy(update={"portal_brand": brand, "portal_logo": '/logo.svg?"><script>'})
    page = Page(client_of(portal_page(changed)).get("/api/dashboard").text)
    assert page.body()["data-brand"] == brand
    assert page.body()["data-logo"] == '/logo.svg?"><script>'
    assert [attributes.get("src", "") != "" for tag, attributes in page.tags if tag == "script"] == [True]


def test_a_logo_of_another_host_is_the_only_image_let_in_from_there(settings: WebhooksSettings) -> None:
    changed = settings.model_copy(update={"portal_logo": "https://cdn.example.com/logo.png"})
    policy = client_of(portal_page(changed)).get("/api/dashboard").headers["content-security-policy"]
    assert "img-src 'self' data: https://cdn.example.com;" in policy


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("portal_accent", "red"),
        ("portal_accent", "#12345"),
        ("portal_accent", "#123456;}"),
        ("portal_logo", "javascript:alert(1)"),
        ("portal_logo", "//evil.example/x.png"),
        ("portal_logo", "https://a.example;script-src *"),
        ("portal_frame_ancestors", "*"),
        ("portal_frame_ancestors", "https://a.example; script-src *"),
        ("portal_frame_ancestors", "https://a.example https://b.example"),
        ("portal_brand", ""),
    ],
)
def test_settings_of_the_look_cannot_carry_anything_else(tmp_path: Path, field: str, value: str) -> None:
    with pytest.raises(ValidationError, match=field):
        make_settings(tmp_path, **{field: value})


@pytest.mark.parametrize("value", ["https://app.example.com,https://*.example.org:8443", "http://localhost:3000"])
def test_settings_take_origins_as_a_list(tmp_path: Path, value: str) -> None:
    assert make_settings(tmp_path, portal_frame_ancestors=value).portal_frame_ancestors == tuple(value.split(","))


@pytest.mark.parametrize("accent", ["#4f46e5", "#ffee00", "#000000", "#ffffff", "#e11d48", "#0aa2c0"])
def test_every_accent_is_readable_on_light_and_dark(accent: str) -> None:
    css = theme_css(accent)
    found = re.search(r"--on-accent: (\S+);\s+--accent-text: light-dark\((\S+), (\S+)\)", css)
    assert found is not None
    on_accent, light, dark = (parse_colour(colour) for colour in found.groups())
    assert contrast(on_accent, parse_colour(accent)) >= 4.5
    assert contrast(light, (244, 244, 246)) >= 4.5
    assert contrast(dark, (29, 31, 37)) >= 4.5


@pytest.mark.parametrize(
    ("query", "theme"), [("", None), ("?theme=dark", "dark"), ("?theme=light", "light"), ("?theme=x", None)]
)
def test_the_theme_can_be_asked_for(host: TestClient, query: str, theme: str | None) -> None:
    page = Page(host.get(f"{MOUNT}/dashboard{query}", headers={"x-user": "acme"}).text)
    assert dict(page.tags)["html"].get("data-theme") == theme


def test_the_page_names_the_tenant_and_may_leave_its_navigation_out(host: TestClient) -> None:
    for query, nav in (("", ""), ("?nav=none", "none"), ("?nav=x", "")):
        body = Page(host.get(f"{MOUNT}/dashboard{query}", headers={"x-user": "acme"}).text).body()
        assert (body["data-tenant"], body["data-nav"]) == ("acme", nav)


def test_files_are_kept_for_good_and_come_compressed(host: TestClient) -> None:
    address = f"{MOUNT}/dashboard"
    reference = next(
        url for url in Page(host.get(address, headers={"x-user": "acme"}).text).references() if "portal.js" in url
    )
    answer = host.get(urljoin(address, reference), headers={"accept-encoding": "gzip"})
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["vary"] == "Accept-Encoding"
    plain = host.get(urljoin(address, reference), headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert len(gzip.compress(plain.content)) < len(plain.content)
    tag = plain.headers["etag"]
    # Proxies turn weak tags into strong ones, and the other way round.
    for known, status in ((f'"x", {tag}', 304), (tag.removeprefix("W/"), 304), ("*", 304), ('"x"', 200), ("", 200)):
        assert host.get(urljoin(address, reference), headers={"if-none-match": known}).status_code == status
    for codings, coding in (("br, GZIP;q=0.5", "gzip"), ("gzip;q=0", None), ("br, gzip; q=0.000", None), ("br", None)):
        answer = host.get(urljoin(address, reference), headers={"accept-encoding": codings})
        assert (answer.content, answer.headers.get("content-encoding")) == (plain.content, coding)
    old = host.get(f"{address}/static/0000000000000000/portal.js")
    assert old.headers["cache-control"] == "no-cache"
    assert old.content == plain.content


@pytest.mark.parametrize(
    "path",
    ["static/x/nothing.js", "static/x/..%2fpages.py", "static/x", "static/x/y/portal.js", "page.html", "api/events"],
)
def test_no_other_path_is_served(host: TestClient, path: str) -> None:
    answer = host.get(f"{MOUNT}/dashboard/{path}", headers={"x-user": "acme"})
    assert answer.status_code == 404
    assert "Not found" in answer.text


def test_the_page_is_only_read(host: TestClient) -> None:
    answer = host.post(f"{MOUNT}/dashboard", headers={"x-user": "acme"})
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert host.head(f"{MOUNT}/dashboard", headers={"x-user": "acme"}).status_code == 200


def test_anonymous_users_are_asked_to_sign_in(host: TestClient) -> None:
    answer = host.get(f"{MOUNT}/dashboard")
    assert answer.status_code == 401
    assert "Please sign in" in answer.text
    assert "data-api" not in answer.text


def test_the_page_requires_the_read_scope(settings: WebhooksSettings) -> None:
    answer = client_of(portal_page(settings)).get("/api/dashboard", headers={"x-scopes": WRITE})
    assert answer.status_code == 403
    assert READ in answer.text


@pytest.mark.parametrize(("scopes", "write"), [(READ, "false"), (f"{READ} {WRITE}", "true")])
def test_the_page_knows_whether_the_user_may_write(settings: WebhooksSettings, scopes: str, write: str) -> None:
    answer = client_of(portal_page(settings)).get("/api/dashboard", headers={"x-scopes": scopes})
    assert Page(answer.text).body()["data-write"] == write


def test_the_backends_own_portal_is_shown_in_a_frame(settings: WebhooksSettings) -> None:
    class WithPortal(Host):
        async def backend_portal(self, principal: Principal) -> PortalAccess:
            return PortalAccess('https://app.svix.com/login#key=abc&x="<y>', datetime.now(UTC))

    answer = client_of(portal_page(settings, WithPortal())).get("/api/dashboard")
    page = Page(answer.text)
    frames = [attributes for tag, attributes in page.tags if tag == "iframe"]
    assert [frame["src"] for frame in frames] == ['https://app.svix.com/login#key=abc&x="<y>']
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert "frame-src https://app.svix.com;" in answer.headers["content-security-policy"]


def test_a_backend_that_cannot_be_reached_is_explained(settings: WebhooksSettings) -> None:
    class Unreachable(Host):
        async def backend_portal(self, principal: Principal) -> PortalAccess:
            raise BackendUnavailable("connect ECONNREFUSED 10.0.0.7:8071")

    answer = client_of(portal_page(settings, Unreachable())).get("/api/dashboard")
    assert answer.status_code == 503
    assert "10.0.0.7" not in answer.text
    assert "Try again" in answer.text


def test_a_portal_without_a_running_backend_says_what_to_do(settings: WebhooksSettings) -> None:
    with pytest.raises(NotRunning, match="WebhooksMiddleware"):
        client_of(make_webhooks(settings).portal).get("/api/dashboard")


def test_a_link_for_an_api_key_opens_a_session_with_the_rights_of_the_key(host: TestClient) -> None:
    made = host.post(f"{MOUNT}/portal", headers=bearer("acme-read"), json={"expiresIn": 600})
    url = made.json()["url"]
    entered = enter(host, url)
    assert entered.status_code == 303
    cookie = entered.headers["set-cookie"]
    assert f"Path={MOUNT}; Max-Age=" in cookie
    # A day longer than the session, so that streams can learn that it has expired.
    assert 86_400 < int(re.findall("Max-Age=([0-9]+)", cookie)[0]) <= 86_400 + 600
    assert "HttpOnly; SameSite=Lax" in cookie
    assert urljoin(str(entered.url), entered.headers["location"]) == f"http://testserver{MOUNT}/dashboard/"
    assert Page(host.get(f"{MOUNT}/dashboard").text).body()["data-write"] == "false"
    assert host.get(f"{MOUNT}/events").status_code == 200
    same_origin = {"sec-fetch-site": "same-origin"}
    assert host.post(f"{MOUNT}/endpoints", json={"url": "http://127.0.0.1/x"}, headers=same_origin).status_code == 403


PUBLIC = "https://example.com/hidden/hooks"


def entered(client: TestClient, mount: str, link: str) -> str:
    """Return the cookie that a new link sets behind a proxy that removes `/hidden`."""
    fresh = client.post(f"{mount}/portal", headers=bearer("acme")).json()["url"].partition("?")[2]
    answer = enter(client, f"{urlsplit(link).path.removeprefix('/hidden')}?{fresh}")
    assert answer.status_code == 303
    cookie: str = answer.headers["set-cookie"]
    return cookie


def test_a_link_and_its_cookie_work_behind_a_proxy_that_strips_a_prefix(tmp_path: Path) -> None:
    webhooks = make_webhooks(make_settings(tmp_path, public_url=PUBLIC + "/"))
    app = Starlette()
    webhooks.install(app, path="/hooks")
    app.router.routes.append(Mount("/customers", webhooks.portal))
    with TestClient(app) as client:
        link = client.post("/hooks/portal", headers=bearer("acme") | {"Host": "evil.example"}).json()["url"]
        assert link.startswith(f"{PUBLIC}/dashboard?token=")
        assert "; Path=/hidden/hooks; " in entered(client, "/hooks", link)
        assert entered(client, "/hooks", link).endswith("; Secure")
        customers = link.replace("hooks/dashboard", "customers/")
        assert "; Path=/hidden/customers; " in entered(client, "/hooks", customers)
        page = Page(client.get("/customers/", headers=bearer("acme")).text)
        assert page.body()["data-public"] == PUBLIC
        assert client.get("/hooks/openapi.json").json()["servers"] == [{"url": PUBLIC}]


def test_if_the_prefix_is_unknown_the_cookie_is_for_the_whole_host(tmp_path: Path) -> None:
    webhooks = make_webhooks(make_settings(tmp_path, public_url="https://example.com/elsewhere"))
    app = make_app(webhooks)
    app.router.routes.insert(0, Mount("/customers", webhooks.portal))
    with TestClient(app) as client:
        assert "; Path=/; " in entered(client, MOUNT, "/customers/")
        assert "; Path=/elsewhere; " in entered(client, MOUNT, f"{MOUNT}/dashboard")


@pytest.mark.parametrize(
    "url",
    ["example.com", "ftp://example.com", "https://example.com?x", "https://example.com/#", "https://u@example.com"],
)
def test_a_public_url_is_absolute_and_bare(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValidationError, match="public_url"):
        make_settings(tmp_path, public_url=url)


def test_the_redirect_keeps_the_look_and_drops_the_token(host: TestClient) -> None:
    url = host.post(f"{MOUNT}/portal", headers=bearer("acme")).json()["url"]
    page = Page(host.get(f"{url}&theme=dark&nav=none").text)
    fields = {field["name"]: field["value"] for tag, field in page.tags if tag == "input"}
    assert (fields["theme"], fields["nav"]) == ("dark", "none")
    answer = enter(host, url, theme="dark", nav="none")
    there = f"http://testserver{MOUNT}/dashboard/?theme=dark&nav=none"
    assert urljoin(str(answer.url), answer.headers["location"]) == there


def test_a_session_may_change_things_from_the_page_only(host: TestClient) -> None:
    enter(host, host.post(f"{MOUNT}/portal", headers=bearer("acme")).json()["url"])
    body = {"eventType": "test.ping"}
    assert host.post(f"{MOUNT}/test", json=body, headers={"sec-fetch-site": "same-origin"}).status_code == 202
    assert host.post(f"{MOUNT}/test", json=body, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert host.post(f"{MOUNT}/test", json=body).status_code == 403


async def test_an_expired_or_changed_link_is_refused(settings: WebhooksSettings) -> None:
    token = await Host(now=0).sessions.link(Principal("acme", [READ]), 60)
    page = client_of(portal_page(settings))
    for bad in (token, f"x{token}", token.upper(), "", "a.b", "é"):
        answer = page.get("/api/dashboard", params={"token": bad})
        assert answer.status_code == 401
        assert "This link has expired" in answer.text
        assert "set-cookie" not in answer.headers


def test_the_cookie_is_as_narrow_as_the_place_allows() -> None:
    plain = session_cookie("t", path="/api", max_age=60, secure=False, framed=True)
    assert plain == f"{SESSION_COOKIE}=t; Path=/api; Max-Age=60; HttpOnly; SameSite=Lax"
    secure = session_cookie("t", path="", max_age=60, secure=True, framed=False)
    assert secure == f"{SESSION_COOKIE}=t; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
    framed = session_cookie("t", path="/api", max_age=60, secure=True, framed=True)
    assert framed == f"{SESSION_COOKIE}=t; Path=/api; Max-Age=60; HttpOnly; SameSite=None; Partitioned; Secure"


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([f"a=1; {SESSION_COOKIE}=t; b=2"], "t"),
        ([f"{SESSION_COOKIE}=first;{SESSION_COOKIE}= last "], "last"),
        (["a=1", f"{SESSION_COOKIE}=t"], "t"),
        ([f"{SESSION_COOKIE}=t; x{SESSION_COOKIE}=other"], "t"),
        ([f"x{SESSION_COOKIE}=other"], None),
        ([f"{SESSION_COOKIE}=; a=1"], None),
        ([], None),
    ],
)
def test_the_token_is_found_among_other_cookies(headers: list[str], token: str | None) -> None:
    cookies = [(b"cookie", header.encode()) for header in headers]
    connection = HTTPConnection({"type": "http", "headers": cookies})
    assert session_token(connection) == token
    assert (connection.cookies.get(SESSION_COOKIE) or None) == token


async def test_the_token_of_a_link_does_not_reach_the_log(settings: WebhooksSettings) -> None:
    token = await Host().sessions.link(Principal("acme", [READ]), 60)
    page = portal_page(settings)
    seen: list[Any] = []

    async def logged(scope: Any, receive: Any, send: Any) -> None:
        await Starlette(routes=[Mount("/api", app=Router(portal_routes(page, "/dashboard")))])(scope, receive, send)
        seen.append(scope["query_string"])

    assert TestClient(logged, follow_redirects=False).get(f"/api/dashboard?token={token}&theme=dark").status_code == 200
    assert seen == [b"token=redacted&theme=dark"]


def test_the_commands_of_the_page_show_where_the_routes_are_installed(tmp_path: Path) -> None:
    webhooks = make_webhooks(make_settings(tmp_path))
    app = Starlette()
    webhooks.install(app, path="/public/hooks")
    app.router.routes.append(Mount("/settings/webhooks", webhooks.portal))
    with TestClient(app, headers=bearer("acme")) as client:
        body = Page(client.get("/settings/webhooks/").text).body()
        assert body["data-public"] == "/public/hooks"
        assert urljoin("/settings/webhooks/", body["data-api"]) == "/settings/webhooks/api/"
        assert json.loads(client.get("/settings/webhooks/api/endpoints").content)["done"] is True


def test_a_link_names_the_tenant_and_signs_in_only_by_its_button(host: TestClient) -> None:
    url = host.post(f"{MOUNT}/portal", headers=bearer("acme")).json()["url"]
    for _ in range(3):  # Like programs that check links.
        offered = host.get(url)
        assert offered.status_code == 200
        assert "Open the webhooks of acme" in offered.text
        assert "set-cookie" not in offered.headers
    page = Page(offered.text)
    assert not [tag for tag, _ in page.tags if tag == "script"]
    (form,) = [attributes for tag, attributes in page.tags if tag == "form"]
    (token,) = [field["value"] for _, field in page.tags if field.get("name") == "token"]
    action = urljoin(url, form["action"])
    pressed = host.post(action, data={"token": token}, headers={"sec-fetch-site": "same-origin"})
    assert pressed.status_code == 303
    assert host.get(urljoin(action, pressed.headers["location"])).status_code == 200
    again = host.post(action, data={"token": token}, headers={"sec-fetch-site": "same-origin"})
    assert (again.status_code, "set-cookie" in again.headers) == (401, False)
    assert host.get(url).status_code == 401


@pytest.mark.parametrize("headers", [{}, {"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}])
def test_no_other_site_can_sign_a_browser_in_or_out(host: TestClient, headers: dict[str, str]) -> None:
    token = host.post(f"{MOUNT}/portal", headers=bearer("acme")).json()["url"].partition("?token=")[2]
    forced = host.post(f"{MOUNT}/dashboard/enter", data={"token": token}, headers=headers)
    assert (forced.status_code, "set-cookie" in forced.headers) == (403, False)
    forced = host.post(f"{MOUNT}/dashboard/sign-out", headers=headers)
    assert (forced.status_code, "set-cookie" in forced.headers) == (403, False)


def test_a_link_says_whose_session_it_replaces_and_ends_that_one(host: TestClient) -> None:
    before = session_of(host, "globex")
    url = host.post(f"{MOUNT}/portal", headers=bearer("acme")).json()["url"]
    offered = host.get(url, headers={"cookie": before})
    assert "signed in to those of globex now" in offered.text
    token = url.partition("?token=")[2]
    entry = {"cookie": before, "sec-fetch-site": "same-origin"}
    assert host.post(f"{MOUNT}/dashboard/enter", data={"token": token}, headers=entry).status_code == 303
    host.cookies.clear()
    assert host.get(f"{MOUNT}/events", headers={"cookie": before}).status_code == 401


@pytest.mark.parametrize("place", [f"{MOUNT}/dashboard", "/hooks"])
def test_signing_out_ends_the_session_everywhere_and_removes_the_cookie(host: TestClient, place: str) -> None:
    session = {"cookie": session_of(host, "acme")}
    out = Page(host.get(f"{place}/", headers=session).text).body()["data-out"]
    answer = host.post(urljoin(f"{place}/", out), headers={**session, "sec-fetch-site": "same-origin"})
    assert answer.status_code == 303
    assert "; Max-Age=0; " in answer.headers["set-cookie"]
    assert host.get(f"{MOUNT}/events", headers=session).status_code == 401


def test_signing_out_does_not_end_a_session_of_the_host(host: TestClient) -> None:
    assert Page(host.get(f"{MOUNT}/dashboard", headers={"x-user": "acme"}).text).body()["data-out"] == ""


def test_a_form_that_is_too_large_opens_nothing(host: TestClient) -> None:
    headers = {"sec-fetch-site": "same-origin"}
    token = host.post(f"{MOUNT}/portal", headers=bearer("acme")).json()["url"].partition("?token=")[2]
    answer = host.post(f"{MOUNT}/dashboard/enter", data={"token": token, "x": "y" * 9000}, headers=headers)
    assert answer.status_code == 401
    assert host.get(f"{MOUNT}/dashboard/enter").headers["allow"] == "POST"


async def test_a_form_that_is_cut_off_does_not_use_up_its_link(settings: WebhooksSettings) -> None:
    host = Host()
    page = portal_page(settings, host)
    link = f"/api/dashboard?token={await host.sessions.link(Principal('acme', [READ]), 60)}"
    body = f"token={link.partition('=')[2]}&nav=no".encode()
    incoming = iter([{"type": "http.request", "body": body, "more_body": True}, {"type": "http.disconnect"}])
    statuses: list[int] = []

    async def receive() -> Any:
        return next(incoming)

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 0))

    headers = [(b"host", b"host"), (b"sec-fetch-site", b"same-origin")]
    scope = {"type": "http", "method": "POST", "path": "/enter", "raw_path": b"/enter"}
    scope |= {"root_path": "", "query_string": b"", "headers": headers, "http_version": "1.1", "scheme": "http"}
    await page(scope, receive, send)
    assert statuses[0] == 401
    assert enter(client_of(page), link).status_code == 303


async def test_a_tenant_that_opens_too_many_links_keeps_the_next_one_for_later(settings: WebhooksSettings) -> None:
    host = Host()
    client = client_of(portal_page(settings, host))

    async def link(tenant: str) -> str:
        return f"/api/dashboard?token={await host.sessions.link(Principal(tenant, [READ]), 60)}"

    links = [await link("acme") for _ in range(3)]
    assert [enter(client, one).status_code for one in links] == [303, 303, 429]
    assert enter(client, await link("globex")).status_code == 303
    host.opened_sessions = OpenedSessions()
    assert enter(client, links[2]).status_code == 303, "it was not used up"


def test_the_page_counts_as_a_call_of_its_tenant(tmp_path: Path) -> None:
    webhooks = make_webhooks(make_settings(tmp_path, calls_per_second=0.001, calls_burst=2))
    with TestClient(make_app(webhooks)) as client:
        visits = [client.get(f"{MOUNT}/dashboard", headers={"x-user": "acme"}) for _ in range(3)]
        assert [visit.status_code for visit in visits] == [200, 200, 429]
        assert int(visits[2].headers["retry-after"]) > 0
        assert client.get(f"{MOUNT}/dashboard", headers={"x-user": "globex"}).status_code == 200


def test_links_and_tickets_end_when_the_host_no_longer_knows_their_key(tmp_path: Path) -> None:
    known = {"key_1"}
    webhooks = make_webhooks(
        make_settings(tmp_path),
        authenticate=APIKeys({"acme": Principal("acme", [READ], "key_1")}.get),
        session_valid=lambda principal: principal.subject in known,
    )
    with TestClient(make_app(webhooks)) as client:
        link = client.post(f"{MOUNT}/portal", headers=bearer("acme")).json()["url"]
        ticket = client.post(f"{MOUNT}/events/stream/ticket", headers=bearer("acme")).json()["ticket"]
        known.clear()
        assert client.get(link).status_code == 401
        assert client.get(f"{MOUNT}/events/stream", params={"ticket": ticket}).status_code == 401
