"""The entries of the audit log about what the command does, and the file for them."""

from __future__ import annotations

import getpass
import logging
import os
from collections.abc import Generator
from contextlib import contextmanager

import click

from starlette_webhooks.audit import Actor

__all__ = ["command_actor", "writing_audit_log"]


def command_actor() -> Actor:
    """Return who runs the command: a user of this machine."""
    try:
        return Actor("command", getpass.getuser())
    except (ImportError, KeyError, OSError):
        # In a container, a user may have no name. Before Python 3.13, the errors differ.
        return Actor("command", str(os.getuid()))


@contextmanager
def writing_audit_log(path: str | None) -> Generator[None]:
    """Append the entries of the audit log to a file, until the block ends.

    Without a file, they go where an app of `--app` has configured them to go, if it has.
    """
    if path is None:
        yield
        return
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as exc:
        # Before anything is done that would have no entry.
        raise click.UsageError(f"The audit log {path} cannot be written: {exc.strerror}.") from exc
    logger = logging.getLogger("starlette_webhooks.audit")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()
