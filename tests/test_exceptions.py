"""The errors: each has a default message, also under `python -OO`."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from starlette_webhooks.exceptions import BackendRefused, TooManyRequests, Unauthorized, WebhooksError
from tests.imports import modules_in
from tests.servers import ROOT

MODULES = [name for name in modules_in(ROOT, "starlette_webhooks") if not name.endswith("__main__")]

# Docstrings are stripped here, but errors must still have their messages.
OPTIMISED = """
import importlib, json, sys
from starlette_webhooks.exceptions import WebhooksError
from tests.test_exceptions import errors_below
for name in sys.argv[1:]:
    importlib.import_module(name)
assert WebhooksError.__doc__ is None
print(json.dumps({error.__qualname__: error.message for error in errors_below(WebhooksError)}))
"""


def errors_below(error: type[WebhooksError]) -> Iterator[type[WebhooksError]]:
    yield error
    for kind in error.__subclasses__():
        # Tests define some, too.
        if kind.__module__.startswith("starlette_webhooks."):
            yield from errors_below(kind)


def takes_no_message(error: type[WebhooksError]) -> bool:
    parameters = list(inspect.signature(error).parameters.values())
    return bool(parameters) and parameters[0].default is not inspect.Parameter.empty


def test_every_error_that_may_be_raised_bare_has_a_message_of_its_own_that_is_a_sentence() -> None:
    for name in MODULES:
        importlib.import_module(name)
    found = list(errors_below(WebhooksError))
    assert len(found) > 15
    for error in found:
        if takes_no_message(error):
            assert "message" in vars(error), f"{error.__qualname__} would say what {error.__base__} says"
        assert error.message.endswith("."), error.__qualname__


def test_every_error_says_the_same_under_oo() -> None:
    command = [sys.executable, "-OO", "-c", OPTIMISED, *MODULES]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.stderr == ""
    said = json.loads(run.stdout)
    assert said == {error.__qualname__: error.message for error in errors_below(WebhooksError)}


@pytest.mark.parametrize("error", [Unauthorized, TooManyRequests, BackendRefused])
def test_an_error_that_is_raised_bare_says_its_message(error: type[WebhooksError]) -> None:
    assert str(error()) == error.message
    assert str(error("Something of its own.")) == "Something of its own."
