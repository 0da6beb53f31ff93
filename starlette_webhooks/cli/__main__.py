"""`python -m starlette_webhooks.cli`, where the command is not on the path."""

from __future__ import annotations

import sys

from starlette_webhooks.cli import main

if __name__ == "__main__":  # pragma: no branch  Nothing imports it.
    sys.exit(main())
