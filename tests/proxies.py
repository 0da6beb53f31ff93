"""A real proxy in a process of its own, as a fixture."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator

import pytest

from tests.eventually import wait_for


@pytest.fixture(scope="session")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The host and port of a running proxy, which requires a user name and a password."""
    directory = tmp_path_factory.mktemp("proxy")
    port_file, log = directory / "port", directory / "log"
    options = ["--port", "0", "--port-file", str(port_file), "--basic-auth", "user:p@ss:word"]
    small = ["--num-workers", "1", "--num-acceptors", "1", "--log-file", str(log)]
    command = [sys.executable, "-W", "ignore", "-m", "proxy", "--hostname", "127.0.0.1", *options, *small]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=directory) as process:
        try:
            wait_for(lambda: port_file.exists() and port_file.read_text().strip())
            yield f"127.0.0.1:{port_file.read_text().strip()}"
        finally:
            process.terminate()
