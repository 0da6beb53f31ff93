"""The documentation is true: its Python runs, its commands work, its references are complete."""

from __future__ import annotations

import base64
import json
import os
import re
import runpy
import shutil
import subprocess
import tomllib
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook

from starlette_webhooks.routes import OPERATIONS
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.signing import generate_secret
from tests.pages import DOCS, FENCE, LINK, PAGES, blocks, follow_quickstart
from tests.servers import ROOT


def name_of(page: object) -> str:
    """Return the name of a page in the output of pytest."""
    assert isinstance(page, Path)
    return str(page.relative_to(ROOT))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to run in, without settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("WEBHOOKS_", "SVIX_")):
            monkeypatch.delenv(name)
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_python_of_a_page_runs_from_top_to_bottom(page: Path, elsewhere: Path) -> None:
    text = page.read_text()
    namespace: dict[str, object] = {"__name__": "__main__"}
    for match in FENCE.finditer(text):
        fragment, language, code = match.groups()
        if language != "python":
            continue
        # With empty lines in front, a traceback names the line in the page.
        line = text.count("\n", 0, match.start(3))
        compiled = compile("\n" * line + code, str(page), "exec", dont_inherit=True)
        if not fragment:
            exec(compiled, namespace)


@pytest.mark.parametrize("module", ["", ".fastapi", ".litestar", ".outbox", ".signing", ".testing"])
def test_every_public_name_is_in_the_python_reference(module: str) -> None:
    text = (DOCS / "reference/api.md").read_text()
    package = import_module(f"starlette_webhooks{module}")
    public = [name for name in package.__all__ if name != "__version__"]
    documented = set(re.findall(rf"^::: starlette_webhooks{re.escape(module)}\.(\w+)$", text, re.MULTILINE))
    if not module:
        # The settings have a separate page.
        public.remove("WebhooksSettings")
    assert documented == set(public)


def test_the_navigation_of_the_site_names_every_page() -> None:
    project = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]

    def pages(item: object) -> list[str]:
        if isinstance(item, str):
            return [item]
        children = item.values() if isinstance(item, dict) else item
        assert isinstance(children, Iterable)
        return [page for child in children for page in pages(child)]

    assert sorted(pages(project["nav"])) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "json")], ids=name_of)
def test_json_of_a_page_is_json(page: Path) -> None:
    for code in blocks(page, "json"):
        json.loads(code)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_quickstart_does_what_the_readme_says(elsewhere: Path) -> None:
    follow_quickstart(elsewhere)


def test_shell_of_the_customers_page_computes_the_signature(elsewhere: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    (code,) = blocks(DOCS / "howto" / "verify-a-webhook.md", "sh")
    secret, now, body = generate_secret(), datetime.now(UTC), '{"type":"invoice.paid","data":{"name":"Zoë"}}'
    (elsewhere / "body.json").write_text(body)
    environment = {**os.environ, "SECRET": secret, "ID": "msg_1", "TIMESTAMP": str(int(now.timestamp()))}
    ran = subprocess.run(["bash", "-euc", code], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    assert ran.stdout.strip() == Webhook(secret).sign("msg_1", now, body)
    assert len(base64.b64decode(ran.stdout.strip().removeprefix("v1,"))) == 32


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "js")], ids=name_of)
def test_javascript_of_a_page_is_javascript(page: Path, elsewhere: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    for number, code in enumerate(blocks(page, "js")):
        module = elsewhere / f"{number}.mjs"
        module.write_text(code)
        subprocess.run(["node", "--check", str(module)], check=True)


def test_reference_of_settings_is_what_the_settings_say() -> None:
    render = runpy.run_path(str(ROOT / "scripts" / "settings_reference.py"))["render"]
    text = (DOCS / "reference" / "settings.md").read_text()
    assert text == render(), "run `python scripts/settings_reference.py`"
    assert len(re.findall(r"^\| `(?:WEBHOOKS|SVIX)_", text, re.MULTILINE)) == len(WebhooksSettings.model_fields)


def test_reference_of_routes_has_every_route_and_no_other() -> None:
    served = {(operation.method, operation.path) for operation in OPERATIONS}
    text = (DOCS / "reference" / "routes.md").read_text()
    documented = set(re.findall(r"`(GET|POST|PATCH|DELETE) (/[^`]*)`", text))
    assert documented == served
