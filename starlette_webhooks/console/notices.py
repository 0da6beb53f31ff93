"""What an action did, for the page that it leads to.

The notice is in the address, because any process may serve that page. It is signed, so that nobody can write one into a
link, and only the operator who acted sees it, for a minute.
"""

from __future__ import annotations

from starlette.responses import Response

from starlette_webhooks.console.visit import Visit
from starlette_webhooks.tokens import read_token, sign_token

__all__ = ["find_done", "lead_to"]

_SECONDS = 60


async def lead_to(visit: Visit, *page: str, done: str, count: int = 1) -> Response:
    """Return a redirect to a page, which then tells what was done.

    Args:
        done: What it was, as `find_done` returns it.
        count: To how many objects.
    """
    claims = {"done": done, "count": count, "exp": visit.clock() + _SECONDS}
    token = sign_token(await visit.backend.secret_keys(), _purpose(visit, page), claims)
    return visit.redirect(*page, done=token)


async def find_done(visit: Visit) -> tuple[str, int] | None:
    """Return what the last action did and to how many objects, for its page. None without an action."""
    token = visit.query("done")
    if not token:
        return None
    claims = read_token(await visit.backend.secret_keys(), _purpose(visit, visit.path), token, now=visit.clock())
    return None if claims is None else (claims["done"], claims["count"])


def _purpose(visit: Visit, page: tuple[str, ...]) -> str:
    return f"console notice {page!r} {visit.operator.name!r}"
