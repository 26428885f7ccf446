"""What the sections share: the servers, one API process, the comparators, each started when a section first asks."""

import asyncio
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import psycopg2
import redis

from app.launcher.ports import free_loopback_port
from app.launcher.postgres import EmbeddedPostgres
from app.launcher.valkey import EmbeddedValkey
from tests.performance.comparators import handwritten_table
from tests.performance.load import Endpoint, Measured, measure
from tests.performance.processes import CpuMeter
from tests.performance.scenario import Account, sign_in
from tests.performance.sizes import Size
from tests.support.bounds import bounded
from tests.support.loopback import Address, loopback
from tests.support.services import Services, process_environment
from tests.support.stack import Part, Stack
from tests.support.waiting import wait_for

try:
    from uvloop import new_event_loop
except ImportError:
    from asyncio import new_event_loop  # type: ignore[assignment]

RAW_APP = "tests.performance.comparators.raw"
SECRET = "of-the-handwritten-endpoint-0123456789abcdef"
TASK_MODULES = {"TASK_MODULES": '["tests.support.measured_tasks"]'}
# Quotas are checked, and not met: nothing runs what is submitted.
# One account logs in again and again.
LOGINS = bounded({"app.services.accounts.login_throttle": {"LOGINS_PER_ACCOUNT": 10**9, "LOGINS_PER_ADDRESS": 10**9}})
ROOM = {"QUOTA_QUEUED_TASKS": "100000000", "QUOTA_TASKS_PER_MINUTE": "100000000", "QUOTA_QUEUED_BYTES": str(1 << 40)}
QUIET = ("--log-level", "warning", "--no-access-log")
START_SECONDS = 45.0
FILL_SECONDS = 3600.0
STOP_SECONDS = 1.0  # idle by then, or given up
NEW_USER = """
INSERT INTO users (id, username, username_normalized, email, email_normalized, password_hash)
SELECT id, id::text, id::text, id || '@example.com', id || '@example.com', '!' FROM (SELECT gen_random_uuid() AS id)
RETURNING id"""

T = TypeVar("T")
Served = tuple[Part, Address]


class Servers(Services):
    """As `run_server.py` runs them: commits reach the disk, the broker writes its file; statements are counted."""

    def __init__(self, *, fsync: bool) -> None:
        super().__init__()
        counted = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track": "all"}
        self.postgres = EmbeddedPostgres(self.directory / "postgres", durable=fsync, settings=counted)
        self.valkey = EmbeddedValkey(self.directory / "valkey")


class Bench:
    """One run. A context manager; everything that was started is ended with it."""

    def __init__(self, size: Size, flames: Path | None = None, *, fsync: bool = True) -> None:
        self.size, self.flames, self._fsync = size, flames, fsync
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    # -- the servers -------------------------------------------------------------------------------------------------

    @cached_property
    def directory(self) -> Path:
        return Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="task-service-bench-")))

    @cached_property
    def services(self) -> Services:
        servers = Servers(fsync=self._fsync)
        self._open.callback(servers.clear_up_or_raise)
        return self._open.enter_context(servers)

    def broker(self, url: str) -> "redis.Redis":
        """A connection to the broker, closed at the end of the run."""
        connection = redis.Redis.from_url(url)
        self._open.callback(connection.close)
        return connection

    # -- the service -------------------------------------------------------------------------------------------------

    @contextmanager
    def new_stack(self, **settings: str) -> Iterator[Stack]:
        """A deployment of a section's own, on a fresh database."""
        directory = Path(tempfile.mkdtemp(dir=self.directory))
        with Stack(self.services, directory, **TASK_MODULES, **settings) as stack:
            yield stack

    @contextmanager
    def worker(self, stack: Stack, concurrency: int = 2, **variables: str) -> Iterator[Part]:
        part = stack.worker(concurrency, env=variables)
        try:
            yield part
        finally:
            part.stop(STOP_SECONDS)

    @cached_property
    def stack(self) -> Stack:
        """The one for HTTP alone: an API process and no worker."""
        stack = self._open.enter_context(self.new_stack(**ROOM, **LOGINS))
        stack.server(options=QUIET)
        return stack

    def new_user(self, stack: Stack) -> str:
        """The id of a user without a login: for tasks that are not created over HTTP."""
        return str(stack.sql(NEW_USER)[0][0])

    @cached_property
    def account(self) -> Account:
        return self.sign_in(self.stack)

    def forget_account(self) -> None:
        """Have the next section sign in: a token is good for a quarter of an hour."""
        self.__dict__.pop("account", None)

    def sign_in(self, stack: Stack) -> Account:
        return run(sign_in(loopback(stack.url)))

    def filling(
        self, stack: Stack, user_id: str, name: str, count: int, *args: Any, priority: str = "normal", **variables: str
    ) -> Part:
        """Makes so many pending tasks through the Python API, in a process of its own."""
        words = [str(count), user_id, name, priority, *map(repr, args)]
        return self.part("fill", ["tests.performance.fill", *words], {**stack.settings, **variables})

    def fill(self, stack: Stack, user_id: str, name: str, count: int, *args: Any, **options: str) -> None:
        finish(self.filling(stack, user_id, name, count, *args, **options))

    def filling_raw(self, broker_url: str, count: int, **variables: str) -> Part:
        words = ["tests.performance.comparators.fill", str(count)]
        return self.part("fill-raw", words, {"RAW_BROKER": broker_url, **variables})

    # -- comparators -------------------------------------------------------------------------------------------------

    def part(self, name: str, module: Sequence[str], variables: dict[str, str]) -> Part:
        log = self.directory / f"{name}-{time.monotonic_ns()}.log"
        part = Part(name, [sys.executable, "-m", *module], log, process_environment(variables))
        part.process.start()
        return part

    def listening(self, name: str, module: Callable[[Address], list[str]], variables: dict[str, str]) -> Served:
        """A process that listens on an address of its own; ended with the run."""
        address = Address("127.0.0.1", free_loopback_port())
        part = self.part(name, module(address), variables)
        self._open.callback(part.stop)
        wait_for(lambda: _listens(address) or not part.running, START_SECONDS, f"{part.name} to listen")
        assert part.running, f"{part.name} does not start:\n{part.tail()}"
        return part, address

    def http_server(self, app: str, variables: dict[str, str], *options: str) -> Served:
        """Another application on uvicorn."""

        def module(address: Address) -> list[str]:
            where = ["--host", address.host, "--port", str(address.port), "--no-server-header", "--ws", "none"]
            return ["uvicorn", f"tests.performance.comparators.{app}:app", *where, *QUIET, *options]

        return self.listening(app, module, variables)

    @cached_property
    def bare(self) -> Served:
        """The sync `/ping`, on the same uvicorn with the same protocol as the service."""
        return self.http_server("bare", self.stack.settings, "--http", "app.api.http.protocol:BoundedProtocol")

    @cached_property
    def handwritten(self) -> Served:
        database = self.services.database_url(self.services.new_database("template1"))
        with closing(psycopg2.connect(database)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(handwritten_table.TABLE)
            cursor.execute(handwritten_table.INDEX)
        variables = {"HANDWRITTEN_DATABASE": database, "HANDWRITTEN_SECRET": SECRET}
        return self.http_server("handwritten", {**variables, "RAW_BROKER": self.services.new_broker()})

    @cached_property
    def flower(self) -> Served:
        def module(address: Address) -> list[str]:
            words = [f"--port={address.port}", f"--address={address.host}", "--logging=warning"]
            return ["celery", "-A", RAW_APP, "flower", *words]

        variables = {"RAW_BROKER": self.services.new_broker(), "FLOWER_UNAUTHENTICATED_API": "true"}
        return self.listening("flower", module, variables)

    @contextmanager
    def raw_worker(self, broker_url: str, concurrency: int = 2, backend: str = "") -> Iterator[Part]:
        words = ["-l", "info", "-c", str(concurrency), "-n", f"raw{time.monotonic_ns()}@test"]
        variables = {"RAW_BROKER": broker_url, "RAW_BACKEND": backend}
        part = self.part("raw-worker", ["celery", "-A", RAW_APP, "worker", *words], variables)
        try:
            part.await_line(" ready.")
            yield part
        finally:
            part.stop(STOP_SECONDS)

    # -- measuring ---------------------------------------------------------------------------------------------------

    def meter(self, **parts: int | tuple[int, bool]) -> CpuMeter:
        """CPU of the given processes, of both servers, and of this one, which makes the load."""
        servers = {"PostgreSQL": self.services.postgres.pid, "broker": self.services.valkey.pid}
        return CpuMeter({**servers, "generator": (os.getpid(), False), **parts})

    def slice(
        self, address: Address, endpoint: Endpoint, requests: int | None = None, clients: int | None = None
    ) -> Measured:
        """One turn of HTTP load, of this run's size where nothing else is said."""
        size = self.size
        work = measure(address, endpoint, clients or size.clients, requests or size.requests, size.seconds)
        return run(work)


def finish(part: Part) -> None:
    """Wait for a process that ends by itself."""
    code = part.process.wait(FILL_SECONDS)
    if code != 0:
        raise RuntimeError(f"{part.name} ended with {code}:\n{part.tail()}")


def run(work: Coroutine[Any, Any, T]) -> T:
    """On uvloop where there is one: the generator shares its cores with what it measures."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work)


def _listens(address: Address) -> bool:
    try:
        socket.create_connection((address.host, address.port), timeout=2).close()
    except OSError:
        return False
    return True
