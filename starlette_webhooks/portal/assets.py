"""The files of the portal. They are read once, and their URLs contain one hash of all of them."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from starlette_webhooks.portal.joining import join_modules
from starlette_webhooks.portal.theme import favicon, theme_css

__all__ = ["Asset", "Assets", "bundle", "load_assets", "read_portal_files"]

_TYPES = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
_PAGES = ("page", "frame", "message", "enter")
_STYLES = ("theme", "base", "parts", "tables", "forms", "dialogs", "code", "pages")
_REFUSED = re.compile(r"\s*q=0(\.0*)?\s*")
_FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file and its compressed form."""

    body: bytes
    compressed: bytes
    media_type: str
    etag: str


@dataclass(frozen=True, slots=True)
class Assets:
    """All files.

    Attributes:
        version: The hash of all files.
        pages: The templates of the pages.
    """

    version: str
    files: Mapping[str, Asset]
    pages: Mapping[str, str]

    def respond(self, request: Request, version: str, name: str) -> Response | None:
        """Return a file, or None if there is no such file. Browsers cache it forever if the URL has the version."""
        asset = self.files.get(name)
        if asset is None:
            return None
        headers = {
            # A page that was opened before a deployment asks for its own version, and gets the current one.
            "Cache-Control": _FOREVER if version == self.version else "no-cache",
            "ETag": asset.etag,
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
        }
        if _is_known(asset.etag, request.headers.get("if-none-match", "")):
            return Response(status_code=304, headers=headers)
        body = asset.body
        if _accepts_gzip(request.headers.get("accept-encoding", "")):
            body = asset.compressed
            headers["Content-Encoding"] = "gzip"
        return Response(body, headers=headers, media_type=asset.media_type)


def _is_known(etag: str, tags: str) -> bool:
    """Return whether `If-None-Match` has this tag. Proxies may have made it a strong one (RFC 9110, section 13.1.2)."""
    known = [tag.strip().removeprefix("W/") for tag in tags.split(",")]
    return "*" in known or etag.removeprefix("W/") in known


def _accepts_gzip(codings: str) -> bool:
    parts = (coding.partition(";") for coding in codings.lower().split(","))
    return any(name.strip() == "gzip" and _REFUSED.fullmatch(weight) is None for name, _, weight in parts)


@cache
def load_assets(accent: str) -> Assets:
    """Read and compress the files. Blocks for some milliseconds, once per accent colour."""
    folder = files("starlette_webhooks.portal")
    document = folder.joinpath("document.html").read_text("utf-8")
    pages = {name: document.replace("$body", folder.joinpath(f"{name}.html").read_text("utf-8")) for name in _PAGES}
    bodies = read_portal_files(accent)
    modules = {name[:-3]: body.decode() for name, body in bodies.items() if name.endswith(".js")}
    script = join_modules(modules).encode()
    style = b"\n".join(bodies[f"{name}.css"] for name in _STYLES)
    return bundle({**bodies, "portal.js": script, "portal.css": style}, pages)


def read_portal_files(accent: str) -> dict[str, bytes]:
    """Return the scripts, styles and the icon, by name. Blocks."""
    static = files("starlette_webhooks.portal").joinpath("static").iterdir()
    bodies = {entry.name: entry.read_bytes() for entry in static if entry.is_file()}
    return {**bodies, "theme.css": theme_css(accent).encode(), "icon.svg": favicon(accent).encode()}


def bundle(bodies: Mapping[str, bytes], pages: Mapping[str, str] | None = None) -> Assets:
    """Compress files, and give all of them one version."""
    digest = hashlib.sha256()
    for name in sorted(bodies):
        digest.update(name.encode() + b"\0" + bodies[name] + b"\0")
    made = {name: _asset(name, body) for name, body in bodies.items() if name.rpartition(".")[2] in _TYPES}
    return Assets(digest.hexdigest()[:16], made, pages or {})


def _asset(name: str, body: bytes) -> Asset:
    # Weak, because the compressed form has the same tag.
    etag = f'W/"{hashlib.sha256(body).hexdigest()[:16]}"'
    return Asset(body, gzip.compress(body, mtime=0), _TYPES[name.rpartition(".")[2]], etag)
