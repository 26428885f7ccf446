"""A database server and a Valkey for a test session, with a migrated template to copy databases from.

The processes of a parallel run share servers: see `tests/support/shared_servers.py`.
"""

import itertools
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from app.launcher.pgfiles import number_in
from app.launcher.postgres import EmbeddedPostgres
from app.launcher.valkey import EmbeddedValkey
from tests.support import reaper
from tests.support.bounds import with_bounds
from tests.support.databases import ENGINE, MariaDB, SQLiteFiles, database_server
from tests.support.fork_server import ForkServers

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = "migrated"
ROOM_IN_MEMORY = 4 << 30
# Files are copied instead of logged, and what a server keeps for a crash stays small.
# Shared memory in files of its directory: a server that is killed leaves nothing elsewhere.
SMALL = {"max_wal_size": "256MB", "min_wal_size": "80MB", "dynamic_shared_memory_type": "mmap"}
IN_PROCESS_BROKER = 0
BROKERS = range(1, 16)  # a Valkey has 16 numbered databases; 0 is the one of in-process tests
SECRET_KEY = "only-for-tests-0123456789abcdef0123456789abcdef"


class SharedPostgres(EmbeddedPostgres):
    """A server that another process of this run has started in the same directory."""

    def start(self) -> Self:
        self._password = (self.directory / "password").read_text(encoding="ascii")
        self.port = number_in(self.directory / "port") or 0
        return self

    def stop(self, *_: object, **__: object) -> None:
        """It belongs to the process that has started it."""

    @property
    def pid(self) -> int:
        return number_in(self.data / "postmaster.pid") or 0


class Services:
    """`start()`, then databases and broker numbers for each test; `stop()` leaves nothing behind, not even files.

    Databases are copied from the template, 20 ms each, since truncation could hit whatever happens to be configured.
    """

    def __init__(self, *, durable: bool = False, shared: Path | None = None) -> None:
        """`durable`: what PostgreSQL has committed is on disk, so a test may kill it. `shared`: the directory of a
        database server that another process has started, with the template.
        """
        self.directory = new_directory()
        self.mark = secrets.token_hex(8)
        # A server that is shared has databases of other processes too.
        prefix = f"test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}" if shared else "test"
        self._names = (f"{prefix}_{number}" for number in itertools.count(1))
        self._brokers = itertools.cycle(BROKERS)
        self._shared = shared
        if ENGINE != "postgresql":
            self.other = database_server(ENGINE, shared or self.directory / ENGINE, durable=durable)
        elif shared:
            self.postgres: EmbeddedPostgres = SharedPostgres(shared)
        else:
            self.postgres = EmbeddedPostgres(self.directory / "postgres", durable=durable, settings=SMALL)
        self.valkey = EmbeddedValkey(self.directory / "valkey", settings={"appendonly": "no"})

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> Self:
        self._start_reaper()
        self._outer_mark = os.environ.get(reaper.VARIABLE)
        ForkServers.begin(self.mark, self.directory)
        os.environ[reaper.VARIABLE] = self.mark  # every process started from now on inherits it
        try:
            self.valkey.start()
            if ENGINE == "postgresql":
                self.postgres.start()
            elif self._shared:
                self.other.attach()
            else:
                self.other.start()
            if not self._shared:
                make_template(self.database)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        ForkServers.end(self.mark)
        self.valkey.stop()
        if not self._shared:
            self.database.stop(grace=5)
        if self._outer_mark is None:
            os.environ.pop(reaper.VARIABLE, None)
        else:
            os.environ[reaper.VARIABLE] = self._outer_mark
        shutil.rmtree(self.directory, ignore_errors=True)

    def clear_up(self) -> list[str]:
        """After `stop`: end what still runs of all that was started, and the reaper; the survivors, described."""
        survivors = [reaper.describe(pid) for pid in reaper.marked(self.mark)]
        reaper.dismiss(self.mark, self._reaper)
        return survivors

    def clear_up_or_raise(self) -> None:
        """`clear_up`. Raises RuntimeError that names the survivors."""
        if survivors := self.clear_up():
            raise RuntimeError(left_behind(survivors))

    def _start_reaper(self) -> None:
        # `clear_up` closes its standard input, or else the kernel, however this process ends.
        self._reaper = reaper.start(self.mark, self.directory)

    @property
    def database(self) -> EmbeddedPostgres | MariaDB | SQLiteFiles:
        """The server of the engine on which this session runs."""
        return self.postgres if ENGINE == "postgresql" else self.other

    # -- databases ---------------------------------------------------------------------------------------------------

    def _execute(self, statement: str) -> None:
        engine = create_engine(sqlalchemy_url(self.postgres.url_for("postgres")), poolclass=NullPool)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(statement))

    def new_database(self, template: str = TEMPLATE) -> str:
        """The name of a fresh copy of the template; `template="template1"` gives an empty one."""
        name = next(self._names)
        if ENGINE != "postgresql":
            self.other.new_database(name, None if template == "template1" else template)
            return name
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return name

    def drop_database(self, name: str) -> None:
        if ENGINE != "postgresql":
            self.other.drop_database(name)
            return
        self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    @contextmanager
    def refusing(self, name: str) -> Iterator[None]:
        """All connections to this database end, and it accepts none."""
        self._execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            self._execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
            yield
        finally:
            self._execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

    def database_url(self, name: str) -> str:
        return self.database.url_for(name)

    # -- brokers -----------------------------------------------------------------------------------------------------

    def new_broker(self) -> str:
        """The URL of an empty numbered database."""
        return self.flushed_broker(next(self._brokers))

    def flushed_broker(self, number: int = IN_PROCESS_BROKER) -> str:
        url = self.valkey.url_for(number)
        with redis.Redis.from_url(url) as connection:
            connection.flushdb()
        return url


def make_template(server: EmbeddedPostgres | MariaDB | SQLiteFiles) -> None:
    """The migrated database of which each test gets a copy."""
    if isinstance(server, EmbeddedPostgres):
        migrate(server.create_database(TEMPLATE))
    else:
        server.new_database(TEMPLATE, None)
        migrate(server.url_for(TEMPLATE))


def new_directory() -> Path:
    """For servers, in memory where there is room: to copy a database makes 300 files, 0.2 s on a disk and 0.02 s there."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM_IN_MEMORY
    return Path(tempfile.mkdtemp(prefix="task-service-test-", dir=memory if roomy else None))


def sqlalchemy_url(url: str) -> str:
    """SQLAlchemy 2.1 would read a plain `postgresql://` as psycopg 3."""
    return url.replace("postgresql://", "postgresql+psycopg2://", 1)


def environment(database_url: str, broker_url: str, **more: str) -> dict[str, str]:
    """The settings of a part under test: nothing of the developer's own, whatever `.env` or shell says."""
    named = {"DATABASE_URL": database_url, "CELERY_BROKER_URL": broker_url, "SECRET_KEY": SECRET_KEY}
    # All users of a test come from one address.
    roomy = {"REGISTRATIONS_PER_ADDRESS": "100000"}
    # The tests of the pages turn them on: hundreds of processes would pay for them at their start.
    return {**named, "APP_ENV": "development", "WEB_UI": "false", **roomy, **more}


def process_environment(settings: dict[str, str]) -> dict[str, str]:
    """A whole environment for a child process: the system's variables, our import path, these settings."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", reaper.VARIABLE)
    passed = ("COVERAGE_", "OPENBLAS_")
    system = {k: v for k, v in os.environ.items() if k in kept or k.startswith(passed)}
    return {**system, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **with_bounds(settings)}


def left_behind(survivors: Iterable[str]) -> str:
    return "\n".join(["processes left behind:", *survivors])


def migrate(database_url: str) -> None:
    """What a deployment does: alembic in a process of its own, since its env.py reconfigures logging."""
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "-c", str(ROOT / "alembic.ini"), "upgrade", "head"],
        env=process_environment(environment(database_url, "memory://")),
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"alembic upgrade head failed:\n{done.stdout}{done.stderr}")
