"""A small SaaS starter that uses `starlette_webhooks`: sign-in, API keys, documents, and billing by Stripe.

`catalog`, `workspace`, `documents`, `billing` and `pages` do not depend on a framework. `integration` connects them to
`starlette_webhooks`. `starlette_app`, `fastapi_app` and `litestar_app` serve the same routes. `receiver` is a
customer's server.
"""

from __future__ import annotations
