"""The OpenAPI 3.1 document, generated from the declarations of routes, with every event type under `webhooks`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from starlette_webhooks._version import __version__
from starlette_webhooks.event_types import EventTypes
from starlette_webhooks.openapi import event_webhooks
from starlette_webhooks.routes.components import components
from starlette_webhooks.routes.operations import Operation
from starlette_webhooks.routes.parameters import TICKET
from starlette_webhooks.routes.services import Access

if TYPE_CHECKING:
    from starlette_webhooks.settings import WebhooksSettings

__all__ = ["OpenAPIDocument", "build_document"]

_DESCRIPTION = (
    "Events as a list and as a stream, and the endpoints that they are delivered to as signed webhooks. Authenticate "
    "with `Authorization: Bearer <key>`; in browsers, the session also counts. Parameters and fields that a route does "
    "not know are refused. Times are in RFC 3339, with their offset from UTC."
)


class OpenAPIDocument:
    """The document of a `Webhooks`. It is built and encoded once, at the first request for it."""

    def __init__(self, operations: Sequence[Operation], event_types: EventTypes, settings: WebhooksSettings) -> None:
        self._operations = operations
        self._event_types = event_types
        self._scopes: Mapping[Access, str] = {"read": settings.read_scope, "write": settings.write_scope}
        self._title = settings.portal_brand
        self._encoded = b""
        self._rendered: tuple[str, bytes] = ("", b"")

    def render(self, server: str) -> bytes:
        """Return the document for routes at this server: a path, which works on any host, or a URL."""
        if not self._encoded:
            document = build_document(self._operations, self._event_types, scopes=self._scopes, title=self._title)
            self._encoded = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        # One copy for all responses, as the server hardly ever changes.
        if self._rendered[0] != server:
            servers = json.dumps([{"url": server}]).encode()
            self._rendered = (server, b'{"servers":%b,%b' % (servers, self._encoded[1:]))
        return self._rendered[1]


def build_document(
    operations: Sequence[Operation], event_types: EventTypes, *, scopes: Mapping[Access, str], title: str = "Webhooks"
) -> dict[str, Any]:
    """Build the document without `servers`, which depends on the request.

    Args:
        scopes: The names of the scopes `read` and `write`.
    """
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation, scopes)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": __version__, "description": _DESCRIPTION},
        "paths": paths,
        "webhooks": event_webhooks(event_types),
        "components": components(operations, list(event_types)),
    }


def _describe(operation: Operation, scopes: Mapping[Access, str]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": [_ref("parameters", parameter.key or parameter.name) for parameter in operation.parameters],
        "responses": _responses(operation),
        "security": [],
    }
    if operation.body is not None:
        schema = _ref("schemas", operation.body.__name__)
        required = any(field.is_required() for field in operation.body.model_fields.values())
        described["requestBody"] = {"required": required, "content": {"application/json": {"schema": schema}}}
    if operation.scope is not None:
        scope = scopes[operation.scope]
        described["description"] = f"Requires the scope `{scope}`."
        described["security"] = [{"key": [scope]}, {"session": [scope]}]
    if TICKET in operation.parameters:
        described["security"].append({"ticket": []})
    return described


def _responses(operation: Operation) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": f"{operation.summary}."}
    html = operation.answer == "text/html"
    if "/" in operation.answer:
        answer["content"] = {operation.answer: {"schema": {"type": "string"}}}
    elif operation.answer:
        answer["content"] = {"application/json": {"schema": _ref("schemas", operation.answer)}}
    errors = {str(code): _ref("responses", f"{code}{'Page' if html else ''}") for code in _errors_of(operation)}
    return {str(operation.status): answer, **errors}


def _errors_of(operation: Operation) -> list[int]:
    found = {*operation.errors}
    if operation.answer == "text/html":
        found |= {401, 403, 503}
    elif operation.scope is not None:
        found |= {400, 401, 403, 429, 503}
    if re.search(r"{\w+}", operation.path):
        found.add(404)
    if operation.body is not None:
        found |= {408, 413, 422}
    return sorted(found)


def _ref(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}
