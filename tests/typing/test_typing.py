"""The public API under mypy and pyright, both strict; and the same annotations read by FastAPI and Litestar."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from starlette_webhooks.testing import EmittedEvents
from tests.servers import ROOT
from tests.typing import fastapi_app, litestar_app

FILES = [
    str(Path(__file__).with_name(name))
    for name in ("starlette_app.py", "fastapi_app.py", "litestar_app.py", "testing_tools.py", "consumer.py")
]
PYRIGHT = {
    "typeCheckingMode": "strict",
    # An unused `type: ignore` is a wrong use that was not noticed.
    "reportUnnecessaryTypeIgnoreComment": "error",
    "enableTypeIgnoreComments": True,
    "extraPaths": [str(ROOT)],
    "pythonVersion": "3.11",
}


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_mypy_strict_knows_every_name_and_finds_every_wrong_use(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", "--no-error-summary", *FILES]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170)
    assert checked.stdout + checked.stderr == ""
    assert checked.returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_pyright_strict_knows_every_name_and_finds_every_wrong_use(tmp_path: Path) -> None:
    # Pyright accepts no absolute paths here.
    relative = [os.path.relpath(file, tmp_path) for file in FILES]
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({**PYRIGHT, "include": relative}))
    command = [sys.executable, "-m", "pyright", "--outputjson", "-p", str(tmp_path), "--pythonpath", sys.executable]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=170)
    report = json.loads(checked.stdout)
    found = [
        f"{each['file']}:{each['range']['start']['line'] + 1}: {each['message']}"
        for each in report["generalDiagnostics"]
    ]
    assert found == []
    assert report["summary"]["filesAnalyzed"] == len(FILES)


@pytest.mark.parametrize("app", [fastapi_app.app, litestar_app.app], ids=["fastapi", "litestar"])
def test_the_annotations_work_when_a_framework_reads_them(app: Any, emitted_webhooks: EmittedEvents) -> None:
    with TestClient(app) as client:
        for path in ("/dependency", "/request", "/thread"):
            identifier = client.post(path).text.strip('"')
            assert emitted_webhooks[-1].id == identifier
        with client.websocket_connect("/socket") as websocket:
            assert websocket.receive_text() == emitted_webhooks[-1].id
    emitted_webhooks.assert_emitted("invoice.paid", tenant="acme", times=4)
