"""One small host in each framework, with the same routes: they emit in every way that a host can."""

from __future__ import annotations

from tests.integrations.fastapi_host import fastapi
from tests.integrations.hosting import Host
from tests.integrations.litestar_host import litestar
from tests.integrations.starlette_host import starlette

__all__ = ["HOSTS"]

HOSTS: dict[str, Host] = {"starlette": starlette, "fastapi": fastapi, "litestar": litestar}
