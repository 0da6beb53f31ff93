"""The output of the command: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

__all__ = ["Output", "ProgressBar", "counted", "duration"]

# Output that is not shown on a terminal is read by programs, which need whole lines.
_WIDE = 1000
_ERASE = "\r\x1b[2K"


def counted(number: int, noun: str, *, limit: int | None = None) -> str:
    """Return a number with its noun: `1 endpoint`, `2 endpoints`, `1 delivery`, `more than 9,999 deliveries`.

    Args:
        limit: The number at which counting stopped.
    """
    if number != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    if limit is not None and number >= limit:
        return f"{number:,} {noun} or more"
    return f"{number:,} {noun}"


def duration(seconds: float) -> str:
    """Return a duration for people: `12 s`, `5 min`, `3 h`, `2 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 2 * 86_400:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86_400:.0f} days"


class ProgressBar:
    """The progress of a long operation. Shown on terminals only."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._tasks: dict[str, Any] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        """Update the progress."""
        if self._progress is None or not total:
            return
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._tasks[what], completed=done)


class Output:
    """Prints for people, or as JSON for programs.

    Args:
        as_json: Print one JSON object per result, with names in camelCase as in the HTTP API.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._error = Console(stderr=True, highlight=False)
        terminal = Console(highlight=False)
        self._output = terminal if terminal.is_terminal else Console(highlight=False, width=_WIDE)
        self._status = ""

    def result(self, values: Mapping[str, Any], text: str) -> None:
        """Print what the command did: the values as JSON, or the text."""
        with self._above_status():
            click.echo(json.dumps(values) if self._as_json else text)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table for people. Use `result` for its JSON."""
        table = Table(box=box.SIMPLE_HEAD if self._output.is_terminal else None, pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold", no_wrap=not self._output.is_terminal)
        for row in rows:
            table.add_row(*(escape(str(value)) for value in row))
        self._output.print(table)

    def page(
        self, name: str, documents: Sequence[Mapping[str, Any]], cursor: str | None, columns: Mapping[str, str]
    ) -> None:
        """Print a page of a list, as JSON or as a table.

        Args:
            name: The name of the list in the JSON.
            columns: The columns of the table by the names of the documents' fields.
        """
        if self._as_json:
            click.echo(json.dumps({name: list(documents), "nextCursor": cursor, "done": cursor is None}))
            return
        if documents:
            self.table(list(columns.values()), [[_cell(one[field]) for field in columns] for one in documents])
        else:
            click.echo("None.", err=True)
        if cursor is not None:
            click.echo(f"There are more: `--cursor {cursor}`.", err=True)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before something is done, unless `yes`. Raises `click.Abort` if the answer is no."""
        if yes:
            return
        if self._as_json:
            raise click.UsageError("With `--json`, nobody is asked. Add `--yes`.")
        click.confirm(question, abort=True, err=True)

    def note(self, text: str) -> None:
        """Print a note for people."""
        if not self._as_json:
            with self._above_status():
                click.echo(text, err=True)

    @property
    def shows_status(self) -> bool:
        """Whether somebody can see a status."""
        return not self._as_json and self._error.is_terminal

    def status(self, text: str) -> None:
        """Show a line below everything that is printed from now on. An empty text removes it."""
        if self.shows_status:
            with self._above_status():
                self._status = text

    @contextmanager
    def _above_status(self) -> Generator[None]:
        if self._status:
            click.echo(_ERASE, nl=False, err=True)
        yield
        if self._status:
            # A longer line would be wrapped, and only its end erased.
            click.echo(self._status[: self._error.width - 1], nl=False, err=True)

    def failure(self, code: str, detail: str) -> None:
        """Print why the command failed."""
        click.echo(json.dumps({"code": code, "detail": detail}) if self._as_json else f"Error: {detail}", err=True)

    @contextmanager
    def progress(self) -> Generator[ProgressBar]:
        """Show progress until the block ends."""
        if self._as_json or not self._error.is_terminal:
            yield ProgressBar(None)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._error) as progress:
            yield ProgressBar(progress)


def _cell(value: object) -> object:
    if value is None:
        return ""
    return "yes" if value is True else "no" if value is False else value
