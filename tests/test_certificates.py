"""The certificate authorities that clients trust."""

from __future__ import annotations

import os
import ssl
from collections.abc import Generator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import trustme

from starlette_webhooks.certificates import trusted_authorities
from starlette_webhooks.client import ConnectionFailed, SyncClient


class _EventTypes(BaseHTTPRequestHandler):
    """An API without event types."""

    def do_GET(self) -> None:
        body = b'{"eventTypes": []}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def api(authority: trustme.CA) -> Generator[str]:
    """The URL of an API with a certificate of this authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with HTTPServer(("127.0.0.1", 0), _EventTypes) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"https://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


def trust(authority: trustme.CA, file: Path, time: int) -> None:
    """Write the certificate of an authority to a file, as if at this time."""
    authority.cert_pem.write_to_path(str(file))
    os.utime(file, (time, time))


def test_new_clients_trust_what_the_environment_names_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, old, new = tmp_path / "authorities.pem", trustme.CA(), trustme.CA()

    def call(url: str) -> None:
        with SyncClient(url, "key", retries=0) as client:
            client.event_types()

    with api(old) as url:
        with pytest.raises(ConnectionFailed, match="certificate"):
            call(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        trust(old, file, 1)
        call(url)
        trust(new, file, 2)
        with pytest.raises(ConnectionFailed, match="certificate"):
            call(url)
    with api(new) as url:
        call(url)


def test_clients_share_the_authorities_until_the_environment_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    first = trusted_authorities()
    assert trusted_authorities() is first
    monkeypatch.setenv("SSL_CERT_DIR", "/etc")
    assert trusted_authorities() is not first


def test_a_file_that_was_missing_is_read_once_it_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "authorities.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    before = None
    # HTTPX 0.27 uses its own authorities instead.
    with suppress(FileNotFoundError):
        before = trusted_authorities()
    trust(trustme.CA(), file, 1)
    assert trusted_authorities() is not before
