"""The icons of the portal, for pages that the server renders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from starlette_webhooks.console.html import Markup, tag

__all__ = ["icon", "load_icons"]

_DRAWING = re.compile(r'^  (\w+): "([^"]+)",$', re.MULTILINE)


@cache
def load_icons() -> Mapping[str, str]:
    """Read the drawings from the portal's own file, once. Blocks."""
    source = files("starlette_webhooks.portal").joinpath("static", "icons.js").read_text("utf-8")
    return MappingProxyType(dict(_DRAWING.findall(source)))


def icon(name: str) -> Markup:
    """Return an icon that says nothing to screen readers: the control beside it has the words."""
    shape = tag("path", d=load_icons()[name])
    return tag("svg", shape, class_="icon", viewBox="0 0 16 16", aria_hidden="true", focusable="false")
