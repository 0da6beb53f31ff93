"""One attempt at a delivery: the signed request, and what its response means for the next attempt."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Literal

from starlette_webhooks._version import __version__
from starlette_webhooks.asymmetric import SigningKey
from starlette_webhooks.delivery.client import DeliveryClient, DeliveryFailed, OutOfResources, Reply
from starlette_webhooks.delivery.custom_headers import is_refused
from starlette_webhooks.delivery.deliveries import LeasedDelivery, Outcome
from starlette_webhooks.delivery.exchanges import Headers, encode_headers
from starlette_webhooks.delivery.retry import next_attempt, parse_retry_after
from starlette_webhooks.encryption import NOT_ENCRYPTED, CannotDecrypt, SecretBox
from starlette_webhooks.identifiers import mint
from starlette_webhooks.signing import parse_secret, signature_headers
from starlette_webhooks.token_buckets import TokenBuckets

if TYPE_CHECKING:
    from starlette_webhooks.telemetry import Telemetry

__all__ = ["Sender"]

logger = logging.getLogger("starlette_webhooks")

_MAX_PAUSE = 3600.0
# Responses of this many bytes are always stored.
_SHORT = 512
# With these, `Retry-After` applies to the receiver and not to one request (RFC 9110, section 10.2.3; RFC 6585).
_RESTING = frozenset((429, 503))

_key = lru_cache(maxsize=4096)(parse_secret)


class Sender:
    """Makes attempts.

    Args:
        now: Milliseconds since the epoch.
        schedule: Seconds before each attempt.
        headers: Which signature headers to send.
        random: A number from 0 to 1, for the jitter of retries.
        signing_keys: Keys that also sign, with ed25519.
        box: Opens secrets and headers that are encrypted in the store.
        telemetry: Spans and metrics, or None.
        sends_trace: Whether receivers get the trace context of the attempt.
        responses: The bytes of responses that a tenant may store. None for no limit.
    """

    def __init__(
        self,
        client: DeliveryClient,
        *,
        now: Callable[[], int],
        schedule: Sequence[float],
        headers: Literal["webhook", "svix", "both"],
        random: Callable[[], float],
        signing_keys: Sequence[SigningKey] = (),
        box: SecretBox = NOT_ENCRYPTED,
        telemetry: Telemetry | None = None,
        sends_trace: bool = False,
        responses: TokenBuckets | None = None,
    ) -> None:
        self._client = client
        self._telemetry = telemetry
        self._sends_trace = sends_trace
        self._now = now
        self._schedule = schedule
        self._signature_headers = headers
        self._random = random
        self._signing_keys = signing_keys
        self._box = box
        self._responses = responses
        user_agent = f"starlette-webhooks/{__version__}"
        self._common_headers = [(b"content-type", b"application/json"), (b"user-agent", user_agent.encode())]

    async def attempt(self, delivery: LeasedDelivery) -> Outcome:
        """Make an attempt. Errors of the receiver are outcomes.

        Raises:
            OutOfResources: This process has no resources for the attempt.
            CannotDecrypt: It has no key for what the attempt needs.
        """
        telemetry = self._telemetry
        if telemetry is None or not telemetry.active:
            return await self._attempt(delivery)
        with telemetry.attempting(delivery.event_type, delivery.event_id, delivery.number, delivery.trace) as span:
            outcome = await self._attempt(delivery, span.traceparent if self._sends_trace else "")
            span.end(
                ok=outcome.ok,
                status_code=outcome.status_code,
                error=outcome.error,
                duration_ms=outcome.duration_ms,
            )
            return outcome

    async def _attempt(self, delivery: LeasedDelivery, traceparent: str = "") -> Outcome:
        started = self._now()
        headers: Headers = ()
        outcome = partial(Outcome, delivery=delivery, attempt_id=mint("atmpt_", started), started=started)
        try:
            headers = self._headers(delivery, started // 1000)
            if traceparent:
                headers.append((b"traceparent", traceparent.encode()))
            reply = await self._client.post(delivery.url, headers, delivery.payload, tenant=delivery.tenant)
        except (OutOfResources, CannotDecrypt):
            raise
        except DeliveryFailed as exc:
            outcome = partial(outcome, headers=encode_headers(headers, ()))
            return self._unanswered(delivery, exc.reason, exc.duration_ms, outcome)
        except Exception:
            logger.exception(
                "The event %s cannot be sent to the endpoint %s.",
                delivery.event_id,
                delivery.endpoint_id,
                extra=delivery.log_fields("attempt.error"),
            )
            return self._unanswered(delivery, "internal error of the sender", 0, outcome)
        if not 200 <= reply.status < 300 or delivery.trigger != "scheduled":
            outcome = partial(outcome, headers=encode_headers(headers, reply.raw_headers))
        return self._answered(delivery, reply, outcome)

    def _unanswered(
        self, delivery: LeasedDelivery, reason: str, duration_ms: int, outcome: partial[Outcome]
    ) -> Outcome:
        ended = self._now()
        next_due = self._next_due(delivery, ended, None)
        return outcome(ok=False, ended=ended, duration_ms=duration_ms, error=reason, next_due=next_due)

    def _answered(self, delivery: LeasedDelivery, reply: Reply, outcome: partial[Outcome]) -> Outcome:
        ended = self._now()
        ok = 200 <= reply.status < 300
        retry_after = None if ok else parse_retry_after(reply.headers.get("retry-after"), ended / 1000)
        pause = min(retry_after or 0.0, _MAX_PAUSE) if reply.status in _RESTING else 0.0
        return outcome(
            ok=ok,
            ended=ended,
            duration_ms=reply.duration_ms,
            status_code=reply.status,
            response=self._stored(delivery.tenant, reply.body),
            next_due=None if ok else self._next_due(delivery, ended, retry_after),
            pause_until=ended + int(pause * 1000) if pause else 0,
        )

    def _stored(self, tenant: str, body: bytes) -> str:
        """Return what is stored of a response: all of it, or its beginning once the tenant has used its quota."""
        if len(body) > _SHORT and self._responses is not None and self._responses.take(tenant, len(body)):
            body = body[:_SHORT]
        # PostgreSQL cannot store NUL in a text.
        return body.decode("utf-8", "replace").replace("\x00", "")

    def _next_due(self, delivery: LeasedDelivery, ended: int, retry_after: float | None) -> int | None:
        due = next_attempt(
            self._schedule, delivery.step, now=ended / 1000, retry_after=retry_after, random=self._random
        )
        return None if due is None else int(due * 1000)

    def _headers(self, delivery: LeasedDelivery, timestamp: int) -> list[tuple[bytes, bytes]]:
        keys = [_key(self._box.open_secret(secret, delivery.tenant)) for secret in delivery.secrets]
        signed = signature_headers(
            keys,
            delivery.event_id,
            timestamp,
            delivery.payload,
            self._signature_headers,
            signing_keys=self._signing_keys,
        )
        return [*self._common_headers, *self._custom_headers(delivery), *signed]

    def _custom_headers(self, delivery: LeasedDelivery) -> list[tuple[bytes, bytes]]:
        headers = self._box.open_headers(delivery.headers, delivery.tenant)
        # What was stored before a name was refused is left out.
        return [(name.lower().encode(), value.encode()) for name, value in headers.items() if not is_refused(name)]
