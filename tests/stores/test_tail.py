"""Reading a log in pages."""

from __future__ import annotations

import gc
from typing import cast

from starlette_webhooks.feed import StreamFilter
from starlette_webhooks.stores.tail import LogReader, LogReplay, ReplayPage, ReplayStart
from tests.streams.feed import make_event


class Pages:
    """A log of two pages."""

    async def read_replay(self, tenant: str, filter: StreamFilter, after: int, until: int) -> ReplayPage:
        return ReplayPage([make_event(after)], after + 1, after + 1 == until)


async def test_a_replay_does_not_keep_the_page_that_is_being_sent() -> None:
    replay = LogReplay(cast(LogReader, Pages()), "acme", StreamFilter(), ReplayStart(0, 2), "")
    pages = replay.pages()
    for _ in range(2):
        page = await anext(pages)
        assert len(page) == 1
        assert [one for one in gc.get_referrers(page) if isinstance(one, ReplayPage)] == []
    assert await anext(pages, None) is None
