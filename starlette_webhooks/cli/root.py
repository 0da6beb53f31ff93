"""The root command, with its options and exit statuses."""

from __future__ import annotations

from collections.abc import Sequence

import click

from starlette_webhooks._version import __version__
from starlette_webhooks.cli.adopting import adopt, adopt_outbox
from starlette_webhooks.cli.auditing import writing_audit_log
from starlette_webhooks.cli.backups import backup, restore
from starlette_webhooks.cli.checking import check
from starlette_webhooks.cli.dead_letters import dead_letters
from starlette_webhooks.cli.encrypting import encrypt
from starlette_webhooks.cli.endpoints import disable, enable, endpoints
from starlette_webhooks.cli.events import events
from starlette_webhooks.cli.listening import listen
from starlette_webhooks.cli.maintaining import erase, prune, sync
from starlette_webhooks.cli.migrating import migrate
from starlette_webhooks.cli.moving import move
from starlette_webhooks.cli.resending import resend
from starlette_webhooks.cli.status import status
from starlette_webhooks.cli.tailing import tail
from starlette_webhooks.cli.target import Target
from starlette_webhooks.cli.triggering import trigger
from starlette_webhooks.cli.undelivered import retry, undelivered

__all__ = ["root", "run"]

_INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--database",
    metavar="PATH_OR_URL",
    envvar="WEBHOOKS_DATABASE",
    show_envvar=True,
    help="A SQLite file, or the URL of a PostgreSQL database. In the variable, a password stays out of the list of "
    "processes.",
)
@click.option(
    "--app",
    metavar="MODULE:WEBHOOKS",
    help="Your `Webhooks` object, such as `shop.main:webhooks`, for its settings and event types.",
)
@click.option(
    "--audit-log",
    metavar="FILE",
    envvar="WEBHOOKS_AUDIT_LOG",
    show_envvar=True,
    help="Append what this command changes or discloses to this file.",
)
@click.version_option(__version__, prog_name="starlette-webhooks")
@click.pass_context
def root(context: click.Context, database: str | None, app: str | None, audit_log: str | None) -> None:
    """Operate starlette_webhooks and its database. Other settings are read from the environment, as in the app."""
    context.with_resource(writing_audit_log(audit_log))
    context.obj = Target(database, app)


_OPERATING = (status, endpoints, events, undelivered, retry, dead_letters, disable, enable, erase, prune, sync)
_ADMINISTERING = (check, backup, restore, migrate, move, adopt, adopt_outbox, encrypt)
_CONSUMING = (listen, tail, resend, trigger)

for command in (*_OPERATING, *_ADMINISTERING, *_CONSUMING):
    root.add_command(command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status."""
    try:
        status = root.main(arguments, prog_name="starlette-webhooks", standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return _INTERRUPTED
    return status if isinstance(status, int) else 0
