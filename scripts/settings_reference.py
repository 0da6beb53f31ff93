"""Write `docs/reference/settings.md` from the fields of `WebhooksSettings`. Run it when they change."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from starlette_webhooks.environment import variable_of
from starlette_webhooks.settings import WebhooksSettings

PATH = Path(__file__).parent.parent / "docs" / "reference" / "settings.md"

# The first field of each section.
SECTIONS = {
    "database": "Storage and access",
    "max_event_bytes": "Events",
    "operator_tenant": "Operating",
    "heartbeat": "Streams",
    "calls_per_second": "Limits",
    "deliver": "Deliveries",
    "portal_brand": "Portal",
    "svix_api_key": "Svix",
}
INTRODUCTION = """\
# Settings

`Webhooks` reads its settings from environment variables. If a value is not valid, the app does not start, and the
error names the variable.

You can also pass settings in code. They take precedence over the environment:

```python
from starlette_webhooks import Webhooks, WebhooksSettings

webhooks = Webhooks(settings=WebhooksSettings(database="/tmp/events.db", heartbeat=5))
```

The name of an argument is that of the variable in lower case, without `WEBHOOKS_`. In variables, separate the items of
a list by commas.

`scripts/settings_reference.py` generates this page.
"""
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than", "min_length": "", "max_length": ""}


def render() -> str:
    """Return the page as Markdown."""
    parts = [INTRODUCTION]
    for name, field in WebhooksSettings.model_fields.items():
        if name in SECTIONS:
            parts.append(f"\n## {SECTIONS[name]}\n\n| variable | default | meaning |\n|---|---|---|\n")
        parts.append(f"| `{variable_of(name)}` | {_default(field)} | {field.description}{_limits(field)} |\n")
    return "".join(parts)


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined or value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return f"`{', '.join(map(_text, value))}`"
    return f"`{_text(value)}`"


def _text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return "secret"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _limits(field: FieldInfo) -> str:
    words = [
        f"{word} {getattr(limit, key):,}"
        for limit in field.metadata
        for key, word in _BOUNDS.items()
        if word and getattr(limit, key, None) is not None
    ]
    choices = [f"`{choice}`" for choice in get_args(field.annotation) if isinstance(choice, str)]
    if choices:
        words.append(f"one of {', '.join(choices)}")
    text = ", ".join(words)
    return f" {text[0].upper()}{text[1:]}." if text else ""


if __name__ == "__main__":
    PATH.write_text(render())
