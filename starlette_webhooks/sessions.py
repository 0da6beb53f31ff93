"""Portal sessions, and the sessions of stream tickets.

A session is a signed token and is not stored. Two things are stored and shared by all processes: a mark for each tenant
whose sessions were revoked, which newer sessions contain, and the ids of opened links and signed-out sessions, until
these would expire.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeAlias

import anyio

from starlette_webhooks.authentication import Principal, call_function
from starlette_webhooks.delivery.clockwatch import ClockWatch
from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.meta import Meta
from starlette_webhooks.tokens import read_token, sign_token, verify_token
from starlette_webhooks.types import Clock

__all__ = ["LONGEST_SESSION", "Session", "SessionRegister", "SessionValid"]

SessionValid: TypeAlias = Callable[[Principal], bool | Awaitable[bool]]
"""Returns whether the key or user behind a session or a stream still exists. A sync function runs in a thread."""

LONGEST_SESSION = 7 * 86_400
_SESSION = "portal session"
_LINK = "portal link"
_REMEMBERED = 10_000
# For the stream of a key, which has a maximum age of its own.
_NEVER = 2**53
_AT_ONCE = 500
_FORGET_EVERY = 3600.0
# A machine that has just started may still have a wrong clock.
_FIRST_FORGET = 60.0


@dataclass(frozen=True, slots=True)
class Session:
    """A session: its principal, its expiry (in seconds since the epoch), and the mark of its tenant.

    Attributes:
        id: Identifies the session for signing out. Empty for the ticket of a key, which cannot be signed out.
        mark: None for the stream of a key, which has no session: only its principal is asked about.
    """

    principal: Principal
    expires: int
    id: str
    mark: str | None

    def claims(self) -> dict[str, Any]:
        """Return the claims of the session's token."""
        return {
            "tenant": self.principal.tenant,
            "scopes": sorted(self.principal.scopes),
            "sub": self.principal.subject,
            "exp": self.expires,
            "id": self.id,
            "mark": self.mark,
        }

    @classmethod
    def of(cls, claims: dict[str, Any]) -> Self:
        """Return the session of a verified token."""
        principal = Principal(claims["tenant"], claims["scopes"], claims["sub"])
        return cls(principal, claims["exp"], claims["id"], claims["mark"])

    @property
    def end_name(self) -> str:
        """The name under which its early end is stored. Sorted by expiry, so that old ones are dropped together."""
        return _end_name(self.expires, self.id)

    @property
    def mark_name(self) -> str:
        """The name under which the mark of its tenant is stored."""
        return _mark_name(self.principal.tenant)


class SessionStreams(Protocol):
    """The open streams of this process."""

    def sessions(self) -> set[Session]:
        """The sessions that authorised them."""

    def end_sessions(self, ended: Collection[Session]) -> None:
        """End the streams that these authorised."""


@dataclass(slots=True)
class _Answer:
    """The host's answer about a principal, and its time."""

    at: float = 0.0
    valid: bool = True
    lock: anyio.Lock = field(default_factory=anyio.Lock)


class SessionRegister:
    """Issues sessions, and knows which of them are still valid.

    Args:
        keys: The keys of the tokens. The first one signs, and all of them verify.
        meta: Where ended sessions are stored.
        clock: Seconds since the epoch.
        valid: Asks the host about a session's principal, at most once in `ask_every` seconds.
        fresh: Seconds for which a lookup is cached. Another process may end the session meanwhile.
        monotonic: Seconds of a monotonic clock.
    """

    def __init__(
        self,
        keys: Sequence[bytes],
        meta: Meta,
        *,
        clock: Clock,
        valid: SessionValid | None = None,
        fresh: float = 5.0,
        ask_every: float = 60.0,
        monotonic: Clock = time.monotonic,
    ) -> None:
        self.keys = keys
        self.clock = clock
        self._meta = meta
        self._valid = valid
        self._fresh = fresh
        self._ask_every = ask_every
        self._monotonic = monotonic
        self._jumps = ClockWatch(lambda: int(clock() * 1000), monotonic)
        self._forget_at = monotonic() + _FIRST_FORGET
        # The latest lookup is at the end.
        self._current: OrderedDict[Session, float] = OrderedDict()
        self._answers: OrderedDict[Principal, _Answer] = OrderedDict()

    # Issuing

    async def open(self, principal: Principal, expires: float, *, within: Session | None = None) -> Session:
        """Create a session for a principal.

        Args:
            within: The session that it derives from. It ends with that session.
        """
        if within is not None:
            return Session(principal, min(int(expires), within.expires), within.id, within.mark)
        return Session(principal, int(expires), "", await self._mark_of(principal.tenant))

    def of_key(self, principal: Principal) -> Session | None:
        """Return what a stream of a key derives from: the key itself, as long as the host says that it is valid.

        None if the host does not say, or could not know which key it is.
        """
        return Session(principal, _NEVER, "", None) if self._valid is not None and principal.subject else None

    async def link(self, principal: Principal, expires_in: int) -> str:
        """Create a link token that opens one portal session, which ends `expires_in` seconds from now.

        Raises:
            ValueError: `expires_in` is more than seven days, or not positive.
        """
        if not 0 < expires_in <= LONGEST_SESSION:
            raise ValueError(f"`expires_in` must be between 1 and {LONGEST_SESSION} seconds.")
        mark = await self._mark_of(principal.tenant)
        session = Session(principal, int(self.clock()) + expires_in, secrets.token_urlsafe(16), mark)
        return sign_token(self.keys, _LINK, session.claims())

    async def read_link(self, token: str) -> Session | None:
        """Return the session that a link would open. None if it was opened, revoked or changed, or has expired."""
        return await self._current_session(_LINK, token)

    async def follow_link(self, token: str) -> tuple[str, Session] | None:
        """Open a link once, and return the token for the cookie and the session."""
        link = await self.read_link(token)
        if link is None:
            return None
        session = Session(link.principal, link.expires, secrets.token_urlsafe(16), link.mark)
        mine = secrets.token_bytes(16)
        if await self._meta.read_meta(link.end_name, mine) != mine:
            # Another caller was faster.
            return None
        self._current.pop(link, None)
        return sign_token(self.keys, _SESSION, session.claims()), session

    async def read(self, token: str) -> Session | None:
        """Return the session of a cookie. None if it was signed out, revoked or changed, or has expired."""
        return await self._current_session(_SESSION, token)

    def has_expired(self, token: str) -> bool:
        """Return whether this is the cookie of a session that has expired. It may have been ended before."""
        claims = verify_token(self.keys, _SESSION, token)
        return claims is not None and claims["exp"] <= self.clock()

    async def _current_session(self, purpose: str, token: str) -> Session | None:
        claims = read_token(self.keys, purpose, token, now=self.clock())
        if claims is None:
            return None
        session = Session.of(claims)
        return session if await self.is_current(session) else None

    # Ending

    async def end(self, session: Session) -> None:
        """Sign a session out, together with its tickets."""
        await self._meta.read_meta(session.end_name, b"1")
        for other in [other for other in self._current if other.id == session.id]:
            del self._current[other]

    async def revoke(self, tenant: str) -> None:
        """End all existing sessions, links and tickets of a tenant."""
        await self._meta.write_meta(_mark_name(tenant), secrets.token_urlsafe(8).encode())
        for session in [session for session in self._current if session.principal.tenant == tenant]:
            del self._current[session]

    async def is_current(self, session: Session) -> bool:
        """Return whether a session is still valid. The caller checks its expiry."""
        return not await self.ended_among([session])

    async def ended_among(self, sessions: Collection[Session]) -> set[Session]:
        """Return the sessions that were signed out or revoked, or whose principal the host no longer knows."""
        now = self._monotonic()
        asked = [
            session
            for session in sessions
            if session.mark is not None and self._current.get(session, -self._fresh) + self._fresh <= now
        ]
        ended: set[Session] = set()
        for start in range(0, len(asked), _AT_ONCE):
            ended |= await self._look_up(asked[start : start + _AT_ONCE])
        for session in asked:
            if session not in ended:
                _remember(self._current, session, now)
        return ended | await self._disowned([session for session in sessions if session not in ended])

    # Streams

    async def end_streams(self, streams: SessionStreams) -> None:
        """End the streams of this process whose sessions have ended."""
        sessions = streams.sessions()
        if sessions:
            streams.end_sessions(await self.ended_among(sessions))

    async def watch(self, streams: SessionStreams, *, every: float = 10.0) -> None:
        """End streams whose sessions end in another process or with their principal, and drop what has expired."""
        while True:
            # A backend that is unavailable says so itself, once.
            with suppress(BackendUnavailable):
                await self.tidy()
            await anyio.sleep(every)
            with suppress(BackendUnavailable):
                await self.end_streams(streams)

    async def tidy(self) -> None:
        """Drop what has expired, once an hour, but not right after the start or after the clock was set.

        If the clock is ahead, an opened link and a session that was signed out would be valid again once it is right.
        """
        self._jumps.look()
        if self._monotonic() >= self._forget_at and self._jumps.settled:
            await self.forget_expired()
            self._forget_at = self._monotonic() + _FORGET_EVERY

    async def _look_up(self, sessions: Sequence[Session]) -> set[Session]:
        names = {session.mark_name for session in sessions} | {one.end_name for one in sessions if one.id}
        found = await self._meta.find_meta(names)
        return {
            session
            for session in sessions
            if session.end_name in found or found.get(session.mark_name, b"").decode() != session.mark
        }

    async def _disowned(self, sessions: Collection[Session]) -> set[Session]:
        valid = self._valid
        if valid is None:
            return set()
        principals = {session.principal for session in sessions}
        gone = {principal for principal in principals if not await self._is_owned(principal, valid)}
        return {session for session in sessions if session.principal in gone}

    async def _is_owned(self, principal: Principal, valid: SessionValid) -> bool:
        answer = self._answers.get(principal) or _Answer(-self._ask_every)
        _remember(self._answers, principal, answer)
        # Concurrent callers share one call to the host.
        async with answer.lock:
            if answer.at + self._ask_every <= self._monotonic():
                answer.valid = bool(await call_function(valid, principal))
                answer.at = self._monotonic()
        return answer.valid

    async def _mark_of(self, tenant: str) -> str:
        name = _mark_name(tenant)
        return (await self._meta.find_meta([name])).get(name, b"").decode()

    async def forget_expired(self) -> None:
        """Remove the stored ids of expired sessions."""
        await self._meta.drop_meta(_end_name(0, ""), _end_name(int(self.clock()), ""))


def _end_name(expires: int, id: str) -> str:
    return f"session-ended:{expires:012}:{id}"


def _mark_name(tenant: str) -> str:
    return f"session-mark:{tenant}"


def _remember(memory: OrderedDict[Any, Any], key: object, value: object) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > _REMEMBERED:  # pragma: no cover  Needs 10,000 sessions.
        memory.popitem(last=False)
