"""An event emitted within a transaction exists if and only if the transaction commits, with every driver."""

from __future__ import annotations

import pytest

from starlette_webhooks.emitter import Emitter
from starlette_webhooks.outbox.rows import Row, from_row
from tests.outbox.hosts import Host, Rejected


async def test_a_commit_has_the_order_and_its_event(host: Host, emitter: Emitter) -> None:
    async with host.transaction() as order:
        event = await order(emitter, "one")
        assert (host.orders(), host.rows()) == ([], [])
    assert (host.orders(), host.rows()) == (["one"], [event.id])
    names = host.outbox.names
    ((id, tenant, body),) = host.read(f"SELECT id, tenant, body FROM {names.quoted(names.name)}")
    assert from_row(Row(id, tenant, bytes(body))) == event


async def test_a_rollback_has_neither(host: Host, emitter: Emitter) -> None:
    with pytest.raises(Rejected):
        async with host.transaction() as order:
            await order(emitter, "one")
            raise Rejected
    assert (host.orders(), host.rows()) == ([], [])


async def test_events_keep_the_order_in_which_they_were_emitted(host: Host, emitter: Emitter) -> None:
    events = []
    for number in range(2):
        async with host.transaction() as order:
            events += [await order(emitter, f"{number}-{place}") for place in range(3)]
    assert host.rows() == [event.id for event in events]
