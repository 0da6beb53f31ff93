"""The console, where operators see what is wrong over all tenants, and fix it."""

from __future__ import annotations

from starlette_webhooks.console.app import Console
from starlette_webhooks.console.operators import Authorize, Operator

__all__ = ["Authorize", "Console", "Operator"]
