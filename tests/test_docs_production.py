"""The files that the documentation proposes for production name what exists."""

from __future__ import annotations

import re
from configparser import ConfigParser

import pytest

from starlette_webhooks.environment import variable_of
from starlette_webhooks.settings import WebhooksSettings
from tests.pages import DOCS, blocks

PRODUCTION = DOCS / "howto" / "production.md"
VARIABLES = {variable_of(name) for name in WebhooksSettings.model_fields}
OPERATING = ["howto/production.md", "howto/monitoring.md", "howto/my-endpoint-gets-nothing.md"]


@pytest.mark.parametrize("page", OPERATING)
def test_every_variable_on_a_page_is_a_setting(page: str) -> None:
    named = set(re.findall(r"\bWEBHOOKS_[A-Z0-9_]+\b", (DOCS / page).read_text()))
    assert named
    assert named - VARIABLES == set()


def test_the_unit_keeps_the_database_to_its_user_and_stops_gracefully() -> None:
    (text,) = blocks(PRODUCTION, "ini")
    unit = ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text)
    service = unit["Service"]
    assert service["User"] != "root"
    assert (service["UMask"], service["StateDirectoryMode"]) == ("0077", "0700")
    assert service["KillSignal"] == "SIGTERM"
    assert float(service["TimeoutStopSec"]) > WebhooksSettings.model_fields["shutdown_grace"].default
    assert f"WEBHOOKS_DATABASE=/var/lib/{service['StateDirectory']}/" in text


def test_the_compose_file_keeps_the_database_on_a_volume_and_passwords_out_of_the_environment() -> None:
    (text,) = blocks(PRODUCTION, "yaml")
    volume = re.search(r'volumes: \["(\w+):/var/lib/postgresql/data"\]', text)
    assert volume is not None
    assert re.search(rf"^volumes:\n  {volume[1]}:$", text, re.MULTILINE)
    for secret in re.findall(r"secrets: \[(\w+)\]", text):
        assert re.search(rf"^  {secret}: \{{file: ", text, re.MULTILINE), secret
    assert re.search(r"PASSWORD: ", text) is None
    grace = re.search(r"stop_grace_period: (\d+)s", text)
    assert grace is not None
    assert float(grace[1]) > WebhooksSettings.model_fields["shutdown_grace"].default


def test_nginx_buffers_no_stream_and_waits_for_heartbeats() -> None:
    (text,) = blocks(PRODUCTION, "nginx")
    assert "proxy_buffering off;" in text
    # With TLS, nginx does not start without them.
    assert re.search(r"^    ssl_certificate \S+;\n    ssl_certificate_key \S+;$", text, re.MULTILINE)
    timeout = re.search(r"proxy_read_timeout (\d+)s;", text)
    assert timeout is not None
    assert float(timeout[1]) > 2 * WebhooksSettings.model_fields["heartbeat"].default
    assert text.count("{") == text.count("}")
