"""The routes hold to their OpenAPI document, by calls that Schemathesis generates from it against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings, strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    missing_required_header,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from starlette_webhooks.routes import OPERATIONS
from tests.hosts import MOUNT, bearer
from tests.servers import Server, serving

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    missing_required_header,
    unsupported_method,
    allow_header_conformance,
]
ACME = bearer("acme")
# The stream does not end, and the document takes nothing that could be wrong.
GENERATED = [
    (mode, method, path)
    for mode in schemathesis.GenerationMode
    for method, path in [(operation.method, operation.path) for operation in OPERATIONS]
    if path != "/events/stream" and (path != "/openapi.json" or mode is schemathesis.GenerationMode.POSITIVE)
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory: Path = tmp_path_factory.mktemp("generated")
    with serving(directory, endpoints_per_tenant="10000", deliver="false") as server:
        yield server


@pytest.fixture(scope="module")
def schema(server: Server) -> Any:
    return schemathesis.openapi.from_url(f"{server.url}{MOUNT}/openapi.json")


@pytest.mark.parametrize(("mode", "method", "path"), GENERATED)
def test_generated_calls_are_answered_as_documented(
    server: Server, schema: Any, mode: schemathesis.GenerationMode, method: str, path: str
) -> None:
    base = f"{server.url}{MOUNT}"
    event = httpx.post(f"{base}/test", headers=ACME).json()["id"]
    endpoint = httpx.post(f"{base}/endpoints", headers=ACME, json={"url": "http://127.0.0.1:9/hook"}).json()["id"]
    ids = {"id": endpoint if path.startswith("/endpoints") else event, "endpoint": endpoint}

    @settings(max_examples=8, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(schema[path][method].as_strategy(mode), st.booleans())
    def call(case: schemathesis.Case[Any], exists: bool) -> None:
        if exists and mode is schemathesis.GenerationMode.POSITIVE:
            case.path_parameters.update({name: ids[name] for name in case.path_parameters})
        # Starlette's mounts do not match a line break: then the host answers, not we.
        assume(not any("\n" in unquote(str(value)) for value in case.path_parameters.values()))
        response = case.call(headers=ACME)
        case.validate_response(response, checks=CHECKS)

    call()
