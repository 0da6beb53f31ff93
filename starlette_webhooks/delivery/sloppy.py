"""Reads responses that violate HTTP/1.1 but have a clear status.

A receiver that sent a status line has handled the webhook. Malformed headers should not fail the attempt and in the end
disable the endpoint. Only this response is read tolerantly, and its connection is closed.
"""

from __future__ import annotations

import re

import h11

__all__ = ["read_sloppily"]

_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9][ \t]+([0-9]{3})(?:[ \t][^\r\n]*)?\r?\n")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:[ \t]*([!-~\x80-\xff][\t -~\x80-\xff]*)")
_FRAMING = frozenset((b"content-length", b"transfer-encoding"))
_REQUEST = h11.Request(method=b"POST", target=b"/", headers=[(b"host", b"stand.in"), (b"content-length", b"0")])
_SWITCHING_PROTOCOLS = 101


def read_sloppily(data: bytes) -> tuple[h11.Response, bytes] | None:
    """Return the response with the body received so far, or None if there is no clear status.

    Args:
        data: What was received, from the first byte of the first response.
    """
    data = data.lstrip(b"\r\n")
    while (line := _STATUS_LINE.match(data)) is not None:
        status = int(line[1])
        # Starts at the end of the status line's text, because there may be no headers.
        end = _END_OF_HEAD.search(data, line.end() - len(_line_end(line[0])))
        lines, body = (data[line.end() :], b"") if end is None else (data[line.end() : end.start()], data[end.end() :])
        if status >= 200:
            headers = _headers(lines)
            head = h11.Response(status_code=status, headers=[pair for pair in headers if pair[0] not in _FRAMING])
            return head, _decode(headers, body)
        if status < 100 or status == _SWITCHING_PROTOCOLS or end is None:
            return None
        data = body
    return None


def _line_end(line: bytes) -> bytes:
    return b"\r\n" if line.endswith(b"\r\n") else b"\n"


def _headers(lines: bytes) -> list[tuple[bytes, bytes]]:
    matches = (_HEADER.fullmatch(line.rstrip()) for line in lines.split(b"\n"))
    return [(match[1].lower(), match[2]) for match in matches if match is not None]


def _decode(headers: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    """Return the body without chunk framing, or unchanged if the headers contradict each other."""
    framing = b"".join(b"%s: %s\r\n" % pair for pair in headers if pair[0] in _FRAMING)
    http = h11.Connection(our_role=h11.CLIENT)
    http.send(_REQUEST)
    http.send(h11.EndOfMessage())
    http.receive_data(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n" + body)
    decoded = bytearray()
    try:
        http.next_event()
    except h11.RemoteProtocolError:
        return body
    try:
        while isinstance(event := http.next_event(), h11.Data):
            decoded += event.data
    except h11.RemoteProtocolError:
        pass
    return bytes(decoded)
