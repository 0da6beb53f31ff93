"""The host app of the tests for real servers: `uvicorn tests.serve:app`, with settings from the environment."""

from __future__ import annotations

from starlette_webhooks.environment import load_settings
from tests.hosts import make_app, make_webhooks

webhooks = make_webhooks(load_settings())
app = make_app(webhooks)
