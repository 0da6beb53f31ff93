"""With the rights that the documentation names, one role owns the schema, and another one only runs on it."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest

from starlette_webhooks.exceptions import BackendUnavailable
from starlette_webhooks.stores.postgresql.migrations import grant, migrate
from starlette_webhooks.stores.postgresql.store import PostgreSQLStore
from tests.stores.contract import add, attempt, attempts, claim, emit, ids, moment, recover

PAGE = Path(__file__).parents[3] / "docs" / "backends" / "postgresql.md"


@dataclass(frozen=True)
class Roles:
    """Two roles that may only connect, and their URLs."""

    owner: str
    runner: str
    owner_url: str
    runner_url: str


@pytest.fixture
def roles(postgresql_url: str, postgresql_schema: str) -> Generator[Roles]:
    """The roles, and an empty schema that the first one owns."""
    unique = uuid4().hex[:8]
    owner, runner = f"owner_{unique}", f"runner_{unique}"
    server = urlsplit(postgresql_url)

    def url(role: str) -> str:
        return urlunsplit(server._replace(netloc=f"{role}:p@{server.hostname}:{server.port}"))

    with psycopg.connect(postgresql_url, autocommit=True) as admin:
        for role in (owner, runner):
            admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'p'")
        admin.execute(f"CREATE SCHEMA {postgresql_schema} AUTHORIZATION {owner}")
        # As in hardened databases, functions may only be called if that is granted.
        admin.execute(f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
        yield Roles(owner, runner, url(owner), url(runner))
        admin.execute(f"DROP SCHEMA {postgresql_schema} CASCADE")
        admin.execute(f"DROP OWNED BY {owner}, {runner}")
        admin.execute(f"DROP ROLE {owner}, {runner}")


async def works(url: str, schema: str) -> None:
    """Do everything that a process does with the database."""
    store = PostgreSQLStore(url, schema=schema, migrates=False, environment="production")
    async with store.lifespan():
        endpoint = await add(store)
        event = await emit(store, channels=["eu"], event_id="order-1")
        await attempt(store, 500)
        assert len(await attempts(store)) == 1
        await store.rotate_secret("acme", endpoint.id, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        assert await recover(store, endpoint, since=60_000) is not None
        assert await store.resend("acme", event.id, endpoint.id)
        await store.release((await claim(store)).deliveries, due=store.now())
        await store.read_meta("secret_key", b"key")
        await store.write_meta("a", b"value")
        await store.drop_meta("a", "b")
        await store.prune(moment(store))
        assert await ids(store) == [event.id]
        await store.erase("acme")


async def test_a_role_that_only_runs_can_do_all_that_a_process_does(roles: Roles, postgresql_schema: str) -> None:
    with psycopg.connect(roles.owner_url, autocommit=True) as owner:
        migrate(owner, postgresql_schema)
        grant(owner, postgresql_schema, roles.runner)
    await works(roles.runner_url, postgresql_schema)


async def test_the_grants_of_the_documentation_are_enough(roles: Roles, postgresql_schema: str) -> None:
    (sql,) = re.findall(r"```sql\n(GRANT USAGE ON SCHEMA.*?)```", PAGE.read_text(), re.DOTALL)
    with psycopg.connect(roles.owner_url, autocommit=True) as owner:
        migrate(owner, postgresql_schema)
        owner.execute(sql.replace("webhooks", postgresql_schema).replace("shop", roles.runner))
    await works(roles.runner_url, postgresql_schema)


async def test_a_role_that_only_runs_changes_no_schema(roles: Roles, postgresql_schema: str) -> None:
    with psycopg.connect(roles.owner_url, autocommit=True) as owner:
        migrate(owner, postgresql_schema)
        grant(owner, postgresql_schema, roles.runner)
    with psycopg.connect(roles.runner_url, autocommit=True) as runner:
        for statement in (
            f"CREATE TABLE {postgresql_schema}.more (n int)",
            f"ALTER TABLE {postgresql_schema}.event ADD COLUMN more int",
            f"DROP TABLE {postgresql_schema}.event",
            f"UPDATE {postgresql_schema}.migration SET version = 99",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                runner.execute(statement)


async def test_a_role_without_the_right_to_migrate_gets_the_remedy(roles: Roles, postgresql_schema: str) -> None:
    with pytest.raises(BackendUnavailable, match="denied.*`starlette-webhooks migrate` as the role that owns"):
        async with PostgreSQLStore(roles.runner_url, schema=postgresql_schema).lifespan():
            pass
