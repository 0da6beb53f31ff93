"""Migrations of all stores: at startup or by a command, and with two versions of the package running."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.base import Store
from starlette_webhooks.stores.migrations import Migration
from starlette_webhooks.stores.postgresql import migrations as postgresql_migrations
from starlette_webhooks.stores.sqlite import migrations as sqlite_migrations
from tests.stores.conftest import OpenStore
from tests.stores.contract import add, claim, emit, ids, record


@pytest.fixture
def known(dialect: str) -> Sequence[Migration]:
    """The migrations of this version."""
    if dialect == "sqlite":
        return sqlite_migrations.package_migrations()
    return postgresql_migrations.package_migrations()


@pytest.fixture
def next_version(dialect: str, known: Sequence[Migration]) -> Sequence[Migration]:
    """The migrations of a next version that expands every table to which this one writes."""
    prefix = "" if dialect == "sqlite" else "webhooks."
    tables = ["event", "event_channel", "endpoint", "endpoint_secret", "subscription", "delivery", "attempt"]
    script = "".join(f"ALTER TABLE {prefix}{table} ADD COLUMN extra text;\n" for table in tables)
    script += f"CREATE TABLE {prefix}extra (name text);"
    version = known[-1].version
    return [*known, Migration(version + 1, version, script)]


def test_versions_have_a_script_each_in_order(known: Sequence[Migration]) -> None:
    first = known[0].version
    assert [one.version for one in known] == list(range(first, first + len(known)))
    assert all(one.works_with <= one.version and one.script for one in known)


async def test_a_process_that_must_not_migrate_says_how_to_do_it(open_store: OpenStore) -> None:
    with pytest.raises(BackendUnavailable, match="no tables yet.*`starlette-webhooks migrate`.*`WEBHOOKS_MIGRATE"):
        async with open_store(migrates=False).lifespan():
            pass
    async with open_store().lifespan():
        pass
    async with open_store(migrates=False).lifespan():
        pass


async def test_an_older_schema_is_not_migrated_by_a_process_that_must_not(
    open_store: OpenStore, next_version: Sequence[Migration]
) -> None:
    async with open_store().lifespan():
        pass
    with pytest.raises(BackendUnavailable, match=f"needs schema {next_version[-1].version}"):
        async with open_store(migrates=False, migrations=next_version).lifespan():
            pass


async def test_two_versions_work_side_by_side_while_hosts_are_deployed(
    open_store: OpenStore, next_version: Sequence[Migration]
) -> None:
    old, new = open_store(), open_store(migrations=next_version)
    async with old.lifespan():
        endpoint = await add(old)
        await emit(old)
        async with new.lifespan():
            # The old one continues with its open connections.
            await works(old, 2)
            await works(new, 3)
            await add(old)
            await old.rotate_secret("acme", endpoint.id, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            assert await old.delete_endpoint("acme", endpoint.id)
    # A process of the old version may also start.
    async with open_store().lifespan():
        pass


async def works(store: Store, events: int) -> None:
    """Emit, claim and record with one version, and check that the event is in the log."""
    await emit(store, channels=["eu"])
    deliveries = (await claim(store)).deliveries
    assert deliveries
    for one in deliveries:
        await record(store, one)
    assert len(await ids(store)) == events


async def test_a_schema_that_an_older_version_does_not_work_on_is_refused_by_it(
    open_store: OpenStore, known: Sequence[Migration]
) -> None:
    version = known[-1].version
    contracted: Any = [*known, Migration(version + 1, version + 1, "SELECT 1;")]
    async with open_store(migrations=contracted).lifespan():
        pass
    with pytest.raises(BackendUnavailable, match="Upgrade the package"):
        async with open_store().lifespan():
            pass
