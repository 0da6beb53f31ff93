"""Endpoints and their secrets, on every backend."""

from __future__ import annotations

import pytest

from starlette_webhooks.endpoints import EndpointChanges
from starlette_webhooks.exceptions import Conflict
from tests.backends.contract.support import KEY, URL, MakeBackend, create, running


async def test_an_endpoint_is_created_changed_and_deleted(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        made = await create(
            backend,
            description="mine",
            event_types=("invoice.paid",),
            channels=("eu",),
            rate_limit=7,
            metadata={"team": "billing"},
            headers={"X-Team": "billing"},
            secret=KEY,
        )
        found = await backend.get_endpoint("acme", made.id)
        assert found is not None
        assert (found.url, found.description, found.event_types, found.channels) == (
            URL,
            "mine",
            ("invoice.paid",),
            ("eu",),
        )
        assert (found.rate_limit, found.metadata, list(found.headers)) == (7, {"team": "billing"}, ["X-Team"])
        assert (found.tenant, found.disabled) == ("acme", False)
        changes = EndpointChanges(event_types=(), channels=(), rate_limit=None, disabled=True, metadata={})
        changed = await backend.update_endpoint("acme", made.id, changes)
        assert changed is not None
        assert (changed.event_types, changed.channels, changed.rate_limit, changed.metadata) == ((), (), None, {})
        assert (changed.disabled, changed.description) == (True, "mine")
        assert await backend.delete_endpoint("acme", made.id)
        assert not await backend.delete_endpoint("acme", made.id)
        assert await backend.get_endpoint("acme", made.id) is None


async def test_endpoints_are_listed_newest_first_in_pages_up_to_the_limit(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        made = [(await create(backend)).id for _ in range(4)]
        first = await backend.list_endpoints("acme", limit=3, cursor=None)
        rest = await backend.list_endpoints("acme", limit=3, cursor=first.next_cursor)
        listed = [endpoint.id for endpoint in [*first.items, *rest.items]]
        assert sorted(listed) == sorted(made)
        assert (first.done, rest.done, rest.next_cursor) == (False, True, None)
        with pytest.raises(Conflict) as conflict:
            await create(backend)
        assert conflict.value.code == "endpoint_limit"
        await create(backend, "globex")


async def test_a_secret_is_kept_given_and_rotated(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        given = await create(backend, secret=KEY)
        assert await backend.get_secret("acme", given.id) == KEY
        random = await create(backend)
        before = await backend.get_secret("acme", random.id)
        assert before is not None
        assert before.startswith("whsec_")
        rotated = await backend.rotate_secret("acme", random.id, None)
        assert rotated not in (None, before)
        assert await backend.get_secret("acme", random.id) == rotated
        assert await backend.rotate_secret("acme", random.id, KEY) == KEY


async def test_a_rotation_to_the_same_secret_is_a_conflict(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        endpoint = await create(backend, secret=KEY)
        with pytest.raises(Conflict) as conflict:
            await backend.rotate_secret("acme", endpoint.id, KEY)
        assert conflict.value.code == "same_secret"


async def test_too_many_concurrent_rotations_are_a_conflict(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        endpoint = await create(backend)
        with pytest.raises(Conflict) as conflict:
            for _ in range(15):
                await backend.rotate_secret("acme", endpoint.id, None)
        assert conflict.value.code == "too_many_secrets"


async def test_header_values_do_not_follow_an_endpoint_to_another_origin(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        for url in ("https://93.184.215.14:8443/hooks", "http://93.184.215.14/hooks", "https://1.1.1.1/"):
            endpoint = await create(backend, headers={"Authorization": "Bearer secret"})
            moved = await backend.update_endpoint("acme", endpoint.id, EndpointChanges(url=url))
            assert moved is not None
            assert (moved.url, moved.headers) == (url, {})
            back = await backend.update_endpoint("acme", endpoint.id, EndpointChanges(url=URL))
            assert back is not None
            assert back.headers == {}


async def test_headers_stay_on_the_same_origin_and_may_be_given_for_another(make_backend: MakeBackend) -> None:
    async with running(make_backend) as backend:
        endpoint = await create(backend, headers={"X-Team": "billing"})
        same = EndpointChanges(url="https://93.184.215.14:443/elsewhere?a=b")
        stayed = await backend.update_endpoint("acme", endpoint.id, same)
        assert stayed is not None
        assert list(stayed.headers) == ["X-Team"]
        given = EndpointChanges(url="https://1.1.1.1/", headers={"X-Other": "new"})
        moved = await backend.update_endpoint("acme", endpoint.id, given)
        assert moved is not None
        assert list(moved.headers) == ["X-Other"]
        assert await backend.update_endpoint("globex", endpoint.id, given) is None
