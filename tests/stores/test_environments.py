"""A database belongs to an environment, so that a dump of production calls no endpoints from staging."""

from __future__ import annotations

import pytest

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.settings import WebhooksSettings
from starlette_webhooks.stores.administrations import administration_of
from starlette_webhooks.stores.base import Store
from tests.settings import make_settings
from tests.stores.conftest import OpenStore
from tests.stores.contract import add, due, emit, ids


@pytest.fixture
def settings(request: pytest.FixtureRequest, dialect: str, open_store: OpenStore) -> WebhooksSettings:
    """The settings of the database of this test."""
    if dialect == "sqlite":
        return make_settings(request.getfixturevalue("tmp_path"))
    schema = request.getfixturevalue("postgresql_schema")
    return make_settings(database=request.getfixturevalue("postgresql_url"), database_schema=schema)


async def opens(store: Store) -> None:
    """The app starts on it."""
    async with store.lifespan():
        pass


async def test_a_database_is_bound_to_the_first_environment_and_refused_by_any_other(open_store: OpenStore) -> None:
    await opens(open_store())
    await opens(open_store(environment="production"))
    await opens(open_store(environment="production"))
    with pytest.raises(
        BackendUnavailable, match=r"^The \w+ .* belongs to the environment 'production'.*runs in 'staging'.*adopt"
    ):
        await opens(open_store(environment="staging"))
    # Staging does not need its name for that.
    with pytest.raises(BackendUnavailable, match="names no environment"):
        await opens(open_store())


async def test_an_adopted_copy_delivers_nothing_and_keeps_its_events(
    open_store: OpenStore, settings: WebhooksSettings
) -> None:
    store = open_store(environment="production")
    async with store.lifespan():
        endpoint = await add(store)
        event = await emit(store)
        assert await due(store)
    adopted = administration_of(settings).adopt("staging", keep=False)
    assert (adopted.before, adopted.endpoints, adopted.deliveries) == ("production", 1, 1)
    store = open_store(environment="staging")
    async with store.lifespan():
        found = await store.get_endpoint("acme", endpoint.id)
        assert found is not None
        assert (found.disabled, found.disabled_reason) == (True, "manual")
        assert await ids(store) == [event.id]
        await emit(store)
        assert await due(store) == {}


async def test_an_environment_is_renamed_with_its_backlog(open_store: OpenStore, settings: WebhooksSettings) -> None:
    store = open_store(environment="production")
    async with store.lifespan():
        await add(store)
        await emit(store)
    adopted = administration_of(settings).adopt(None, keep=True)
    assert (adopted.before, adopted.endpoints, adopted.deliveries) == ("production", 0, 0)
    store = open_store()
    async with store.lifespan():
        assert await due(store)
