"""The routes match their OpenAPI document: Schemathesis generates calls from it against a real server.

Every response is documented, invalid calls are refused, and valid ones are accepted. Exceptions to the last rule are in
`schemathesis.toml`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import plain
from tests.hosts import MOUNT, bearer
from tests.servers import ROOT, serving

CALLS = 10


@pytest.mark.slow
@pytest.mark.timeout(300)
# After the other phases, the last one would also call what is excluded.
@pytest.mark.parametrize("phases", ["coverage,fuzzing", "stateful"])
def test_generated_calls_are_answered_as_documented(tmp_path: Path, phases: str) -> None:
    command = shutil.which("schemathesis", path=os.path.dirname(sys.executable)) or "schemathesis"
    with serving(tmp_path, endpoints_per_tenant="10000", deliver="false", calls_per_second="0") as server:
        plain.post(f"{server.url}{MOUNT}/test", headers=bearer("acme")).raise_for_status()
        arguments = [
            f"--config-file={ROOT / 'tests' / 'schemathesis.toml'}",
            "run",
            f"{server.url}{MOUNT}/openapi.json",
            "--header=Authorization: Bearer acme",
            # A stream does not end.
            "--exclude-path=/events/stream",
            f"--phases={phases}",
            f"--max-examples={CALLS}",
            "--seed=1",
            "--no-color",
            "--request-timeout=20",
        ]
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": str(ROOT / "tests" / "schemathesis_hooks.py")}
        run = subprocess.run(
            [command, *arguments], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, timeout=280
        )
    assert run.returncode == 0, run.stdout[-5000:]
    assert " passed" in run.stdout
    assert " failed" not in run.stdout
