"""The hosts for real servers: `TEST_HOST=fastapi uvicorn tests.integrations.serve:app`."""

from __future__ import annotations

import os
from importlib import import_module

from starlette_webhooks.environment import load_settings
from tests.integrations.hosting import webhooks_for

name = os.environ["TEST_HOST"]
webhooks = webhooks_for(load_settings())
# Not `HOSTS`: a server imports only its own framework, which takes most of the time until it starts.
app = getattr(import_module(f"tests.integrations.{name}_host"), name)(webhooks)
