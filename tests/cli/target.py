"""An app that is listened for, as a process that may be killed: `python -m tests.cli.target PORT FILE`.

It appends the id of each webhook to the file before it answers.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from starlette_webhooks.testing.server import Answer, PostServer


def main(port: int, path: Path) -> None:
    """Serve until it is killed."""

    def take(_: str, headers: dict[str, str], body: bytes) -> Answer:
        with path.open("a") as file:
            file.write(f"{headers['webhook-id']}\n")
        return 204, {}, b""

    with PostServer(take, port=port).running():
        threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
