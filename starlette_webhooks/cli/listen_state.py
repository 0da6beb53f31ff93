"""What `listen` remembers between runs: the last event that it forwarded, and its secret."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Self

import click

from starlette_webhooks.file_locks import FileLock
from starlette_webhooks.signing import generate_secret, parse_secret

__all__ = ["ListenState", "default_path"]


def default_path(url: str, key: str, forward_to: str) -> Path:
    """Return the file for this key and target."""
    digest = hashlib.sha256("\n".join((url.rstrip("/"), key, forward_to)).encode()).hexdigest()
    return Path(click.get_app_dir("starlette-webhooks")) / f"listen-{digest[:16]}.json"


class ListenState:
    """A file with the position, replaced as a whole after each event. One process at a time may use it.

    Args:
        path: None remembers nothing.

    Attributes:
        last_event_id: The last event that was forwarded, or None.
        secret: Signs what is forwarded.
    """

    def __init__(self, path: Path | None, *, secret: str | None = None) -> None:
        self.path = path
        self.last_event_id: str | None = None
        self.secret = secret or ""
        self._lock = None if path is None else FileLock(f"{path}.lock")

    def __enter__(self) -> Self:
        if self.path is not None and self._lock is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._lock.open()
                if not self._lock.try_acquire():
                    raise click.ClickException(f"{self._lock.holder()} listens with {self.path}. Pass `--state`.")
                self._load(self.path)
            except OSError as exc:
                raise _unusable(self.path, exc) from exc
        self.secret = self.secret or generate_secret()
        return self

    def __exit__(self, *details: object) -> None:
        if self._lock is not None:
            self._lock.close()

    def _load(self, path: Path) -> None:
        found = _read(path)
        if found is not None:
            self.last_event_id, secret = found
            self.secret = self.secret or secret

    @staticmethod
    def saved_secret(path: Path) -> str | None:
        """Return the secret in a file, or None if there is no such file."""
        try:
            found = _read(path)
        except OSError as exc:
            raise _unusable(path, exc) from exc
        return None if found is None else found[1]

    def save(self, last_event_id: str | None) -> None:
        """Remember that everything up to an event has been forwarded."""
        self.last_event_id = last_event_id
        if self.path is None:
            return
        content = json.dumps({"lastEventId": last_event_id, "secret": self.secret})
        new = self.path.with_name(f"{self.path.name}.new")
        try:
            # Only the user may read the secret.
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self.path)
        except OSError as exc:
            raise _unusable(self.path, exc) from exc


def _read(path: Path) -> tuple[str | None, str] | None:
    try:
        found = json.loads(path.read_text())
        last, secret = found["lastEventId"], found["secret"]
        parse_secret(secret)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise click.ClickException(f"{path} is not a state of `listen`. Remove it, or pass `--state`.") from exc
    return last, secret


def _unusable(path: Path, error: OSError) -> click.ClickException:
    return click.ClickException(f"{path} cannot be used: {error.strerror}. Pass `--state` or `--no-state`.")
