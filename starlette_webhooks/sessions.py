"""Sessions that we give out: of the portal, and those that stream tickets stand for.

A session is a signed token, so that most of it needs no storage. Two things are stored and shared by all processes: a
mark for each tenant whose sessions were revoked, which newer sessions carry; and, until they would expire, the ids of
links that were opened and of sessions that were signed out.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

import anyio

from starlette_webhooks.authentication import Principal, call_function
from starlette_webhooks.meta import Meta
from starlette_webhooks.tokens import read_token, sign_token
from starlette_webhooks.types import Clock

__all__ = ["LONGEST_SESSION", "Session", "SessionRegister", "SessionValid"]

SessionValid: TypeAlias = Callable[[Principal], bool | Awaitable[bool]]
"""Tells whether the key or user that a session came from still exists. A sync one runs in a thread."""

LONGEST_SESSION = 7 * 86_400
_SESSION = "portal session"
_LINK = "portal link"
_REMEMBERED = 10_000
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Session:
    """For whom, until when (in seconds since the epoch), and under which mark of its tenant.

    Attributes:
        id: Ends with the session that is signed out. Empty for the ticket of a key, which nobody signs out.
    """

    principal: Principal
    expires: int
    id: str
    mark: str

    def claims(self) -> dict[str, Any]:
        """What a token holds of it."""
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
        """The session that a token of ours stands for."""
        principal = Principal(claims["tenant"], claims["scopes"], claims["sub"])
        return cls(principal, claims["exp"], claims["id"], claims["mark"])

    @property
    def end_name(self) -> str:
        """Under which its early end is stored. In order of expiry, so that old ones are dropped together."""
        return _end_name(self.expires, self.id)

    @property
    def mark_name(self) -> str:
        """Under which the mark of its tenant is stored."""
        return _mark_name(self.principal.tenant)


@dataclass(slots=True)
class _Answer:
    """What the host said of a principal, and when."""

    at: float = 0.0
    valid: bool = True
    lock: anyio.Lock = field(default_factory=anyio.Lock)


class SessionRegister:
    """Gives out sessions, and tells which of them still count.

    Args:
        keys: Sign the tokens: the first signs, all are accepted.
        meta: Where ended sessions are stored.
        clock: Seconds since the epoch.
        valid: The host's word on each session's principal, asked once in `ask_every` seconds at most.
        fresh: Seconds for which a session counts after it was looked up. Another process may have ended it meanwhile.
        monotonic: Seconds that only grow.
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
        # The one that was looked up last stands last.
        self._current: OrderedDict[Session, float] = OrderedDict()
        self._answers: OrderedDict[Principal, _Answer] = OrderedDict()

    # Giving out

    async def open(self, principal: Principal, expires: float, *, within: Session | None = None) -> Session:
        """A session for this principal.

        Args:
            within: The session that it derives from, with which it ends.
        """
        if within is not None:
            return Session(principal, min(int(expires), within.expires), within.id, within.mark)
        return Session(principal, int(expires), "", await self._mark_of(principal.tenant))

    async def link(self, principal: Principal, expires_in: int) -> str:
        """A token that opens one session of the portal, for what is left of `expires_in` seconds.

        Raises:
            ValueError: `expires_in` is over seven days, or not positive.
        """
        if not 0 < expires_in <= LONGEST_SESSION:
            raise ValueError(f"`expires_in` must lie between 1 and {LONGEST_SESSION} seconds.")
        mark = await self._mark_of(principal.tenant)
        session = Session(principal, int(self.clock()) + expires_in, secrets.token_urlsafe(16), mark)
        return sign_token(self.keys, _LINK, session.claims())

    async def read_link(self, token: str) -> Session | None:
        """What a link would open; None if it was opened, revoked or changed, or has expired."""
        return await self._current_session(_LINK, token)

    async def follow_link(self, token: str) -> tuple[str, Session] | None:
        """Open a link, once: the token of the session for the cookie, and the session."""
        link = await self.read_link(token)
        if link is None:
            return None
        session = Session(link.principal, link.expires, secrets.token_urlsafe(16), link.mark)
        mine = secrets.token_bytes(16)
        if await self._meta.read_meta(link.end_name, mine) != mine:
            # Somebody was quicker.
            return None
        self._current.pop(link, None)
        return sign_token(self.keys, _SESSION, session.claims()), session

    async def read(self, token: str) -> Session | None:
        """The session of a cookie; None if it was signed out, revoked or changed, or has expired."""
        return await self._current_session(_SESSION, token)

    async def _current_session(self, purpose: str, token: str) -> Session | None:
        claims = read_token(self.keys, purpose, token, now=self.clock())
        if claims is None:
            return None
        session = Session.of(claims)
        return session if await self.is_current(session) else None

    # Ending

    async def end(self, session: Session) -> None:
        """Sign a session out, with the tickets that came from it."""
        await self._meta.read_meta(session.end_name, b"1")
        for other in [other for other in self._current if other.id == session.id]:
            del self._current[other]

    async def revoke(self, tenant: str) -> None:
        """End all sessions, links and tickets of a tenant that exist now."""
        await self._meta.write_meta(_mark_name(tenant), secrets.token_urlsafe(8).encode())
        for session in [session for session in self._current if session.principal.tenant == tenant]:
            del self._current[session]

    async def is_current(self, session: Session) -> bool:
        """Whether a session still counts. Its expiry is the caller's to check."""
        return not await self.ended_among([session])

    async def ended_among(self, sessions: Collection[Session]) -> set[Session]:
        """Those that were signed out or revoked, or whose principal the host no longer knows."""
        now = self._monotonic()
        asked = [session for session in sessions if self._current.get(session, -self._fresh) + self._fresh <= now]
        ended: set[Session] = set()
        for start in range(0, len(asked), _AT_ONCE):
            ended |= await self._look_up(asked[start : start + _AT_ONCE])
        for session in asked:
            if session not in ended:
                _remember(self._current, session, now)
        return ended | await self._disowned(session for session in sessions if session not in ended)

    async def _look_up(self, sessions: Sequence[Session]) -> set[Session]:
        names = {session.mark_name for session in sessions} | {one.end_name for one in sessions if one.id}
        found = await self._meta.find_meta(names)
        return {
            session
            for session in sessions
            if session.end_name in found or found.get(session.mark_name, b"").decode() != session.mark
        }

    async def _disowned(self, sessions: Iterable[Session]) -> set[Session]:
        valid = self._valid
        if valid is None:
            return set()
        return {session for session in sessions if not await self._is_owned(session.principal, valid)}

    async def _is_owned(self, principal: Principal, valid: SessionValid) -> bool:
        answer = self._answers.get(principal) or _Answer(-self._ask_every)
        _remember(self._answers, principal, answer)
        # Callers at the same time share one question.
        async with answer.lock:
            if answer.at + self._ask_every <= self._monotonic():
                answer.valid = bool(await call_function(valid, principal))
                answer.at = self._monotonic()
        return answer.valid

    async def _mark_of(self, tenant: str) -> str:
        name = _mark_name(tenant)
        return (await self._meta.find_meta([name])).get(name, b"").decode()

    async def forget_expired(self) -> None:
        """Drop what is stored of sessions that have expired."""
        await self._meta.drop_meta(_end_name(0, ""), _end_name(int(self.clock()), ""))


def _end_name(expires: int, id: str) -> str:
    return f"session-ended:{expires:012}:{id}"


def _mark_name(tenant: str) -> str:
    return f"session-mark:{tenant}"


def _remember(memory: OrderedDict[Any, Any], key: object, value: object) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > _REMEMBERED:
        memory.popitem(last=False)
