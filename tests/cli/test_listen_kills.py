"""Nothing is lost or out of order when the server, `listen` or the app is killed. `scripts/soak listen` kills more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.killing import kill_listen


@pytest.mark.slow
def test_nothing_is_lost_or_out_of_order_when_each_part_is_killed(tmp_path: Path) -> None:
    found = kill_listen(tmp_path, ["listen", "app", "server", "listen"], {})
    assert len(found.answered) > 10
    assert found.lost == 0
    assert found.in_order
