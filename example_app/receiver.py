"""A customer's server: receives webhooks, verifies them with the official library, and keeps the last ones.

Run it with `RECEIVER_SECRET=whsec_... python -m example_app.receiver --port 8001`, where the secret is the endpoint's.
`POST /` receives a webhook. `GET /received` lists the received webhooks, newest first.
"""

from __future__ import annotations

import argparse
import os
from collections import deque
from typing import Any

import uvicorn
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

__all__ = ["make_receiver"]

KEPT = 100


def make_receiver(secret: str) -> Starlette:
    """Return the receiver as an app. `secret` is the endpoint's secret, `whsec_...`."""
    webhook = Webhook(secret)
    received: deque[dict[str, Any]] = deque(maxlen=KEPT)
    seen: deque[str] = deque(maxlen=KEPT)

    async def take(request: Request) -> Response:
        try:
            payload = webhook.verify(await request.body(), dict(request.headers))
        except (WebhookVerificationError, ValueError) as exc:
            print(f"refused: {exc}", flush=True)
            return JSONResponse({"detail": str(exc)}, status_code=400)
        # Webhooks are delivered at least once. A repeated `webhook-id` is the same event.
        id = request.headers["webhook-id"]
        if id not in seen:
            seen.append(id)
            received.appendleft({"id": id, **payload})
            print(f"verified {payload['type']} {id} {payload['data']}", flush=True)
        return Response(status_code=204)

    async def show(request: Request) -> Response:
        return JSONResponse({"received": list(received)})

    return Starlette(routes=[Route("/", take, methods=["POST"]), Route("/received", show)])


def main() -> None:
    """Serve on loopback."""
    parser = argparse.ArgumentParser(description="Receives and verifies webhooks.")
    parser.add_argument("--port", type=int, default=8001)
    port = parser.parse_args().port
    secret = os.environ.get("RECEIVER_SECRET")
    if not secret:
        parser.error("set RECEIVER_SECRET to the secret of the endpoint, `whsec_...`")
    uvicorn.run(make_receiver(secret), host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
