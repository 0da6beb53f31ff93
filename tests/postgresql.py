"""A PostgreSQL server, a pgbouncer in front of it, and a slow network between them and the tests.

`WEBHOOKS_TEST_POSTGRESQL` is the URL of a server that is running already, as a superuser; otherwise one is started from
Debian's packages `postgresql` and `pgbouncer`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from tests.servers import free_port

__all__ = ["DelayingProxy", "PgBouncer", "PostgreSQL", "delaying", "find_binaries", "pooling", "starting_postgresql"]

_PASSWORD = "secret-of-tests"
_DEBIAN = Path("/usr/lib/postgresql")
_STARTUP_SECONDS = 30
_SESSIONS = "SELECT string_agg(pid::text, ',') FROM pg_stat_activity WHERE pid <> pg_backend_pid()"


def find_binaries() -> Path | None:
    """The directory of `initdb` and `postgres`, the newest version first."""
    versions = sorted(_DEBIAN.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]), reverse=True)
    if versions:
        return versions[0].parent
    on_path = shutil.which("postgres")
    return None if on_path is None else Path(on_path).resolve().parent


def _as_nobody(command: list[str]) -> list[str]:
    # The server refuses to run as root.
    if os.geteuid() != 0:
        return command
    return ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", *command]


def _give_away(directory: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(directory, "nobody", "nogroup")


def _verifier(password: str) -> str:
    """Return what the server stores of a password. Each connection repeats one iteration, instead of 4096."""
    salt = b"salt of the tests"
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    of_server = hmac.digest(salted, b"Server Key", "sha256")
    first, second, third = (base64.b64encode(part).decode() for part in (salt, stored, of_server))
    return f"SCRAM-SHA-256$1:{first}${second}:{third}"


class PostgreSQL:
    """A server for the tests. `url` is that of a superuser on TCP."""

    def __init__(self, binaries: Path, directory: Path) -> None:
        self._binaries = binaries
        self.directory = directory
        self.data = directory / "data"
        self.port = free_port()
        self.log = directory / "postgresql.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://tester:{_PASSWORD}@127.0.0.1:{self.port}/postgres"

    @property
    def _configuration(self) -> Path:
        return self.data / "postgresql.auto.conf"

    @property
    def _settings(self) -> dict[str, str]:
        return {
            "listen_addresses": "'127.0.0.1'",
            "port": str(self.port),
            "unix_socket_directories": f"'{self.directory}'",
            "max_connections": "200",
            # Each connection is a process, which takes longer to start with more memory.
            "shared_buffers": "'16MB'",
            "log_min_messages": "warning",
        }

    def create(self) -> None:
        """Create the data directory."""
        _give_away(self.directory)
        password = self.directory / "password"
        password.write_text(_PASSWORD)
        password.chmod(0o644)
        command = [str(self._binaries / "initdb"), "-D", str(self.data), "-U", "tester", "-A", "scram-sha-256"]
        command += ["-E", "UTF8", "--locale=C", "--no-sync", f"--pwfile={password}"]
        self._run(command)
        with self._configuration.open("w") as file:
            file.writelines(f"{name} = {value}\n" for name, value in self._settings.items())

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            _as_nobody(command), capture_output=True, text=True, check=False, cwd=self.directory, timeout=60
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed:\n{done.stdout}\n{done.stderr}")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                _as_nobody([str(self._binaries / "postgres"), "-D", str(self.data)]),
                stdout=output,
                stderr=output,
                cwd=self.directory,
                start_new_session=True,
            )
        end = time.monotonic() + _STARTUP_SECONDS
        ready = [str(self._binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        assert self._process is not None
        return self._process.pid

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server. SIGINT ends connections. SIGQUIT shuts down immediately, and the next start recovers."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def execute(self, *statements: str) -> None:
        """Run statements as a superuser."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def query(self, statement: str) -> Any:
        """Return the single value of a query."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(statement).fetchone()
        assert row is not None
        return row[0]

    def limit_files(self, size: int | None) -> None:
        """Limit the size of files that the server writes, as if the disk were full. None removes the limit."""
        pids = [self.pid, *(int(pid) for pid in self.query(_SESSIONS).split(","))]
        limit = "unlimited" if size is None else str(size)
        for pid in pids:
            self._run(["prlimit", f"--pid={pid}", f"--fsize={limit}:"])

    @contextmanager
    def tables_on(self, disk: Path) -> Generator[None]:
        """Create tables on another disk until the block ends, and drop what was created."""
        _give_away(disk)
        # Other users may not look into the directories of tests.
        for parent in disk.parents[:-1]:
            parent.chmod(parent.stat().st_mode | 0o111)
        self.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
        self.configure(default_tablespace="small")
        try:
            yield
        finally:
            self.execute("ALTER SYSTEM RESET default_tablespace", "SELECT pg_reload_conf()")
            self.execute("DROP SCHEMA IF EXISTS webhooks CASCADE", "DROP TABLESPACE small")

    def configure(self, **settings: str) -> None:
        """Change defaults of the server, also for existing sessions. `reset` restores them."""
        changes = [f"ALTER SYSTEM SET {name} = '{value}'" for name, value in settings.items()]
        self.execute(*changes, "SELECT pg_reload_conf()")

    def reset(self) -> None:
        """Restore the state after `create` and `start`."""
        if self._process is not None and self._process.poll() is not None:
            self._process = None
        if self._process is None:
            self.start()
        with self._configuration.open("w") as file:
            file.writelines(f"{name} = {value}\n" for name, value in self._settings.items())
        self.restart()
        self.execute("DROP SCHEMA IF EXISTS webhooks CASCADE")

    def save(self) -> None:
        """Save the current state of the server. Nothing may write meanwhile."""
        saved = self.directory / "saved"
        shutil.rmtree(saved, ignore_errors=True)
        self.execute("CHECKPOINT")
        self._run(["cp", "-a", str(self.data), str(saved)])
        (saved / "postmaster.pid").unlink()

    def restore(self) -> None:
        """Restart the server in the saved state, as after a restore from a backup."""
        self.stop()
        self._run(["rm", "-rf", str(self.data)])
        self._run(["cp", "-a", str(self.directory / "saved"), str(self.data)])
        self.start()

    def restart(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Restart the server, by default without closing connections first."""
        self.stop(how)
        self.start()


@contextmanager
def starting_postgresql(binaries: Path) -> Generator[PostgreSQL]:
    """Run a server until the block ends."""
    directory = Path(tempfile.mkdtemp(prefix="webhooks-postgresql-"))
    server = PostgreSQL(binaries, directory)
    try:
        server.create()
        server.start()
        server.execute(f"ALTER USER tester PASSWORD '{_verifier(_PASSWORD)}'")
        yield server
    finally:
        server.stop(signal.SIGQUIT)
        shutil.rmtree(directory, ignore_errors=True)


class PgBouncer:
    """A pooler in transaction mode, in front of the server with this URL."""

    def __init__(self, directory: Path, server_url: str) -> None:
        self.directory = directory
        self.port = free_port()
        self._server = urlsplit(server_url)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return the URL of the server's database through the pooler."""
        user, _, _ = self._server.netloc.rpartition("@")
        return urlunsplit(self._server._replace(netloc=f"{user}@127.0.0.1:{self.port}"))

    def create(self) -> None:
        """Write its configuration."""
        _give_away(self.directory)
        server = self._server
        users = self.directory / "users.txt"
        users.write_text(f'"{server.username}" "{server.password}"\n')
        (self.directory / "pgbouncer.ini").write_text(
            "[databases]\n"
            f"* = host={server.hostname} port={server.port}\n"
            "[pgbouncer]\n"
            "listen_addr = 127.0.0.1\n"
            f"listen_port = {self.port}\n"
            "unix_socket_dir =\n"
            "auth_type = scram-sha-256\n"
            f"auth_file = {users}\n"
            "pool_mode = transaction\n"
            "default_pool_size = 10\n"
            "server_login_retry = 1\n"
        )
        for path in self.directory.iterdir():
            path.chmod(0o644)

    def start(self) -> None:
        """Start the pooler and wait until it listens."""
        program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert program is not None
        with (self.directory / "pgbouncer.log").open("ab") as output:
            self._process = subprocess.Popen(
                _as_nobody([program, str(self.directory / "pgbouncer.ini")]),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        end = time.monotonic() + _STARTUP_SECONDS
        while True:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((self.directory / "pgbouncer.log").read_text()[-4000:])
            time.sleep(0.02)

    def stop(self) -> None:
        """Kill the pooler, and all connections with it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@contextmanager
def pooling(server_url: str) -> Generator[PgBouncer]:
    """Run a pooler in front of a server until the block ends."""
    directory = Path(tempfile.mkdtemp(prefix="webhooks-pgbouncer-"))
    pooler = PgBouncer(directory, server_url)
    try:
        pooler.create()
        pooler.start()
        yield pooler
    finally:
        pooler.stop()
        shutil.rmtree(directory, ignore_errors=True)


class DelayingProxy:
    """Forwards TCP with a delay in seconds each way. While it is `black`, it drops everything.

    Attributes:
        requests: How often a client has sent something.
        round_trips: How often a client has sent something after an answer, over all connections.
    """

    def __init__(self, target: tuple[str, int], delay: float) -> None:
        self.delay = delay
        self.black = False
        self.requests = 0
        self.round_trips = 0
        self._answered: set[socket.socket] = set()
        self._clients: set[socket.socket] = set()
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._late: deque[tuple[float, socket.socket, bytes]] = deque()
        self._woken, self._waker = socket.socketpair()
        self._ended = False
        self.port: int = self._listener.getsockname()[1]

    def run(self) -> None:
        """Forward until `close`."""
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        while not self._ended:
            wait = max(self._late[0][0] - time.monotonic(), 0) if self._late else None
            for key, _ in self._selector.select(wait):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is not self._woken:
                    assert isinstance(key.fileobj, socket.socket)
                    self._read(key.fileobj)
            while self._late and self._late[0][0] <= time.monotonic():
                _, to, data = self._late.popleft()
                self._write(to, data)
        for one in [*self._peers, self._listener, self._woken]:
            one.close()
        self._selector.close()

    def close(self) -> None:
        """End the proxy and its connections."""
        self._ended = True
        self._waker.close()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(self._target, 5)
        except OSError:
            client.close()
            return
        self._clients.add(client)
        for one, other in ((client, server), (server, client)):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._peers[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _read(self, one: socket.socket) -> None:
        if one not in self._peers:
            return
        try:
            data = one.recv(262_144)
        except OSError:
            data = b""
        self._count(one, data)
        if not self.black:
            self._late.append((time.monotonic() + self.delay, self._peers[one], data))
        if not data:
            self._selector.unregister(one)

    def _count(self, one: socket.socket, data: bytes) -> None:
        if one not in self._clients:
            self._answered.add(self._peers[one])
        elif data:
            self.requests += 1
            self.round_trips += one in self._answered
            self._answered.discard(one)

    def _write(self, to: socket.socket, data: bytes) -> None:
        if to not in self._peers:
            return
        try:
            if data:
                to.sendall(data)
                return
        except OSError:
            pass
        for one in (to, self._peers[to]):
            self._peers.pop(one, None)
            self._clients.discard(one)
            self._answered.discard(one)
            with suppress(KeyError, ValueError):
                self._selector.unregister(one)
            one.close()


@contextmanager
def delaying(server_url: str, delay: float) -> Generator[tuple[str, DelayingProxy]]:
    """Run a proxy in front of a server until the block ends. Also yields the URL of the server through the proxy."""
    server = urlsplit(server_url)
    proxy = DelayingProxy((server.hostname or "127.0.0.1", server.port or 5432), delay)
    thread = threading.Thread(target=proxy.run, daemon=True)
    thread.start()
    user, _, _ = server.netloc.rpartition("@")
    try:
        yield urlunsplit(server._replace(netloc=f"{user}@127.0.0.1:{proxy.port}")), proxy
    finally:
        proxy.close()
        thread.join(5)
