"""What the library costs, beside what one would use instead. Run by `scripts/bench`."""

from __future__ import annotations
