"""A full disk, in every framework: 503, one line in the log, and everything continues once there is space."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.disks import filled, small_disk
from tests.hosts import MOUNT, bearer
from tests.integrations.apps import HOSTS
from tests.integrations.hosting import webhooks_for
from tests.integrations.test_hosts import ACME, Records, running
from tests.settings import make_settings

CALLS = 10


@pytest.mark.parametrize("host", list(HOSTS))
def test_on_a_full_disk_calls_that_emit_get_503_and_the_log_has_a_line_for_each_change(
    host: str, tmp_path: Path, anyio_backend: str
) -> None:
    records, logger = Records(), logging.getLogger("starlette_webhooks")
    with small_disk(tmp_path / "disk") as disk:
        webhooks = webhooks_for(make_settings(tmp_path, database=str(disk / "webhooks.db")))
        with running(HOSTS[host](webhooks), anyio_backend) as client:
            # Not earlier, because Litestar configures logging at startup.
            logger.addHandler(records)
            logger.setLevel(logging.INFO)
            with filled(disk):
                for path in ("/emit", "/emit-in-thread"):
                    for number in range(CALLS):
                        response = client.post(path, json={"number": number, "filling": "x" * 5000}, headers=ACME)
                        assert (response.status_code, response.json()["code"]) == (503, "unavailable")
                        assert (response.headers["retry-after"], response.headers["connection"]) == ("5", "close")
                for _ in range(CALLS):
                    assert client.post("/emit-in-background", headers=ACME).status_code in (200, 201)
                assert client.get("/nothing").status_code == 200
                assert client.get(f"{MOUNT}/events", headers=bearer("acme")).status_code == 200
                assert webhooks.health()["status"] == "degraded"
            assert client.post("/emit", json={}, headers=ACME).status_code in (200, 201)
            assert client.post("/emit-in-background", headers=ACME).status_code in (200, 201)
            assert webhooks.health()["status"] == "ok"
            logger.removeHandler(records)
            logger.setLevel(logging.NOTSET)
    told = [record.getMessage() for record in records.records if record.levelno >= logging.INFO]
    # Two begin and two end. A small write that still fits into the `-wal` is another change.
    assert 4 <= len(told) < CALLS, told
    assert [sum(word in text for text in told) for word in ("after the response are lost", "stored again")] == [1, 1]
    assert told[-1].endswith("again.")
    assert not any(record.exc_info for record in records.records)
