"""A MariaDB server for the tests, of Debian's package `mariadb-server`."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.eventually import wait_for
from tests.servers import free_port

__all__ = ["is_installed", "starting_mariadb"]


def is_installed() -> bool:
    """Return whether there is a server to start."""
    return shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is not None


@contextmanager
def starting_mariadb() -> Generator[str]:
    """Run a server until the block ends. Yields the URL of an empty database for SQLAlchemy."""
    directory = Path(tempfile.mkdtemp(prefix="webhooks-mariadb-"))
    if os.geteuid() == 0:
        # The server refuses to run as root.
        shutil.chown(directory, "mysql")
    data, socket, port = directory / "data", directory / "socket", free_port()
    user = ["--user=mysql"] if os.geteuid() == 0 else []
    # Its temporary files belong to another user, too.
    environment = {**os.environ, "TMPDIR": str(directory)}
    install = ["mariadb-install-db", *user, f"--datadir={data}", "--auth-root-authentication-method=normal"]
    subprocess.run([*install, "--skip-test-db"], check=True, capture_output=True, timeout=60, env=environment)
    command = ["mariadbd", *user, f"--datadir={data}", f"--socket={socket}", f"--port={port}"]
    command += ["--bind-address=127.0.0.1", "--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=2"]
    with (
        (directory / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=environment) as server,
    ):
        try:
            ping = ["mariadb-admin", f"--socket={socket}", "--user=root", "ping"]
            wait_for(lambda: subprocess.run(ping, capture_output=True, check=False).returncode == 0, 30)
            statements = (
                "CREATE DATABASE shop; CREATE USER app@'127.0.0.1' IDENTIFIED BY 'secret'; "
                "GRANT ALL ON shop.* TO app@'127.0.0.1'"
            )
            subprocess.run(["mariadb", f"--socket={socket}", "--user=root", "-e", statements], check=True, timeout=30)
            yield f"mysql+pymysql://app:secret@127.0.0.1:{port}/shop"
        finally:
            server.kill()
    shutil.rmtree(directory, ignore_errors=True)
