"""The hosts for real servers: `TEST_HOST=fastapi uvicorn tests.integrations.serve:app`."""

from __future__ import annotations

import os

from starlette_webhooks.environment import load_settings
from tests.integrations.apps import HOSTS, webhooks_for

webhooks = webhooks_for(load_settings())
app = HOSTS[os.environ["TEST_HOST"]](webhooks)
