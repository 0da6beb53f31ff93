"""The colours of the portal: shades of the accent colour that are readable on light and on dark backgrounds."""

from __future__ import annotations

__all__ = ["contrast", "favicon", "parse_colour", "theme_css"]

_WHITE = (255, 255, 255)
_INK = (17, 17, 20)
# The lightest and the darkest background of accented text. See `base.css`.
_LIGHT = (244, 244, 246)
_DARK = (29, 31, 37)
_READABLE = 4.5
"""WCAG 2.2, 1.4.3: the contrast that text needs."""

RGB = tuple[int, int, int]


def theme_css(accent: str) -> str:
    """Return CSS custom properties for an accent such as `#4f46e5`."""
    colour = parse_colour(accent)
    on_accent = (
        _WHITE if contrast(colour, _WHITE) >= _READABLE else max((_WHITE, _INK), key=lambda c: contrast(colour, c))
    )
    light, dark = _toward(colour, (0, 0, 0), _LIGHT), _toward(colour, _WHITE, _DARK)
    return (
        f":root {{\n  --accent: {_hex(colour)};\n  --on-accent: {_hex(on_accent)};\n"
        f"  --accent-text: light-dark({_hex(light)}, {_hex(dark)});\n}}\n"
    )


def favicon(accent: str) -> str:
    """Return a small SVG image in the accent colour."""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
        f'<rect width="32" height="32" rx="8" fill="{_hex(parse_colour(accent))}"/>'
        '<g fill="none" stroke="#fff" stroke-width="2.4" stroke-linecap="round">'
        '<circle cx="16" cy="16" r="2.2"/><path d="M11 21a7 7 0 0 1 0-10M21 11a7 7 0 0 1 0 10"/></g></svg>\n'
    )


def parse_colour(colour: str) -> RGB:
    """Return the parts of a colour such as `#4f46e5`."""
    number = int(colour[1:], 16)
    return number >> 16, number >> 8 & 255, number & 255


def _hex(colour: RGB) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _luminance(colour: RGB) -> float:
    """Return the relative luminance, as WCAG 2.2 defines it."""
    parts = (part / 255 for part in colour)
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: RGB, other: RGB) -> float:
    """Return the contrast ratio, as WCAG 2.2 defines it: from 1 to 21."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _toward(colour: RGB, end: RGB, surface: RGB) -> RGB:
    """Return the colour, moved toward `end` until it is readable on the surface."""
    for step in range(20):
        mixed = tuple(round(part + (goal - part) * step / 20) for part, goal in zip(colour, end, strict=True))
        if contrast(mixed, surface) >= _READABLE:  # type: ignore[arg-type]
            return mixed  # type: ignore[return-value]
    return end
