"""The built wheel is complete, and works in an otherwise empty environment."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.pages import follow_quickstart
from tests.servers import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built as for an upload."""
    directory = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(directory), str(ROOT))
    (found,) = directory.glob("*.whl")
    return found


def run(*command: str) -> None:
    """Run a command, and show its output if it fails."""
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"


def test_the_wheel_holds_every_file_of_the_package_and_the_license(wheel: Path) -> None:
    files = [path for path in (ROOT / "starlette_webhooks").rglob("*") if path.is_file()]
    expected = {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert "starlette_webhooks/py.typed" in names
    assert any(name.endswith(".sql") for name in names)
    assert any(name.startswith("starlette_webhooks/portal/static/") for name in names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_quickstart_works_where_only_the_wheel_and_its_needs_are_installed(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "environment")
    python = tmp_path / "environment" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", f"{wheel}[fastapi]", "uvicorn")
    follow_quickstart(tmp_path, python=python)
