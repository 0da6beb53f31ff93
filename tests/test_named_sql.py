"""Named statements in `.sql` files: mistakes in them are found when they are loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from starlette_webhooks.named_sql import read_queries, substitute


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with statements, one of which is there twice."""
    directory = tmp_path / "statements_of_a_test"
    directory.mkdir()
    (directory / "__init__.py").touch()
    (directory / "good.sql").write_text("-- name: one\nSELECT 1;\n-- name: two\nSELECT 2;\n")
    (directory / "twice.sql").write_text("-- name: one\nSELECT 1;\n-- name: one\nSELECT 2;\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return directory.name


def test_statements_are_read_by_their_names(package: str) -> None:
    assert read_queries(package, "good.sql") == {"one": "SELECT 1", "two": "SELECT 2"}


def test_a_name_that_is_there_twice_is_an_error(package: str) -> None:
    with pytest.raises(ValueError, match="twice.sql names 'one' twice"):
        read_queries(package, "twice.sql")


def test_a_part_must_have_its_mark() -> None:
    assert substitute("SELECT {what}", what="1") == "SELECT 1"
    with pytest.raises(ValueError, match="has no {where}"):
        substitute("SELECT {what}", where="a = 1")
