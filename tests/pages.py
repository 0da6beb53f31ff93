"""The pages of the documentation: their code blocks, and the quickstart of the README."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.eventually import wait_for
from tests.servers import ROOT, free_port, serving

README = ROOT / "README.md"
DOCS = ROOT / "docs"
# Pages of the site that are files in the root of the repository are symbolic links.
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(page for page in DOCS.rglob("*.md") if not page.is_symlink())]
# Blocks in tabs and lists are indented.
_FENCE = re.compile(r"^([ ]*)(<!-- fragment -->\n\1)?```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
SECTION_LINK = re.compile(r"\]\((?!https?:)([^)#]*)#([^)]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A code block of a page.

    Attributes:
        fragment: Whether it is only a part of a program, which cannot run by itself.
        line: The number of lines before its code.
    """

    code: str
    fragment: bool
    line: int


def fenced(page: Path, language: str) -> list[Block]:
    """The code blocks of a page in a language."""
    text = page.read_text()
    found = []
    for match in _FENCE.finditer(text):
        indentation, fragment, name, code = match.groups()
        if name == language:
            dedented = re.sub(f"^{indentation}", "", code, flags=re.MULTILINE)
            found.append(Block(dedented, fragment is not None, text.count("\n", 0, match.start(4))))
    return found


def blocks(page: Path, language: str) -> list[str]:
    """The code of the blocks of a page in a language."""
    return [block.code for block in fenced(page, language)]


def sections(page: Path) -> set[str]:
    """The ids of the headings of a page, as the site makes them."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = [re.sub(r"\]\([^)]*\)", "", title) for title in _HEADING.findall(text)]
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


def follow_quickstart(directory: Path, *, python: Path | None = None) -> None:
    """Follow the README: save the app, start it, emit an event, list it, open the portal, and stream another one."""
    (directory / "app.py").write_text(blocks(README, "python")[0])
    commands = [line for code in blocks(README, "sh") for line in code.splitlines() if line.startswith("curl")]
    emit, list_events, link, stream = commands

    with serving(directory, app="app:app", python=python) as server:

        def run(command: str) -> str:
            command = command.replace("http://127.0.0.1:8000", server.url).replace("curl", "curl -s --max-time 1.5", 1)
            return subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, text=True, timeout=10).stdout

        assert json.loads(run(emit)) == {"paid": True}
        (event,) = json.loads(run(list_events))["events"]
        assert (event["eventType"], event["payload"]["data"]) == ("invoice.paid", {"amountPaid": 9900})
        url = json.loads(run(link))["url"]
        assert url.startswith(f"{server.url}/api/v1/webhooks/dashboard?token=")
        assert "Open the webhooks of acme" in run(f"curl '{url}'")
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


def follow_tutorial(directory: Path) -> None:
    """Do what the tutorial says until a delivery is verified, then save the app and the tests of its end."""
    page = DOCS / "tutorial.md"
    types, keys, plain, routes, receiver, transactional, tests = blocks(page, "python")
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    pay, _, _, create, secret, pay_again = [line for line in lines if line.startswith("curl") and "portal" not in line]
    (directory / "app.py").write_text(types + keys + plain + routes)
    (directory / "receiver.py").write_text(receiver)
    port = free_port()
    with serving(directory, app="app:app") as server:

        def run(command: str) -> Any:
            for documented, here in {"http://127.0.0.1:8000": server.url, ":8001": f":{port}"}.items():
                command = command.replace(documented, here)
            run = subprocess.run(["bash", "-c", f"{command} -s"], stdout=subprocess.PIPE, text=True, timeout=10)
            return json.loads(run.stdout)

        assert run(pay.replace("sk_acme", "sk_nobody"))["detail"].startswith("Send `Authorization")
        assert run(pay) == {"paid": True}
        endpoint = run(create)["id"]
        key = run(secret.replace("ep_...", endpoint))["key"]
        with serving(directory, app="receiver:receiver", port=port, SECRET=key) as received:
            assert run(pay_again) == {"paid": True}
            (verified,) = blocks(page, "text")
            wait_for(lambda: verified in received.log.read_text(), 10, received.log)
    (directory / "app.py").write_text(types + keys + transactional)
    (directory / "test_app.py").write_text(tests)
