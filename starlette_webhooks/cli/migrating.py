"""`starlette-webhooks migrate`."""

from __future__ import annotations

import click

from starlette_webhooks.audit import record
from starlette_webhooks.cli.auditing import command_actor
from starlette_webhooks.cli.output import Output
from starlette_webhooks.cli.target import Target, subcommand
from starlette_webhooks.stores.migrations import Migration

__all__ = ["migrate"]


@subcommand
@click.option("--grant", "roles", multiple=True, metavar="ROLE", help="PostgreSQL: let this role use the schema.")
def migrate(target: Target, output: Output, roles: tuple[str, ...]) -> None:
    """Migrate the schema.

    Processes of the previous version continue to work with the new schema, so run this before you deploy the new
    version. Does nothing if the schema is current.
    """
    administration = target.administration
    made: list[int] = []

    def applied(migration: Migration) -> None:
        made.append(migration.version)
        output.note(f"Version {migration.version} is in place.")

    found = administration.migrate(applied)
    where, actor = administration.where, command_actor()
    if made:
        record("database.migrated", "", actor, database=where, version=str(found.version))
    for role in roles:
        administration.grant(role)
        record("database.granted", "", actor, database=where, role=role)
    text = f"{where} has schema {found.version}."
    if roles:
        text += f" {', '.join(roles)} may use it."
    output.result({"version": found.version, "applied": made, "granted": list(roles)}, text)
