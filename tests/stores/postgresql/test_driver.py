"""The undocumented parts of psycopg that `stores/postgresql/connection.py` uses."""

from __future__ import annotations

import inspect

import psycopg


def test_a_connection_waits_for_the_server_by_a_method_that_takes_a_timeout() -> None:
    changed = f"psycopg {psycopg.__version__} waits in another way: adapt the deadlines of calls, and pyproject.toml."
    parameters = list(inspect.signature(psycopg.Connection.wait).parameters)
    assert parameters == ["self", "gen", "interval", "timeout"], changed
    assert "self._conn.wait(" in inspect.getsource(psycopg.Cursor.execute), changed
