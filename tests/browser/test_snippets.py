"""The programs that the portal shows: receivers in each language, and readers of the stream."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser
from standardwebhooks import Webhook

from starlette_webhooks.signing import generate_secret
from tests import plain
from tests.browser.host import MOUNT
from tests.eventually import wait_for
from tests.servers import Server

BODY = b'{"type": "invoice.paid", "data": {}}'
SIGNATURES = ["", "garbage", "v1", "v1,", "v1,garbage", "v1,\xe9", "v1,a,b", "v2,AAAA", ",", "v1,=" * 500]
TIMESTAMPS = ["", "garbage", "1e400", "nan", "0", "-1", "9" * 40]
Post = Callable[[bytes, dict[str, str]], int]

SNIPPETS = """async ([app, url]) => {
  const of = (name) => import(new URL(name, new URL(app, location.href)));
  const { RECEIVERS } = await of("receivers.js");
  const { READERS } = await of("readers.js");
  const all = {};
  for (const prefix of ["webhook", "svix"])
    for (const [name, make] of Object.entries(RECEIVERS)) all[`${name} ${prefix}`] = make(prefix);
  for (const [name, make] of Object.entries(READERS)) all[name] = make(url);
  return all;
}"""


@pytest.fixture(scope="module")
def snippets(browser: Browser, server: Server) -> Generator[dict[str, str]]:
    """The text of each program by its name, receivers with their prefix."""
    context = browser.new_context()
    context.add_cookies([{"name": "user", "value": "acme:write", "url": server.url}])
    page = context.new_page()
    page.goto(f"{server.url}{MOUNT}/dashboard")
    module = page.locator("script[type=module]").get_attribute("src")
    text: dict[str, str] = page.evaluate(SNIPPETS, [module, f"{server.url}{MOUNT}/events"])
    yield text
    context.close()


def headers_of(secret: str, prefix: str, body: bytes = BODY, **changes: str) -> dict[str, str]:
    now = datetime.now(UTC)
    signature = Webhook(secret).sign("msg_1", now, body.decode(errors="replace"))
    values = {"id": "msg_1", "timestamp": str(int(now.timestamp())), "signature": signature, **changes}
    return {f"{prefix}-{name}": value for name, value in values.items() if value}


def check(post: Post, secret: str, prefix: str) -> None:
    """Genuine webhooks are accepted, and everything else is answered with 400, without an end of the program."""
    assert post(BODY, headers_of(secret, prefix)) == 204
    both = f"v1,AAAA {headers_of(secret, prefix)[f'{prefix}-signature']}"
    assert post(BODY, headers_of(secret, prefix, signature=both)) == 204
    for signature in SIGNATURES:
        assert post(BODY, headers_of(secret, prefix, signature=signature)) == 400, signature
    for timestamp in TIMESTAMPS:
        assert post(BODY, headers_of(secret, prefix, timestamp=timestamp)) == 400, timestamp
    assert post(BODY, headers_of(secret, prefix, id="msg_2")) == 400
    assert post(BODY, headers_of(secret, prefix, id="")) == 400
    assert post(b"\xff", headers_of(secret, prefix, b"\xff")) == 400
    assert post(b"", {}) == 400
    assert post(BODY, headers_of(secret, prefix)) == 204


@pytest.mark.parametrize("prefix", ["webhook", "svix"])
@pytest.mark.parametrize("name", ["FastAPI", "Flask", "Django"])
def test_receivers_in_python_accept_genuine_webhooks_only(
    snippets: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str, prefix: str
) -> None:
    secret = generate_secret()
    monkeypatch.setenv("WEBHOOK_SECRET", secret)
    namespace: dict[str, Any] = {"__name__": "snippet"}
    exec(compile(snippets[f"{name} {prefix}"], "snippet", "exec", dont_inherit=True), namespace)
    with CLIENTS[name](namespace) as post:
        check(post, secret, prefix)


@contextmanager
def fastapi_client(namespace: dict[str, Any]) -> Iterator[Post]:
    from starlette.testclient import TestClient

    with TestClient(namespace["app"]) as client:
        yield lambda body, headers: client.post("/webhooks", content=body, headers=encoded(headers)).status_code


def encoded(headers: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode("latin-1") for name, value in headers.items()}


@contextmanager
def flask_client(namespace: dict[str, Any]) -> Iterator[Post]:
    client = namespace["app"].test_client()
    yield lambda body, headers: int(client.post("/webhooks", data=body, headers=headers).status_code)


@contextmanager
def django_client(namespace: dict[str, Any]) -> Iterator[Post]:
    from django.conf import settings
    from django.test import RequestFactory

    if not settings.configured:
        settings.configure()
    factory = RequestFactory()

    def post(body: bytes, headers: dict[str, str]) -> int:
        request = factory.post("/webhooks", body, content_type="application/json", headers=headers)
        return int(namespace["receive"](request).status_code)

    yield post


CLIENTS = {"FastAPI": fastapi_client, "Flask": flask_client, "Django": django_client}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_server(command: list[str], port: int, secret: str, prefix: str) -> None:
    """Start a receiver, check it, and let a stranger close a connection halfway."""
    environment = {**os.environ, "WEBHOOK_SECRET": secret}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            wait_for(lambda: accepts(port) or process.poll() is not None, timeout=20)
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(b"POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            with plain.Client(base_url=f"http://127.0.0.1:{port}") as client:

                def post(body: bytes, headers: dict[str, str]) -> int:
                    return client.post("/webhooks", content=body, headers=list(encoded(headers).items())).status_code

                check(post, secret, prefix)
        finally:
            process.kill()


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed.")
@pytest.mark.parametrize("prefix", ["webhook", "svix"])
def test_the_receiver_in_node_accepts_genuine_webhooks_only(
    snippets: dict[str, str], tmp_path: Path, prefix: str
) -> None:
    port, file = free_port(), tmp_path / "receiver.mjs"
    file.write_text(snippets[f"Node {prefix}"].replace("listen(3000", f"listen({port}"))
    run_server(["node", str(file)], port, generate_secret(), prefix)


@pytest.mark.slow  # Compiles the standard library the first time.
@pytest.mark.timeout(180)
@pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed.")
def test_the_receiver_in_go_accepts_genuine_webhooks_only(snippets: dict[str, str], tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "receiver.go"
    file.write_text(snippets["Go webhook"].replace('":3000"', f'":{port}"'))
    program = tmp_path / "receiver"
    # Compiling takes a quarter less without optimisation.
    build = ["go", "build", "-gcflags=all=-N -l -dwarf=false", "-ldflags=-w", "-o", str(program), str(file)]
    subprocess.run(build, check=True, timeout=150, cwd=tmp_path)
    run_server([str(program)], port, generate_secret(), "webhook")


@pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed.")
def test_the_receiver_in_java_accepts_genuine_webhooks_only(snippets: dict[str, str], tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "Receiver.java"
    file.write_text(snippets["Java webhook"].replace("InetSocketAddress(3000)", f"InetSocketAddress({port})"))
    run_server(["java", "-XX:TieredStopAtLevel=1", str(file)], port, generate_secret(), "webhook")


@pytest.mark.skipif(shutil.which("ruby") is None, reason="Ruby is not installed.")
def test_the_receiver_in_ruby_accepts_genuine_webhooks_only(snippets: dict[str, str], tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "receiver.rb"
    file.write_text(snippets["Ruby webhook"].replace("Port: 3000", f"Port: {port}"))
    run_server(["ruby", str(file)], port, generate_secret(), "webhook")


@pytest.mark.skipif(shutil.which("php") is None, reason="PHP is not installed.")
@pytest.mark.parametrize("prefix", ["webhook", "svix"])
def test_the_receiver_in_php_accepts_genuine_webhooks_only(
    snippets: dict[str, str], tmp_path: Path, prefix: str
) -> None:
    port, file = free_port(), tmp_path / "receiver.php"
    file.write_text(snippets[f"PHP {prefix}"])
    run_server(["php", "-S", f"127.0.0.1:{port}", str(file)], port, generate_secret(), prefix)


@pytest.mark.parametrize("name", ["Python", "JavaScript"])
def test_a_reader_follows_the_stream(snippets: dict[str, str], server: Server, tmp_path: Path, name: str) -> None:
    command = [sys.executable] if name == "Python" else ["node"]
    if shutil.which(command[0]) is None:
        pytest.skip("Node is not installed.")
    file = tmp_path / ("reader.py" if name == "Python" else "reader.mjs")
    file.write_text(snippets[name])
    tenant = f"reader-{name}"
    before = opened(server)
    lines: list[str] = []
    environment = {**os.environ, "API_KEY": tenant}
    with subprocess.Popen([*command, str(file)], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        reading = threading.Thread(target=lambda out=process.stdout: lines.extend(out))
        reading.start()
        try:
            wait_for(lambda: opened(server) > before)
            body = {"tenant": tenant, "type": "document.created", "events": [{"n": 1}, {"n": 2}]}
            plain.post(f"{server.url}/emit", json=body).raise_for_status()
            wait_for(lambda: len(lines) == 2 or process.poll() is not None)
        finally:
            process.kill()
    reading.join()
    assert [line.startswith("document.created ") for line in lines] == [True, True]


def opened(server: Server) -> int:
    """How many streams the server has opened since its start."""
    return int(plain.get(f"{server.url}/streams").json()["opened"])
