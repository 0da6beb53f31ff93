"""The files of the console: its own, and those of the portal."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from starlette_webhooks.console.icons import load_icons
from starlette_webhooks.portal.assets import Assets, bundle, read_portal_files

__all__ = ["load_console"]


@cache
def load_console(accent: str) -> Assets:
    """Read and compress the files. Blocks for some milliseconds, once per accent colour."""
    load_icons()
    own = files("starlette_webhooks.console").joinpath("static").iterdir()
    return bundle({**read_portal_files(accent), **{entry.name: entry.read_bytes() for entry in own if entry.is_file()}})
