"""URLs of PostgreSQL, and their descriptions."""

from __future__ import annotations

import pytest
from psycopg.conninfo import conninfo_to_dict

from starlette_webhooks.stores.postgresql.conninfo import parse_url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:p%40ss@db.example:5433/shop",
        "postgres://ada:p%40ss@db.example:5433/shop",
        "postgresql+asyncpg://ada:p%40ss@db.example:5433/shop",
    ],
)
def test_url_of_any_driver_is_read_as_libpq_reads_it(url: str) -> None:
    parameters = conninfo_to_dict(parse_url(url).conninfo)
    assert parameters["host"] == "db.example"
    assert parameters["port"] == "5433"
    assert parameters["dbname"] == "shop"
    assert parameters["password"] == "p@ss"


def test_what_the_url_gives_wins_over_the_defaults() -> None:
    parameters = conninfo_to_dict(parse_url("postgresql://db/shop?connect_timeout=9&sslmode=require").conninfo)
    assert parameters["connect_timeout"] == "9"
    assert parameters["sslmode"] == "require"


def test_a_vanished_server_is_noticed_by_default() -> None:
    parameters = conninfo_to_dict(parse_url("postgresql://db/shop").conninfo)
    assert int(parameters["connect_timeout"] or 0) > 0
    assert parameters["keepalives"] == "1"
    assert int(parameters["tcp_user_timeout"] or 0) > 0


def test_of_several_hosts_the_one_that_accepts_writes_is_chosen() -> None:
    several = parse_url("postgresql://one:5432,two:5433/shop")
    assert conninfo_to_dict(several.conninfo)["target_session_attrs"] == "read-write"
    assert several.description == "one:5432,two:5433/shop"
    assert "target_session_attrs" not in conninfo_to_dict(parse_url("postgresql://one/shop").conninfo)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:hidden-word@db/shop?nonsense=1",
        "postgresql://ada:hidden-word@[::1/shop",
        "mysql://hidden-word",
    ],
)
def test_error_for_a_bad_url_does_not_show_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"postgresql://user:password@host") as caught:
        parse_url(url)
    shown = str(caught.value) + repr(caught.value.__cause__) + str(caught.value.__suppress_context__)
    assert "hidden-word" not in shown


def test_password_is_not_in_the_repr_or_the_description() -> None:
    info = parse_url("postgresql://ada:hidden-word@db/shop")
    assert "hidden-word" not in repr(info) + info.description
