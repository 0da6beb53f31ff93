"""The pages of the documentation: their code blocks, and the quickstart of the README."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from tests.servers import ROOT, serving

README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^(<!-- fragment -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in a language."""
    return [code for _, name, code in FENCE.findall(page.read_text()) if name == language]


def follow_quickstart(directory: Path, *, python: Path | None = None) -> None:
    """Follow the README: save the app, start it, emit an event, list it, and stream another one."""
    (directory / "app.py").write_text(blocks(README, "python")[0])
    commands = [line for code in blocks(README, "sh") for line in code.splitlines() if line.startswith("curl")]
    emit, list_events, stream = commands

    with serving(directory, app="app:app", python=python) as server:

        def run(command: str) -> str:
            command = command.replace("http://127.0.0.1:8000", server.url).replace("curl", "curl -s --max-time 1.5", 1)
            return subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, text=True, timeout=10).stdout

        assert json.loads(run(emit)) == {"paid": True}
        (event,) = json.loads(run(list_events))["events"]
        assert (event["eventType"], event["payload"]["data"]) == ("invoice.paid", {"amountPaid": 9900})
        streamed = subprocess.Popen(
            ["bash", "-c", stream.replace("http://127.0.0.1:8000", server.url)], stdout=subprocess.PIPE, text=True
        )
        with streamed:
            assert streamed.stdout is not None
            assert streamed.stdout.readline().startswith("retry:")
            run(emit)
            line = next(line for line in streamed.stdout if line.startswith("data:"))
            streamed.kill()
        assert json.loads(line[5:])["eventType"] == "invoice.paid"
