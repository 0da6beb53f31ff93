"""Tools for the tests of hosts."""

from __future__ import annotations
