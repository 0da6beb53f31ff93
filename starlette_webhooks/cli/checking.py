"""`starlette-webhooks check`."""

from __future__ import annotations

import platform
from collections.abc import Iterator

from starlette_webhooks._version import __version__
from starlette_webhooks.cli.output import Output
from starlette_webhooks.cli.target import FOUND_PROBLEMS, Target, subcommand
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.stores.findings import Finding

__all__ = ["check"]

_MARKS = {"ok": "ok", "note": "note", "problem": "PROBLEM"}


@subcommand
def check(target: Target, output: Output) -> int:
    """Check an installation: versions, keys, file modes, the schema, the clock, the disk and the pooler.

    Exits with status 3 if there is a problem. Changes nothing.
    """
    settings = target.settings
    findings = [_versions(), *_keys(settings), *target.administration.examine()]
    problems = sum(one.level == "problem" for one in findings)
    text = "\n".join(f"{_MARKS[one.level]:<8}{one.subject:<13}{one.text}" for one in findings)
    output.result({"problems": problems, "findings": [one.document() for one in findings]}, text)
    return FOUND_PROBLEMS if problems else 0


def _versions() -> Finding:
    return Finding("version", "ok", f"starlette_webhooks {__version__} on Python {platform.python_version()}.")


def _keys(settings: WebhooksSettings) -> Iterator[Finding]:
    if settings.secret_key is None:
        yield Finding("secret key", "ok", "`WEBHOOKS_SECRET_KEY` is not set: the key is in the database.")
    else:
        yield Finding("secret key", "ok", "`WEBHOOKS_SECRET_KEY` is set.")
    if settings.encryption_key is None and settings.svix_api_key is None:
        text = "`WEBHOOKS_ENCRYPTION_KEY` is not set: the secrets of endpoints are stored unencrypted."
        yield Finding("encryption", "note", text)
    if settings.environment is None:
        text = "`WEBHOOKS_ENVIRONMENT` is not set: a copy of this database would call customers' endpoints."
        yield Finding("environment", "note", text)
