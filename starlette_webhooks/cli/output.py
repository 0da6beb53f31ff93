"""The output of the command: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["Output", "ProgressBar"]


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

    def result(self, values: Mapping[str, Any], text: str) -> None:
        """Print what the command did: the values as JSON, or the text."""
        click.echo(json.dumps(values) if self._as_json else text)

    def note(self, text: str) -> None:
        """Print a note for people."""
        if not self._as_json:
            click.echo(text, err=True)

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
