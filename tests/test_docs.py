"""The documentation is true: its Python runs, its commands work, its references are complete."""

from __future__ import annotations

import ast
import base64
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook
from starlette.testclient import TestClient

from starlette_webhooks import exceptions
from starlette_webhooks.routes import OPERATIONS
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.signing import generate_secret
from tests.pages import DOCS, LINK, PAGES, SECTION_LINK, blocks, fenced, follow_quickstart, follow_tutorial, sections
from tests.servers import ROOT
from tests.test_docs_reference import API


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
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in fenced(page, "python"):
        # With empty lines in front, a traceback names the line in the page.
        compiled = compile("\n" * block.line + block.code, str(page), "exec", dont_inherit=True)
        if not block.fragment:
            exec(compiled, namespace)


@pytest.mark.parametrize(
    "module", ["", ".client", ".console", ".fastapi", ".litestar", ".outbox", ".receiving", ".signing", ".testing"]
)
def test_every_public_name_is_in_the_python_reference(module: str) -> None:
    text = "\n".join(page.read_text() for page in API)
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


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_to_a_section_name_one_of_its_headings(page: Path) -> None:
    for target, section in SECTION_LINK.findall(page.read_text()):
        linked = (page.parent / target).resolve() if target else page
        # The headings of public names come from their docstrings.
        assert section.startswith("starlette_webhooks.") or section in sections(linked), f"{target}#{section}"


def test_quickstart_does_what_the_readme_says(elsewhere: Path) -> None:
    follow_quickstart(elsewhere)


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
@pytest.mark.parametrize("number", [0, 1, 2], ids=["fastapi", "starlette", "litestar"])
def test_quickstarts_of_all_frameworks_emit(page: str, number: int, elsewhere: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    code = blocks(ROOT / page, "python")
    # In the README, the other frameworks continue the first app.
    for block in [code[0], code[number]] if page == "README.md" else [code[number]]:
        exec(compile(block, page, "exec", dont_inherit=True), namespace)
    with TestClient(namespace["app"], headers={"Authorization": "Bearer sk_demo"}) as client:
        assert client.post("/pay").json() == {"paid": True}
        (event,) = client.get("/api/v1/webhooks/events").json()["events"]
    assert (event["eventType"], event["payload"]["data"]) == ("invoice.paid", {"amountPaid": 9900})


@pytest.mark.slow  # Starts two servers and pytest.
def test_tutorial_does_what_it_says(elsewhere: Path) -> None:
    follow_tutorial(elsewhere)
    left_out = ["no:cacheprovider", "no:schemathesis", "no:hypothesispytest"]
    command = [sys.executable, "-m", "pytest", "-q", *(f"-p{plugin}" for plugin in left_out), "test_app.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout
    assert "3 passed" in run.stdout


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


def codes_of(tree: ast.Module) -> Iterable[str]:
    """The codes of errors that a module answers with."""
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    def texts(node: ast.expr) -> Iterable[str]:
        match node:
            case ast.Constant(value=str(text)):
                yield text
            case ast.Name(id=name) if isinstance(constants.get(name), str):
                yield str(constants[name])
            case ast.IfExp(body=first, orelse=second):
                yield from [*texts(first), *texts(second)]
            case ast.BoolOp(values=parts) | ast.Call(args=parts):
                yield from (text for part in parts for text in texts(part))

    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            given = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            if isinstance(node.func, ast.Name) and node.func.id == "_error":
                given.append(node.args[1])
            for value in given:
                yield from texts(value)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id == "default_code" and node.value is not None:
                yield from texts(node.value)
            elif isinstance(target, ast.Name) and target.id == "_CODES" and isinstance(node.value, ast.Dict):
                for value in node.value.values:
                    yield from texts(value)


def test_reference_of_errors_has_every_code_and_no_other() -> None:
    package = ROOT / "starlette_webhooks"
    # The command has codes of its own, and the SDK of Svix too.
    left_out = (package / "cli", package / "backends" / "svix" / "errors.py")
    raised = {
        code
        for path in package.rglob("*.py")
        if not any(path.is_relative_to(other) for other in left_out)
        for code in codes_of(ast.parse(path.read_text()))
        if re.fullmatch(r"[a-z_]+", code)
    }
    text = (DOCS / "reference" / "errors.md").read_text()
    http = text[text.index("## HTTP") : text.index("## Python")]
    documented = set(re.findall(r"^\| `(\w+)` \|", http, re.MULTILINE))
    # Raised by `backends/svix/errors.py`.
    assert documented == raised | {"unknown_route"}


def test_reference_of_errors_has_every_error_with_its_status() -> None:
    text = (DOCS / "reference" / "errors.md").read_text()
    for name in exceptions.__all__:
        kind = getattr(exceptions, name)
        if not isinstance(kind, type) or kind in (exceptions.WebhooksError, exceptions.BackendError):
            continue
        if kind is exceptions.RequestError:
            assert "`RequestError`" in text
        elif issubclass(kind, exceptions.RequestError):
            assert f"| `{name}` | {kind.status_code} |" in text
        else:
            assert f"| `{name}` | " in text
