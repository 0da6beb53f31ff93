"""Measures what the library costs, compared with the alternatives. Run by `scripts/bench`."""

from __future__ import annotations
