"""Processes whose machines disagree about the time."""

from __future__ import annotations

from pathlib import Path

import pytest
from anyio import to_thread
from standardwebhooks import Webhook

from starlette_webhooks.event_types import EventTypes
from tests.eventually import eventually
from tests.receivers import Received, receiving
from tests.stores.contract import add, attempts, event, ids
from tests.stores.postgresql.process import working_backend
from tests.stores.postgresql.processes import line, process

EACH = 5


@pytest.fixture
def anyio_backend() -> str:
    """One event loop: the other process has its own."""
    return "asyncio"


def hour_ahead() -> dict[str, str]:
    """The environment of a process whose clock is ahead."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        pytest.skip("libfaketime is not installed (Debian's package `faketime`).")
    return {"LD_PRELOAD": str(found[0]), "FAKETIME": "+3600s", "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}


@pytest.mark.slow
async def test_processes_whose_clocks_differ_by_an_hour_deliver_in_time_once_and_signed(
    postgresql_url: str, postgresql_schema: str
) -> None:
    backend = working_backend(postgresql_url, postgresql_schema)
    seen: set[str] = set()

    def answer(request: Received) -> int:
        # The first attempt of each fails, so that due times matter.
        known = request.headers["webhook-id"] in seen
        seen.add(request.headers["webhook-id"])
        return 200 if known else 500

    with receiving() as receiver:
        receiver.answer = answer
        async with backend.lifespan(EventTypes()):
            endpoint = await add(backend.store, url=receiver.url)
            secret = await backend.get_secret("acme", endpoint.id)
            sent = []
            with process("work", postgresql_url, postgresql_schema, EACH, **hour_ahead()) as other:
                for _ in range(EACH):
                    # Alternately.
                    sent.append(await to_thread.run_sync(line, other))
                    (one,) = await backend.submit([event(milliseconds=backend.event_time())]).wait()
                    sent.append(one.id)
                await eventually(lambda: len(receiver.requests) == 2 * len(sent))
                made = await attempts(backend.store, endpoint_id=endpoint.id)
                listed = await ids(backend.store)
        assert sorted(receiver.ids()) == sorted(sent * 2)
        for request in receiver.requests:
            assert secret is not None
            # Its clock is that of this machine, and its tolerance is five minutes.
            Webhook(secret).verify(request.body, request.headers)
        assert sorted(listed) == sorted(sent)
        # Both use the clock of the database, so ids and times of attempts are in order whichever process makes them.
        spread = max(one.timestamp for one in made) - min(one.timestamp for one in made)
        assert spread.total_seconds() < 60
