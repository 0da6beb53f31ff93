"""A host whose time tests can set forward: `uvicorn tests.serve_aging:app`."""

from __future__ import annotations

from starlette_webhooks import APIKeys
from starlette_webhooks.environment import load_settings
from tests.aging import aging_routes, any_tenant
from tests.hosts import make_app, make_webhooks, user_of

webhooks = make_webhooks(load_settings(), authenticate=APIKeys(any_tenant, fallback=user_of))
app = make_app(webhooks)
app.router.routes += aging_routes(webhooks)
