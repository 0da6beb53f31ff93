"""Why an attempt got no response: because of the receiver, or because of this process.

`DeliveryFailed` counts as a failure of the endpoint. `OutOfResources` does not, because it is not the customer's fault
if the sender has no free descriptor, thread or memory.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import ClassVar

from starlette_webhooks.exceptions import WebhooksError

__all__ = [
    "NO_ADDRESS",
    "DeliveryFailed",
    "Dropped",
    "OutOfResources",
    "connect_reason",
    "lookup_failure",
    "own_fault",
    "tls_reason",
]

_REASONS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EHOSTUNREACH: "host unreachable",
    errno.ENETUNREACH: "network unreachable",
    errno.ETIMEDOUT: "timeout",
}
_OURS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_NO_MEMORY = getattr(socket, "EAI_MEMORY", None)


NO_ADDRESS = "name not found, or its address is not allowed"
"""The one reason for both: two would tell customers which names exist in the host's own network."""


class DeliveryFailed(WebhooksError):
    """There was no response. The reason is shown to the customer and reveals nothing about the host's own network.

    Attributes:
        reason: Such as `timeout`, `connection refused`, `NO_ADDRESS`.
        duration_ms: How long the attempt took, in milliseconds.
    """

    message: ClassVar[str] = "There was no response."

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.duration_ms = 0


class Dropped(DeliveryFailed):
    """The connection ended before the first byte of a response."""


class OutOfResources(WebhooksError):
    """This process could not make the attempt: it has no free descriptor, thread or memory. Try again soon."""

    message: ClassVar[str] = "This process has no free descriptor, thread or memory for another attempt."


def own_fault(error: BaseException | None) -> OutOfResources | None:
    """Return the error to raise if this process lacks resources, or None for other errors.

    AnyIO raises its own errors from those of the system, so causes count too.
    """
    while error is not None:
        if isinstance(error, MemoryError):
            return OutOfResources("This process is out of memory.")
        if isinstance(error, OSError) and error.errno in _OURS and not isinstance(error, socket.gaierror):
            return OutOfResources(f"The system refused another connection: {os.strerror(error.errno)}.")
        if isinstance(error, RuntimeError) and "start new thread" in str(error):
            return OutOfResources("The system refused another thread.")
        error = error.__cause__
    return None


def lookup_failure(error: OSError) -> WebhooksError:
    """Return the error to raise if the name of a host could not be resolved."""
    if isinstance(error, socket.gaierror) and (error.errno == _NO_MEMORY or not _has_free_descriptor()):
        return OutOfResources("This process has no free descriptor or memory to resolve a name.")
    temporary = error.errno in (socket.EAI_AGAIN, socket.EAI_FAIL)
    return DeliveryFailed("name lookup failed" if temporary else NO_ADDRESS)


def _has_free_descriptor() -> bool:
    # If the resolver cannot open a socket, it reports a failure of the name server.
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as exc:
        return exc.errno not in _OURS
    return True


def connect_reason(error: OSError) -> str:
    """Return why a connection could not be opened, for the customer."""
    if isinstance(error, ssl.SSLError):
        return tls_reason(error)
    # AnyIO raises its own error from that of the system.
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(cause, TimeoutError):
        return "timeout"
    return _REASONS.get(cause.errno or 0, "connection failed")


def tls_reason(error: ssl.SSLError) -> str:
    """Return what went wrong with TLS, as OpenSSL describes it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: certificate verify failed: {error.verify_message}"
    return f"TLS: {(error.reason or 'handshake failed').replace('_', ' ').lower()}"
