"""The command `starlette-webhooks`, for operators. It needs the extra `cli`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, with the arguments of the process by default. Returns its exit status.

    0 if it did what it was asked to, 1 if it could not, 2 for wrong usage, 130 if it was interrupted.
    """
    try:
        from starlette_webhooks.cli.root import run
    except ModuleNotFoundError as exc:
        if exc.name not in ("click", "rich"):
            raise
        print("The command needs more packages: pip install 'starlette-webhooks[cli]'", file=sys.stderr)
        return 1
    return run(arguments)
