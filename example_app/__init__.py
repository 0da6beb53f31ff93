"""A small SaaS starter that uses `starlette_webhooks`: sign-in, API keys, documents, and billing by Stripe.

`catalog`, `workspace`, `billing` and `pages` know no framework. `integration` joins them to `starlette_webhooks`.
`starlette_app`, `fastapi_app` and `litestar_app` serve the same routes. `receiver` plays the customer's server.
"""

from __future__ import annotations
