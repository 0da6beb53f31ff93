"""Portal sessions, links and the sessions of tickets: how they start, and every way in which they end."""

from __future__ import annotations

import time
from functools import partial

import anyio
import anyio.lowlevel
import pytest

from starlette_webhooks.authentication import Principal
from starlette_webhooks.sessions import Session, SessionRegister, SessionValid
from tests.clock import Clock
from tests.eventually import eventually
from tests.metas import DictMeta
from tests.streams.feed import Log, reading, running

KEY = b"k" * 32
ACME = Principal("acme", ["webhooks:read"], "key_1")


def register(meta: DictMeta, clock: Clock, *, key: bytes = KEY, valid: SessionValid | None = None) -> SessionRegister:
    return SessionRegister([key], meta, clock=clock, monotonic=clock.monotonic, valid=valid)


async def test_a_link_opens_one_session_however_often_it_is_requested() -> None:
    sessions = register(DictMeta(), Clock(1000.0, speed=0))
    link = await sessions.link(ACME, 60)
    for _ in range(3):
        offered = await sessions.read_link(link)
        assert offered is not None
        assert offered.principal == ACME
    opened = await sessions.follow_link(link)
    assert opened is not None
    token, session = opened
    assert await sessions.read(token) == session
    assert (session.principal, session.expires) == (ACME, 1060)
    assert await sessions.read_link(link) is None
    assert await sessions.follow_link(link) is None


async def test_two_processes_open_a_link_only_once() -> None:
    meta, clock = DictMeta(), Clock(1000.0, speed=0)
    one, other = register(meta, clock), register(meta, clock)
    link = await one.link(ACME, 60)
    # Both have seen the link as unused.
    assert await one.read_link(link)
    assert await other.read_link(link)
    assert [await each.follow_link(link) is not None for each in (one, other)] == [True, False]


async def test_a_link_is_no_session_and_a_session_no_link() -> None:
    sessions = register(DictMeta(), Clock(1000.0, speed=0))
    link = await sessions.link(ACME, 60)
    assert await sessions.read(link) is None
    opened = await sessions.follow_link(link)
    assert opened is not None
    assert await sessions.read_link(opened[0]) is None


async def test_a_session_ends_when_it_expires_and_under_another_key() -> None:
    meta, clock = DictMeta(), Clock(1000.0, speed=0)
    sessions = register(meta, clock)
    opened = await sessions.follow_link(await sessions.link(ACME, 60))
    assert opened is not None
    assert await register(meta, clock, key=b"x" * 32).read(opened[0]) is None
    clock.advance(1059.0 - clock())
    assert await sessions.read(opened[0]) is not None
    assert not sessions.has_expired(opened[0])
    clock.advance(1060.0 - clock())
    assert await sessions.read(opened[0]) is None
    assert [sessions.has_expired(token) for token in (opened[0], f"{opened[0]}A", "")] == [True, False, False]


@pytest.mark.parametrize("expires_in", [0, -1, 7 * 86_400 + 1])
async def test_a_link_lasts_between_a_second_and_a_week(expires_in: int) -> None:
    with pytest.raises(ValueError, match="expires_in"):
        await register(DictMeta(), Clock(1000.0, speed=0)).link(ACME, expires_in)


async def test_no_byte_of_a_link_can_be_changed() -> None:
    sessions = register(DictMeta(), Clock(1000.0, speed=0))
    link = await sessions.link(ACME, 60)
    for index in range(len(link)):
        changed = link[:index] + ("A" if link[index] != "A" else "B") + link[index + 1 :]
        # The last character of unpadded base64 has unused bits. The text itself is compared, so no change passes.
        assert await sessions.read_link(changed) is None, index


async def test_signing_out_ends_only_the_session_and_its_tickets() -> None:
    meta, clock = DictMeta(), Clock(1000.0, speed=0)
    sessions = register(meta, clock)
    first, second = [await sessions.follow_link(await sessions.link(ACME, 60)) for _ in range(2)]
    assert first is not None
    assert second is not None
    ticket = await sessions.open(ACME, 9999.0, within=first[1])
    assert ticket.expires == first[1].expires
    assert await sessions.is_current(ticket)
    await sessions.end(first[1])
    assert await sessions.read(first[0]) is None
    assert not await sessions.is_current(ticket)
    assert await sessions.read(second[0]) is not None


async def test_revoking_ends_all_sessions_of_a_tenant_and_no_newer_ones() -> None:
    sessions = register(DictMeta(), Clock(1000.0, speed=0))
    opened = await sessions.follow_link(await sessions.link(ACME, 60))
    assert opened is not None
    link, ticket = await sessions.link(ACME, 60), await sessions.open(ACME, 2000.0)
    other = await sessions.open(Principal("globex"), 2000.0)
    assert await sessions.is_current(ticket)
    await sessions.revoke("acme")
    assert await sessions.read(opened[0]) is None
    assert await sessions.read_link(link) is None
    assert not await sessions.is_current(ticket)
    assert await sessions.is_current(other)
    assert await sessions.is_current(await sessions.open(ACME, 2000.0))
    assert await sessions.follow_link(await sessions.link(ACME, 60)) is not None


async def test_another_process_notices_a_revocation_within_seconds() -> None:
    meta, clock = DictMeta(), Clock(1000.0, speed=0)
    one, other = register(meta, clock), register(meta, clock)
    ticket = await one.open(ACME, 2000.0)
    assert await other.is_current(ticket)
    await one.revoke("acme")
    before = meta.lookups
    assert await other.is_current(ticket)
    assert meta.lookups == before
    clock.advance(5.0)
    assert not await other.is_current(ticket)


async def test_many_sessions_are_looked_up_together() -> None:
    meta = DictMeta()
    sessions = register(meta, Clock(1000.0, speed=0))
    mine = [Session(ACME, 2000, str(number), "") for number in range(1000)]
    assert await sessions.ended_among(mine) == set()
    assert meta.lookups == 2
    await sessions.end(mine[7])
    assert await sessions.ended_among(mine) == {mine[7]}


async def test_the_host_is_asked_for_each_principal_once_a_minute() -> None:
    asked: list[Principal] = []
    known = {"key_1", "key_2"}

    async def valid(principal: Principal) -> bool:
        asked.append(principal)
        await anyio.lowlevel.checkpoint()
        return principal.subject in known

    clock = Clock(1000.0, speed=0)
    sessions = register(DictMeta(), clock, valid=valid)
    ticket = await sessions.open(ACME, 9999.0)
    other = await sessions.open(Principal("acme", ["webhooks:read"], "key_2"), 9999.0)
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(sessions.ended_among, [ticket, other])
    assert sorted(principal.subject for principal in asked) == ["key_1", "key_2"]
    known.remove("key_1")
    clock.advance(59.0)
    assert await sessions.is_current(ticket)
    clock.advance(1.0)
    assert await sessions.ended_among([ticket, other]) == {ticket}
    assert len(asked) == 4


async def test_a_host_may_answer_from_a_sync_function() -> None:
    sessions = register(DictMeta(), Clock(1000.0, speed=0), valid=lambda principal: principal.tenant == "acme")
    assert await sessions.is_current(await sessions.open(ACME, 9999.0))
    assert not await sessions.is_current(await sessions.open(Principal("globex"), 9999.0))


async def test_a_key_has_something_to_ask_about_only_if_the_host_can_tell_which_it_is() -> None:
    clock = Clock(1000.0, speed=0)
    known = {"key_1"}
    sessions = register(DictMeta(), clock, valid=lambda principal: principal.subject in known)
    stream, again = sessions.of_key(ACME), sessions.of_key(ACME)
    assert stream is not None
    assert stream == again, "all streams of a key are asked about together"
    await sessions.revoke("acme")
    assert await sessions.ended_among([stream]) == set(), "the key was not revoked"
    known.clear()
    clock.advance(60.0)
    assert await sessions.ended_among([stream]) == {stream}
    assert sessions.of_key(Principal("acme", ["webhooks:read"])) is None
    assert register(DictMeta(), clock).of_key(ACME) is None


async def test_expired_entries_are_deleted() -> None:
    meta, clock = DictMeta(), Clock(1000.0, speed=0)
    sessions = register(meta, clock)
    for expires_in in (60, 6000):
        assert await sessions.follow_link(await sessions.link(ACME, expires_in))
    await sessions.revoke("acme")
    assert len(meta.values) == 3
    clock.advance(1061.0 - clock())
    await sessions.forget_expired()
    assert sorted(name.partition(":")[0] for name in meta.values) == ["session-ended", "session-mark"]


@pytest.mark.parametrize("restarts", [False, True])
async def test_an_opened_link_is_not_forgotten_while_the_clock_is_ahead(restarts: bool) -> None:
    meta, clock = DictMeta(), Clock(1000.0, speed=0)
    sessions = register(meta, clock)
    link = await sessions.link(ACME, 7200)
    assert await sessions.follow_link(link)
    clock.advance(3601)
    clock.set_by(7200)
    if restarts:
        sessions = register(meta, clock)
    await sessions.tidy()
    clock.set_by(-7200)
    assert await sessions.read_link(link) is None
    for _ in range(10):
        clock.advance(601)
        await sessions.tidy()
    assert meta.values == {}


async def test_open_streams_end_when_another_process_revokes_their_session() -> None:
    meta = DictMeta()
    here, elsewhere = (SessionRegister([KEY], meta, clock=time.time, fresh=0) for _ in range(2))
    mine = await here.open(ACME, time.time() + 60)
    other = await here.open(Principal("globex"), time.time() + 60)
    async with running(Log()) as hub, anyio.create_task_group() as tasks:
        async with reading(hub, session=mine) as ended, reading(hub, session=other) as open_one:
            tasks.start_soon(partial(here.watch, hub, every=0.01))
            await elsewhere.revoke("acme")
            await eventually(lambda: ended.returned)
            assert not open_one.returned
        tasks.cancel_scope.cancel()
    assert hub.metrics()["closed"]["revoked"] == 1


async def test_open_streams_end_when_the_host_no_longer_knows_their_key() -> None:
    known = {"key_1", "key_2"}
    here = SessionRegister(
        [KEY], DictMeta(), clock=time.time, valid=lambda principal: principal.subject in known, ask_every=0
    )
    mine, other = (here.of_key(Principal("acme", ["webhooks:read"], name)) for name in ("key_1", "key_2"))
    async with running(Log()) as hub, anyio.create_task_group() as tasks:
        async with reading(hub, session=mine) as ended, reading(hub, session=other) as open_one:
            tasks.start_soon(partial(here.watch, hub, every=0.01))
            known.remove("key_1")
            await eventually(lambda: ended.returned)
            assert not open_one.returned
        tasks.cancel_scope.cancel()


async def test_sessions_are_watched_again_once_the_backend_is_available() -> None:
    meta, clock = DictMeta(failures=3), Clock(1000.0, speed=0)
    here = SessionRegister([KEY], meta, clock=clock, monotonic=clock.monotonic, fresh=0)
    clock.advance(60)
    expired, session = Session(ACME, 900, "old", ""), Session(ACME, 2000, "", "")
    await here.end(expired)
    async with running(Log()) as hub, anyio.create_task_group() as tasks:
        async with reading(hub, session=session) as reader:
            tasks.start_soon(partial(here.watch, hub, every=0.01))
            await meta.write_meta("session-mark:acme", b"revoked")
            await eventually(lambda: reader.returned)
            assert meta.lookups > 3
            await eventually(lambda: expired.end_name not in meta.values)
        tasks.cancel_scope.cancel()
