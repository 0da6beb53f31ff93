"""Decides how an outcome changes its delivery and its endpoint.

The functions are pure. Each store calls them within the transaction that records the attempt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from starlette_webhooks.delivery.deliveries import DisabledEndpoint, Outcome
from starlette_webhooks.delivery.pacing import server_of
from starlette_webhooks.event_types import ENDPOINT_DISABLED
from starlette_webhooks.events import Event
from starlette_webhooks.payloads import new_event

__all__ = ["EndpointState", "disabled_event", "is_finished", "next_state", "proven_server"]

_GONE = 410


@dataclass(frozen=True, slots=True)
class EndpointState:
    """The state of an endpoint.

    Attributes:
        failing_since: When it first failed after its last success, in milliseconds. None while it works.
        disabled_reason: None while it is enabled.
        paused_at: When its receiver asked for a pause.
        paused_until: When that pause ends.
    """

    failing_since: int | None
    disabled_reason: str | None
    paused_at: int
    paused_until: int


def is_finished(outcome: Outcome) -> bool:
    """Return whether the delivery has ended: it succeeded, or it has no attempts left."""
    return outcome.ok or outcome.next_due is None


def proven_server(outcome: Outcome) -> str | None:
    """Return the server that the attempt has proven, for its endpoint. None if it failed or this was known."""
    return server_of(outcome.delivery.url) if outcome.ok and not outcome.delivery.proven else None


def next_state(outcome: Outcome, state: EndpointState, *, disable_after: int) -> EndpointState:
    """Return the endpoint's state after the attempt.

    Args:
        disable_after: Milliseconds without a success after which a failing endpoint is disabled. 0 means never.
    """
    if outcome.ok:
        return replace(state, failing_since=None)
    failing_since = outcome.started
    if state.failing_since is not None:
        # Not later than now: the clock may have been ahead.
        failing_since = min(state.failing_since, failing_since)
    reason = state.disabled_reason
    if reason is None:
        if outcome.status_code == _GONE:
            reason = "gone"
        elif disable_after and outcome.ended - failing_since >= disable_after:
            reason = "failing"
    after = replace(state, failing_since=failing_since, disabled_reason=reason)
    if outcome.pause_until and (outcome.pause_until > state.paused_until or state.paused_at > outcome.ended):
        after = replace(after, paused_at=outcome.ended, paused_until=outcome.pause_until)
    return after


def disabled_event(endpoint: DisabledEndpoint, *, milliseconds: int | None = None) -> Event:
    """Return the event that tells a tenant that an endpoint was disabled. `milliseconds` as for `new_event`."""
    data = {"endpointId": endpoint.id, "url": endpoint.url, "reason": endpoint.reason}
    return new_event(ENDPOINT_DISABLED.name, data, tenant=endpoint.tenant, milliseconds=milliseconds)
