"""A repeated event is the same event: a relay forwards it again if it did not get the response."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stores.contract import MakeStore, add, claim, event, ids, running

OPTIONS: tuple[dict[str, Any], ...] = ({}, {"event_id": "order-1"}, {"channels": ["north"]})


@pytest.mark.parametrize("how", ["later", "in one commit", "in one call"])
async def test_an_event_of_the_same_id_is_the_same_event(make_store: MakeStore, how: str) -> None:
    async with running(make_store) as store:
        for number, options in enumerate(OPTIONS):
            tenant = f"tenant-{number}"
            first, other = event(tenant, **options), event(tenant)
            calls = [[first, other, first]] if how == "in one call" else [[first], [other, first]]
            await add(store, tenant)
            if how == "later":
                stored = [await store.submit(events).wait() for events in calls]
            else:
                submissions = [store.submit(events) for events in calls]
                stored = [await submission.wait() for submission in submissions]
            assert [one for events in stored for one in events] == [one for events in calls for one in events]
            assert await ids(store, tenant) == [other.id, first.id]
            assert sorted(one.event_id for one in (await claim(store)).deliveries) == sorted([first.id, other.id])
