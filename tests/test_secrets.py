"""No secret is in the `repr` of anything, where a log or a traceback would show it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import Field, fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from starlette_webhooks.backends.base import PortalAccess
from starlette_webhooks.bodies import EndpointCreation, Rotation, check_body
from starlette_webhooks.delivery.deliveries import LeasedDelivery
from starlette_webhooks.endpoints import Endpoint, EndpointChanges
from starlette_webhooks.exceptions import InvalidBody
from starlette_webhooks.signing import generate_secret
from tests.imports import modules_in
from tests.servers import ROOT

MODULES = [name for name in modules_in(ROOT, "starlette_webhooks") if not name.endswith("__main__")]
SECRET = generate_secret()
URL = "https://hooks.example.com/services/hunter2?token=hunter2"
HEADERS = {"Authorization": "Bearer hunter2"}
NOW = datetime(2026, 11, 23, tzinfo=UTC)

# Names of fields that contain secrets.
SECRET_NAMES = {"dsn", "headers", "key", "keys", "location", "password", "secret", "secrets", "token", "url"}
# Fields with such a name that contain no secret, and why.
HARMLESS = {
    "starlette_webhooks.client.objects.Endpoint.headers": "names of headers",
    "starlette_webhooks.delivery.client.Reply.headers": "two headers of a response",
    "starlette_webhooks.routes.parameters.Parameter.key": "a name in the OpenAPI document",
    "starlette_webhooks.testing.receiver.Delivery.headers": "what a test received",
}


def shown_fields() -> Iterator[tuple[str, Field[Any]]]:
    for name in MODULES:
        for kind in vars(importlib.import_module(name)).values():
            if isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == name:
                yield from ((f"{name}.{kind.__qualname__}.{each.name}", each) for each in fields(kind) if each.repr)


def test_fields_that_hold_secrets_are_left_out_of_the_repr() -> None:
    found = {place for place, each in shown_fields() if each.name in SECRET_NAMES}
    assert found == HARMLESS.keys()


VALUES: list[object] = [
    Endpoint(id="ep_1", tenant="acme", url=URL, headers=HEADERS, created_at=NOW, updated_at=NOW),
    EndpointChanges(url=URL, headers=HEADERS, secret=SECRET),
    check_body(EndpointCreation, {"url": URL, "headers": HEADERS, "secret": SECRET}),
    check_body(Rotation, {"key": SECRET}),
    PortalAccess("https://example.com/?token=hunter2", NOW),
    LeasedDelivery(
        id=1,
        event=1,
        endpoint=1,
        number=1,
        step=0,
        trigger="scheduled",
        lease=0,
        event_id="msg_1",
        event_type="a.b",
        payload=b"hunter2",
        tenant="acme",
        endpoint_id="ep_1",
        url=URL,
        headers=HEADERS,
        secrets=(SECRET,),
    ),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_the_repr_of_a_value_shows_none_of_its_secrets(value: object) -> None:
    shown = repr(value)
    assert "hunter2" not in shown
    assert SECRET not in shown
    assert type(value).__name__ in shown


def test_an_error_about_a_body_repeats_none_of_its_secrets() -> None:
    given = {"url": URL, "headers": HEADERS, "secret": SECRET, "rateLimit": "hunter2"}
    with pytest.raises(InvalidBody) as caught:
        check_body(EndpointCreation, given)
    assert isinstance(caught.value.__cause__, ValidationError)
    for error in (caught.value, caught.value.__cause__):
        assert "hunter2" not in str(error) + repr(error)
