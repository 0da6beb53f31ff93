"""The engines behind the façade."""

from __future__ import annotations
