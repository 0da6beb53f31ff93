"""A server, a browser and a receiver. They end with this package, since Playwright holds an event loop open."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.visitor import Visit, Visitor
from tests.chromium import starting_chromium
from tests.receivers import Receiver, receiving
from tests.servers import Server, serving


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    directory = tmp_path_factory.mktemp("portal")
    with serving(directory, app="tests.browser.host:app", retry_schedule="0,3600", heartbeat="0.5") as running:
        yield running


@pytest.fixture(scope="package")
def browser() -> Generator[Browser]:
    with starting_chromium() as started:
        yield started


@pytest.fixture
def receiver() -> Generator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture
def visit(browser: Browser, server: Server, request: pytest.FixtureRequest) -> Generator[Visit]:
    """Signs in a user in a new browser context. At the end, the page must not have logged an error."""
    visitors: list[Visitor] = []

    def begin(access: str = "write", *, tenant: str | None = None, **options: Any) -> Visitor:
        name = tenant or re.sub(r"\W+", "-", request.node.name)
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        if access:
            context.add_cookies([{"name": "user", "value": f"{name}:{access}", "url": server.url}])
        visitors.append(Visitor(context, server, name))
        return visitors[-1]

    yield begin
    for visitor in visitors:
        assert visitor.violations() == []
        visitor.context.close()
        visitor.api.close()
    assert [error for visitor in visitors for error in visitor.errors if "Failed to load resource" not in error] == []


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, from `AXE_CORE` or the npm registry."""
    given = os.environ.get("AXE_CORE")
    folder = Path(tempfile.gettempdir(), "starlette-webhooks-axe")
    source = Path(given) if given else folder / "node_modules/axe-core/axe.min.js"
    if not source.exists() and shutil.which("npm"):
        folder.mkdir(exist_ok=True)
        command = [
            "npm",
            "install",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--prefix",
            str(folder),
            "axe-core@4",
        ]
        subprocess.run(command, check=False, capture_output=True, timeout=60, cwd=folder)
    if not source.exists():
        pytest.skip("axe-core is not installed.")
    return source.read_text()
