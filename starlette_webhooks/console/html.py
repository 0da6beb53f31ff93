"""HTML elements. Text is escaped, and what could make it look like something else is shown as an escape."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from typing import TypeAlias

__all__ = ["Child", "Markup", "join", "tag", "visible"]

# The same characters as in the portal's `dom.js`.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")
_VOID = frozenset({"br", "hr", "input", "link", "meta"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child: TypeAlias = Markup | str | int | None | Iterable["Child"]
"""The content of an element. Strings that are not `Markup` are text. None is nothing."""


def visible(text: str) -> str:
    """Escape control characters and direction overrides, so that a text cannot look like something else."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def tag(name: str, /, *children: Child, **attributes: str | int | bool | None) -> Markup:
    """Return an element.

    Args:
        attributes: `class_` and `for_` stand for the names without the underscore, and `aria_label` for `aria-label`.
            False and None leave an attribute out, and True gives it no value.
    """
    opened = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{opened}>")
    return Markup(f"<{name}{opened}>{join(*children)}</{name}>")


def join(*children: Child) -> Markup:
    """Return several elements and texts, one after another."""
    return Markup("".join(_render(child) for child in children))


def _render(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, (str, int)):
        return escape(visible(str(child)), quote=False)
    return "".join(_render(one) for one in child)


def _attribute(key: str, value: str | int | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(visible(str(value)))}"'
