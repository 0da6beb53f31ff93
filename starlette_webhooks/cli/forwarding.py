"""Forwards events to an app on the developer's machine, signed like a delivery."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import click
import httpx

from starlette_webhooks._version import __version__
from starlette_webhooks.certificates import trusted_authorities
from starlette_webhooks.cli.output import Output
from starlette_webhooks.cli.remote import local_time
from starlette_webhooks.client import Event
from starlette_webhooks.client.backoff import Backoff
from starlette_webhooks.signing import parse_secret, signature_headers

__all__ = ["FOREVER", "Forwarder", "Result", "check_target"]

FOREVER = -1
_LONGEST_PAUSE = 5.0
# More of a body is not read, because nobody sees it.
_MOST_BYTES = 1024 * 1024


def check_target(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Return the URL to forward to. Anything else would look like an app that is not running."""
    if value is not None:
        try:
            parts = urlsplit(value)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            valid = False
        if not valid:
            raise click.BadParameter(f"{value!r} is not an HTTP URL. Use one such as http://localhost:3000/hooks.")
    return value


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one attempt.

    Attributes:
        status: The status of the answer, or 0 without one.
        unreachable: Whether the app is not running.
    """

    status: int
    milliseconds: int
    error: str = ""
    unreachable: bool = False

    @property
    def ok(self) -> bool:
        """Whether the app accepted the event."""
        return 200 <= self.status < 300


class Forwarder:
    """Posts events to one URL, in order.

    Args:
        secret: Signs each request.
        retries: How often an event is posted again if the app answers with an error. `FOREVER` has no limit.
        timeout: Seconds for an answer.
        waits: Whether to wait for an app that is not running.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        output: Output,
        *,
        retries: int = 0,
        timeout: float = 30.0,
        waits: bool = True,
    ) -> None:
        self._url = url
        self._key = parse_secret(secret)
        self._output = output
        self._retries = retries
        self._timeout = timeout
        self._waits = waits
        # The target is local, whatever proxy the environment names.
        self._http = httpx.Client(timeout=timeout, verify=trusted_authorities(), trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self._http.close()

    def forward(self, event: Event, *, done: Callable[[], object] = lambda: None) -> Result:
        """Post an event until it is accepted, or not to be posted again. Prints each attempt.

        Args:
            done: Called before the last attempt is printed, so that whoever reads the line may rely on it.
        """
        backoff = Backoff(first=0.2, longest=_LONGEST_PAUSE)
        waiting = False
        for left in _countdown(self._retries):
            while (result := self._post(event)).unreachable and self._waits:
                if not waiting:
                    waiting = True
                    self._output.note(f"{self._url} cannot be reached: {result.error}. Waiting for it.")
                time.sleep(backoff.next())
            again = not result.ok and left != 0
            if not again:
                done()
            self._print(event, result, again=again)
            if not again:
                break
            time.sleep(backoff.next())
        return result

    def _post(self, event: Event) -> Result:
        body = json.dumps(event.payload, ensure_ascii=False, separators=(",", ":")).encode()
        headers: list[tuple[bytes, bytes]] = [
            (b"content-type", b"application/json"),
            (b"user-agent", f"starlette-webhooks/{__version__} (listen)".encode()),
            *signature_headers([self._key], event.id, int(time.time()), body),
        ]
        began = time.monotonic()
        try:
            with self._http.stream("POST", self._url, content=body, headers=headers) as response:
                self._read(response, until=began + self._timeout)
        except (httpx.ReadTimeout, httpx.WriteTimeout):
            return Result(0, _since(began), "no answer in time")
        except httpx.TransportError as exc:
            return Result(0, _since(began), str(exc) or type(exc).__name__, unreachable=True)
        return Result(response.status_code, _since(began))

    @staticmethod
    def _read(response: httpx.Response, *, until: float) -> None:
        """Read the body, so that the connection can be used again, but not one that is large or does not end."""
        size = 0
        # The app has answered. A truncated body does not change that, as in deliveries.
        with suppress(httpx.NetworkError, httpx.ProtocolError):
            for chunk in response.iter_raw():
                size += len(chunk)
                if size > _MOST_BYTES:
                    return
                if time.monotonic() > until:
                    raise httpx.ReadTimeout("")

    def _print(self, event: Event, result: Result, *, again: bool) -> None:
        values: dict[str, Any] = {
            "id": event.id,
            "eventType": event.event_type,
            "status": result.status,
            "durationMs": result.milliseconds,
            "error": result.error or None,
            "retrying": again,
        }
        status = click.style(str(result.status) if result.status else result.error, fg="green" if result.ok else "red")
        text = f"{local_time(event.timestamp)}  {event.event_type}  {event.id}  {status}  {result.milliseconds} ms"
        self._output.result(values, f"{text}  trying again" if again else text)


def _countdown(retries: int) -> Iterator[int]:
    """The number of attempts left after each one."""
    while True:
        yield retries
        retries -= retries != FOREVER


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
