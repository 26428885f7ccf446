"""A whole deployment for one test: real uvicorn, Celery worker and beat processes on a database of their own."""

import signal
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from sqlalchemy import Engine, Row, create_engine, select
from sqlalchemy.pool import NullPool

from app.ddl.clock import NOW
from app.launcher.ports import free_loopback_port
from app.launcher.processes import group_members
from tests.support import accounts, fork_server
from tests.support.services import TEMPLATE, Services, environment, process_environment, sqlalchemy_url
from tests.support.spelling import spelled
from tests.support.waiting import answers, wait_for

START_SECONDS = 45.0  # two cores, shared with other tests
STOP_SECONDS = 3.0
START_TRIES = 3
TAIL_LINES = 60


class Part:
    """One started process. `kill()` and `stop()` keep its log and leave it startable again with `start()`."""

    def __init__(self, name: str, argv: Sequence[str], log: Path, env: dict[str, str]) -> None:
        self.name, self.log = name, log
        self.process = fork_server.process(argv, log=log, env=env)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.running

    def children(self) -> list[int]:
        """The other processes of its group: a worker's pool children."""
        return [pid for pid in group_members(self.pid) if pid != self.pid]

    def send(self, number: signal.Signals) -> None:
        self.process.send(number)

    def kill(self) -> None:
        """SIGKILL to the process itself, as the kernel's OOM killer does; its children are on their own."""
        self.send(signal.SIGKILL)
        self.process.wait(10)

    def stop(self, seconds: float = STOP_SECONDS) -> int | None:
        """SIGTERM, then SIGKILL to the whole group after so many seconds; the exit code."""
        return self.process.stop(signal.SIGTERM, seconds)

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def tail(self) -> str:
        return "\n".join(self.output().splitlines()[-TAIL_LINES:])

    def await_line(self, needle: str, seconds: float = START_SECONDS) -> None:
        """Until its log holds the text; at once an AssertionError with the log when it dies first."""
        wait_for(lambda: needle in self.output() or not self.running, seconds, f"{self.name} to log {needle!r}")
        assert needle in self.output(), f"{self.name} ended with {self.process.poll()}:\n{self.tail()}"


def node_name(worker: Part) -> str:
    """Celery's name of a worker that `Stack.worker` has started."""
    return f"{worker.name.replace('-', '')}@test"


class Stack:
    """Starts nothing by itself. `close()` ends all of it, whatever state it is in, and drops the database.

    stack.api()                 httpx.Client with base_url and the bearer token of a user; starts uvicorn when needed
    stack.api(role="admin")     the same as an administrator; `token=` names any other; `token=""` none
    stack.worker(concurrency=2, queues=None, env=…)    a Celery worker that is ready, as a `Part`
    stack.beat()                a beat, as a `Part`
    part.kill()            SIGKILL by default, or any signal
    stack.make_user("admin")    (user, access token)
    stack.sql("SELECT …", id=…) rows straight from the database, committed
    stack.logs()                {part: its last lines}

    Paths are given in full: `stack.api().get("/api/v1/tasks/")`.
    """

    def __init__(self, services: Services, directory: Path, template: str = TEMPLATE, **settings: str) -> None:
        self.services, self.directory = services, directory
        self.database = services.new_database(template)
        self.database_url = services.database_url(self.database)
        self.broker_url = services.new_broker()
        kept = {"STORAGE_URL": (directory / "files").as_uri(), **settings}
        self.settings = environment(self.database_url, self.broker_url, **kept)
        self.parts: list[Part] = []
        self._engine: Engine | None = None
        self._server: Part | None = None
        self._clients: list[httpx.Client] = []
        self._tokens: dict[str, str] = {}
        self.port = 0
        self.python, self.application = sys.executable, "app.celery_app"  # what the parts are started with
        self.server_application = "app.main:app"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # -- parts -------------------------------------------------------------------------------------------------------

    def start_part(self, kind: str, module: Sequence[str], env: dict[str, str] | None) -> Part:
        number = 1 + sum(part.name.startswith(kind) for part in self.parts)
        name = f"{kind}-{number}"
        variables = process_environment({**self.settings, **(env or {})})
        part = Part(name, [self.python, "-m", *module], self.directory / f"{name}.log", variables)
        self.parts.append(part)
        part.process.start()
        return part

    def server(self, env: dict[str, str] | None = None, options: Sequence[str] = ()) -> Part:
        """The uvicorn process; started, and answering, when it was not. A killed one starts again on its port."""
        if self._server is not None and self._server.running:
            return self._server
        for _ in range(START_TRIES):  # between the choice of a port and the bind another process may take it
            self.port = self.port or free_loopback_port()
            part = self._uvicorn(self.port, env, options)
            self.await_answer(part)
            if part.running:
                self._server = part
                return part
            self.port = 0
        raise AssertionError(f"uvicorn does not start:\n{part.tail()}")

    def another_server(self, env: dict[str, str]) -> str:
        """The URL of one more uvicorn process, with settings of its own; it answers."""
        port = free_loopback_port()
        part = self._uvicorn(port, env, [])
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: answers(url, "/healthz") or not part.running, START_SECONDS, "another uvicorn to answer")
        assert part.running, part.tail()
        return url

    def _uvicorn(self, port: int, env: dict[str, str] | None, options: Sequence[str]) -> Part:
        address = ["--host", "127.0.0.1", "--port", str(port), "--no-server-header"]
        protocol = ["--http", "app.api.http.protocol:BoundedProtocol", "--ws", "none"]
        return self.start_part("api", ["uvicorn", self.server_application, *address, *protocol, *options], env)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def await_answer(self, part: Part) -> None:
        wait_for(lambda: answers(self.url, "/healthz") or not part.running, START_SECONDS, "uvicorn to answer")

    def worker(
        self,
        concurrency: int = 2,
        queues: str | None = None,
        env: dict[str, str] | None = None,
        options: Sequence[str] = (),
        until: str = " ready.",
    ) -> Part:
        """A Celery worker, started as the README says, once its log says that it is ready to take tasks, or `until`."""
        number = 1 + sum(part.name.startswith("worker") for part in self.parts)
        named = ["-l", "info", "-c", str(concurrency), "-n", f"worker{number}@test"]
        chosen = ["-Q", queues] if queues else []
        part = self.start_part("worker", ["celery", "-A", self.application, "worker", *named, *chosen, *options], env)
        part.await_line(until)
        return part

    def beat(self, env: dict[str, str] | None = None) -> Part:
        schedule = ["-l", "info", "-s", str(self.directory / "schedule"), "--pidfile="]
        part = self.start_part("beat", ["celery", "-A", self.application, "beat", *schedule], env)
        part.await_line("beat: Starting...")
        return part

    def logs(self) -> dict[str, str]:
        return {part.name: part.tail() for part in self.parts}

    # -- clients -----------------------------------------------------------------------------------------------------

    def api(self, token: str | None = None, role: str = "user") -> httpx.Client:
        """A client of the API; without a token, as this stack's one user of the role."""
        self.server()
        client = httpx.Client(base_url=self.url, timeout=30)
        self._clients.append(client)
        if token is None:
            token = self._tokens.get(role) or self.make_user(role)[1]
            self._tokens[role] = token
        if token:
            client.headers.update(accounts.bearer(token))
        return client

    def make_user(self, role: str = "user") -> tuple[dict[str, Any], str]:
        self.server()
        with httpx.Client(base_url=self.url, timeout=30) as client:
            return accounts.make_user(client, self.promote, role)

    def promote(self, user_id: str) -> None:
        self.sql("UPDATE users SET role = 'admin' WHERE id = :id", id=user_id)

    # -- database ----------------------------------------------------------------------------------------------------

    @property
    def engine(self) -> Engine:
        """The test's own connections, none of them kept: a test may restart the server under it."""
        if self._engine is None:
            self._engine = create_engine(sqlalchemy_url(self.database_url), poolclass=NullPool)
        return self._engine

    def sql(self, statement: str, **values: Any) -> Sequence[Row[Any]]:
        """One statement, committed; its rows, if it gives any."""
        with self.engine.begin() as connection:
            result = connection.execute(spelled(statement, values))
            return result.all() if result.returns_rows else []

    def now(self) -> datetime:
        """The database's time."""
        with self.engine.begin() as connection:
            moment: datetime = connection.execute(select(NOW)).scalar_one()
            return moment

    # -- the end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Ask all parts at once, then end what is left of their groups: a worker may wait for a task of an hour."""
        for client in self._clients:
            client.close()
        for part in self.parts:
            part.send(signal.SIGCONT)  # a frozen one hears nothing else
            part.send(signal.SIGTERM)
        for part in self.parts:
            part.process.wait(STOP_SECONDS)
            part.process.kill()
        if self._engine is not None:
            self._engine.dispose()
        self.services.drop_database(self.database)
