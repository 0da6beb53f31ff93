"""Decides how an outcome changes its delivery and its endpoint.

The functions are pure. Each store calls them within the transaction that records the attempt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from starlette_webhooks.delivery.deliveries import Outcome
from starlette_webhooks.delivery.pacing import server_of

__all__ = ["EndpointState", "is_finished", "next_state", "proven_server"]

_GONE = 410
_WARNED_AHEAD = 86_400_000


@dataclass(frozen=True, slots=True)
class EndpointState:
    """The state of an endpoint.

    Attributes:
        failing_since: When it first failed after its last success, in milliseconds. None while it works.
        disabled_reason: None while it is enabled.
        paused_at: When its receiver asked for a pause.
        paused_until: When that pause ends.
        warned_at: When its tenant was last warned that it will be disabled.
    """

    failing_since: int | None
    disabled_reason: str | None
    paused_at: int
    paused_until: int
    warned_at: int | None = None


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
    warned_at = state.warned_at
    if reason is None and _is_time_to_warn(outcome.ended, failing_since, warned_at, disable_after):
        warned_at = outcome.ended
    after = replace(state, failing_since=failing_since, disabled_reason=reason, warned_at=warned_at)
    if outcome.pause_until and (outcome.pause_until > state.paused_until or state.paused_at > outcome.ended):
        after = replace(after, paused_at=outcome.ended, paused_until=outcome.pause_until)
    return after


def _is_time_to_warn(now: int, failing_since: int, warned_at: int | None, disable_after: int) -> bool:
    # Once for each period of failure, a day ahead, or when half of a shorter period has passed.
    if not disable_after or (warned_at is not None and warned_at >= failing_since):
        return False
    return now - failing_since >= disable_after - min(_WARNED_AHEAD, disable_after // 2)
