"""A proxy that cuts each connection after some bytes, wherever in a message that is."""

from __future__ import annotations

import random
import re
import socket
import struct
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress

__all__ = ["CuttingProxy", "cutting_proxy"]

# More than the start of a response and one event, or no connection would get any further than the one before.
_LEAST, _MOST = 900, 1800
_RETRY = re.compile(rb"(?<=retry: )\d+")


class CuttingProxy:
    """Forwards connections to a server.

    Attributes:
        cuts: How many connections it has cut.
    """

    def __init__(self, port: int) -> None:
        self.cuts = 0
        self._port = port
        self._random = random.Random(7)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Accept no further connections."""
        with suppress(OSError):
            # Wakes `accept`.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def run(self) -> None:
        """Accept connections until `close`."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._port)) as server, suppress(OSError):
            requests = threading.Thread(target=_copy, args=(client, server), daemon=True)
            requests.start()
            left = self._random.randint(_LEAST, _MOST)
            while left > 0 and (received := server.recv(4096)):
                # The pauses that the server asks for would be most of the time of a test.
                chunk = _RETRY.sub(lambda found: b"1".rjust(len(found[0]), b"0"), received)[:left]
                client.sendall(chunk)
                left -= len(chunk)
            self.cuts += left <= 0
            if self.cuts % 2:
                # A reset instead of an end.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # A socket that another thread reads cannot be closed.
            client.shutdown(socket.SHUT_RD)
            requests.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while received := source.recv(4096):
            target.sendall(received)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def cutting_proxy(port: int) -> Generator[CuttingProxy]:
    """Run a proxy until the block ends."""
    proxy = CuttingProxy(port)
    thread = threading.Thread(target=proxy.run, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join()
