"""The pace of endpoints: their own rate limits, and a low rate until their servers have accepted a delivery."""

from __future__ import annotations

import pytest

from starlette_webhooks.delivery.pacing import UNPROVEN, Pace, is_proven, pace_of, server_of

NOW = 1_700_000_000_000


def test_an_endpoint_has_the_slower_of_its_own_pace_and_that_of_a_new_one() -> None:
    assert pace_of(None, None) is None
    assert pace_of(None, UNPROVEN) == UNPROVEN
    assert pace_of(50, None) == Pace(50, 5)
    assert pace_of(5, None) == Pace(5, 1)
    assert pace_of(50, UNPROVEN) == Pace(1, 5)
    assert pace_of(1000, UNPROVEN) == Pace(1, 10)


def test_a_burst_may_start_together_and_then_one_each_interval() -> None:
    pace = Pace(per_second=1, burst=10)
    assert pace.allowed(0, NOW) == 10
    used = pace.start(0, NOW) + 10 * pace.interval
    assert used == NOW + 1000
    assert pace.allowed(used, NOW + 1000) == 1
    assert pace.allowed(used, NOW + 3500) == 3
    assert pace.allowed(used, NOW + 60_000) == 10


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("https://example.com/hook?x=//y", "https://example.com"),
        ("https://example.com:8443", "https://example.com:8443"),
        ("https://[2001:db8::1]:8443/a/b", "https://[2001:db8::1]:8443"),
        ("https://example.com?a=/", "https://example.com"),
        ("nonsense", "nonsense"),
    ],
)
def test_a_server_is_the_beginning_of_a_url(url: str, server: str) -> None:
    assert server_of(url) == server
    assert is_proven(url, server)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "https://example.com:8443/hook",
        "https://example.com.evil.test/hook",
        "https://example.community/hook",
        "https://example.com@evil.test/hook",
        "https://other.test/https://example.com/",
    ],
)
def test_another_server_has_to_prove_itself(url: str) -> None:
    assert not is_proven(url, "https://example.com")
    assert not is_proven(url, None)
