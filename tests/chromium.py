"""The browser of the tests."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

__all__ = ["starting_chromium"]

_FLAGS = "no-sandbox disable-gpu disable-background-networking disable-component-update disable-sync no-first-run"
# A name over HTTP, which browsers trust less than an address of this machine.
_NAMES = "host-resolver-rules=MAP host.test 127.0.0.1"


@contextmanager
def starting_chromium() -> Generator[Browser]:
    """Chromium without a window. Its headless shell, where there is one, takes half the CPU of the whole browser."""
    found = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if found is None:
        pytest.skip("Chromium is not installed.")
    args = [f"--{flag}" for flag in (*_FLAGS.split(), _NAMES)]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=args)
        yield browser
        browser.close()
