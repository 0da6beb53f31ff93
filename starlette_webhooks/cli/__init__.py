"""The command `starlette-webhooks`, for operators. It needs the extra `cli`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status. By default, with the arguments of the process.

    0 means success, 1 failure, 2 wrong usage, and 130 that it was interrupted.
    """
    try:
        from starlette_webhooks.cli.root import run
    except ModuleNotFoundError as exc:
        if exc.name not in ("click", "rich"):
            raise
        print("The command requires more packages. Install the package with the extra `cli`.", file=sys.stderr)
        return 1
    return run(arguments)
