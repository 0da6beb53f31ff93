"""`WebhookReceiver`: verifies webhooks, and handles each one once."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from starlette_webhooks.asymmetric import PUBLIC_PREFIX, is_signed_by
from starlette_webhooks.receiving.errors import AlreadyHandled, BeingHandled, BodyTooLarge, WebhookRefused
from starlette_webhooks.receiving.seen import SeenIds, SeenState
from starlette_webhooks.signing import Headers, VerificationError, parse_secret, signature_fields, verify
from starlette_webhooks.types import Clock

__all__ = ["ReceivedWebhook", "WebhookReceiver"]

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class ReceivedWebhook:
    """A genuine webhook.

    Attributes:
        id: The id of the event, which is the same for each attempt.
        timestamp: When this attempt was made.
        body: The bytes that were signed.
        payload: The body as a JSON object.
    """

    id: str
    timestamp: datetime
    body: bytes = field(repr=False)
    payload: dict[str, Any]

    @property
    def event_type(self) -> str:
        """The name of the event type. Empty if the sender does not follow Standard Webhooks here."""
        return str(self.payload.get("type", ""))

    @property
    def data(self) -> Any:
        """The data of the event."""
        return self.payload.get("data")

    @property
    def test(self) -> bool:
        """Whether it is a test event of starlette-webhooks."""
        return self.payload.get("test") is True


class WebhookReceiver:
    """Receives the webhooks of a sender that follows Standard Webhooks, such as starlette-webhooks or Svix.

    Args:
        secret: The secret of the endpoint (`whsec_...`), or a public key of the sender (`whpk_...`). Several while a
            secret is rotated.
        tolerance: Seconds by which the timestamp of a webhook may differ, in both directions.
        seen: Remembers which webhooks have been handled, so that your code handles each one once. Without it, your code
            must skip repeats itself.
        lease: Seconds after which a webhook is handled again if its request has not ended, as after a crash.
        keep: Seconds for which `seen` remembers a webhook: longer than the sender retries.
        max_bytes: The maximum size of a body.
        clock: Returns seconds since the epoch.

    Raises:
        ValueError: A secret or a public key is not valid.
    """

    def __init__(
        self,
        secret: str | Sequence[str],
        *,
        tolerance: float = 300.0,
        seen: SeenIds | None = None,
        lease: float = 60.0,
        keep: float = 7 * _DAY,
        max_bytes: int = 1_048_576,
        clock: Clock = time.time,
    ) -> None:
        self._secrets = [secret] if isinstance(secret, str) else list(secret)
        _check(self._secrets)
        self._tolerance = tolerance
        self._seen = seen
        self._lease = lease
        self._keep = keep
        self._max_bytes = max_bytes
        self._clock = clock

    def verify(self, headers: Headers, body: bytes) -> ReceivedWebhook:
        """Return the webhook of a request.

        Args:
            headers: The headers, as a mapping or as a list of pairs.
            body: The raw bytes of the body.

        Raises:
            WebhookRefused: It is not genuine.
        """
        if len(body) > self._max_bytes:
            raise BodyTooLarge(f"The body has more than {self._max_bytes} bytes.")
        try:
            verify(self._secrets, headers, body, tolerance=self._tolerance, now=self._clock())
            identifier, timestamp, _ = signature_fields(headers)
            payload = json.loads(body)
        except VerificationError as exc:
            raise WebhookRefused(str(exc)) from exc
        except (ValueError, RecursionError) as exc:
            raise WebhookRefused("The body is not JSON.") from exc
        if not isinstance(payload, dict):
            raise WebhookRefused("The body is not a JSON object.")
        return ReceivedWebhook(identifier, datetime.fromtimestamp(int(timestamp), UTC), body, payload)

    @asynccontextmanager
    async def handle(self, headers: Headers, body: bytes) -> AsyncIterator[ReceivedWebhook]:
        """Verify a webhook, and run the block if it has not been handled before.

        If the block raises, the next attempt of the sender is handled. `receive` is the same for Starlette and FastAPI.
        Arguments as for `verify`.

        Raises:
            WebhookRefused: It is not genuine, or not to be handled now. `status_code` is how to answer.
        """
        webhook = self.verify(headers, body)
        seen = self._seen
        if seen is None:
            yield webhook
            return
        now = self._clock()
        state = await seen.begin(webhook.id, now=now, until=now + self._lease)
        if state is SeenState.HANDLED:
            raise AlreadyHandled
        if state is SeenState.RUNNING:
            raise BeingHandled(headers={"Retry-After": f"{max(self._lease, 1):.0f}"})
        try:
            yield webhook
        except BaseException:
            with anyio.CancelScope(shield=True):
                await seen.forget(webhook.id)
            raise
        with anyio.CancelScope(shield=True):
            await seen.finish(webhook.id, until=self._clock() + self._keep)

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncIterator[ReceivedWebhook]:
        """Verify the webhook of a request, and run the block if it has not been handled before. See `handle`.

        Raises:
            HTTPException: It is not genuine, or not to be handled now. Starlette and FastAPI answer it.
        """
        async with AsyncExitStack() as stack:
            try:
                body = await self._read(request)
                webhook = await stack.enter_async_context(self.handle(request.scope["headers"], body))
            except WebhookRefused as exc:
                raise HTTPException(exc.status_code, str(exc), exc.headers) from exc
            yield webhook

    async def dependency(self, request: Request) -> AsyncIterator[ReceivedWebhook]:
        """Return the webhook to a route of FastAPI: `Annotated[ReceivedWebhook, Depends(receiver.dependency)]`."""
        async with self.receive(request) as webhook:
            yield webhook

    async def _read(self, request: Request) -> bytes:
        chunks, size = [], 0
        try:
            async with aclosing(request.stream()) as stream:
                async for chunk in stream:
                    chunks.append(chunk)
                    size += len(chunk)
                    if size > self._max_bytes:
                        raise BodyTooLarge(f"The body has more than {self._max_bytes} bytes.")
        except ClientDisconnect as exc:
            raise WebhookRefused("The body is incomplete.") from exc
        return b"".join(chunks)


def _check(secrets: Sequence[str]) -> None:
    if not secrets:
        raise ValueError("Pass the secret of the endpoint, or the public key of the sender.")
    for secret in secrets:
        if secret.startswith(PUBLIC_PREFIX):
            is_signed_by(secret, b"", b"")
        else:
            parse_secret(secret)
