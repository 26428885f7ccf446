"""What every suite on real services shares: a plugin that `tests/conftest.py` names.

services        PostgreSQL and Valkey (temporary directories, free ports); in a parallel run the processes share PostgreSQL
own_services    a module's own, durable, which a test may crash
db              a Session whose commits are savepoints of one transaction that is rolled back: for service tests
fresh_database  the settings of this process on a database of the test's own, in which it commits
client          starlette's TestClient on `create_app()`, in this process, on a fresh database
tasks, admin    a new user's and a new administrator's view of the task endpoints; see `tests/support/task_client.py`
make_user       `make_user(role="user") -> (user, access token)`, seen by `client`; `register_user` makes it through the API
user, token     one such user, and the access token
stack           processes on a fresh database; see `tests/support/stack.py`
start           the same with the example tasks, `start(**settings) -> Running`; see `tests/support/running.py`
ledger, gate    files by which a test and an example task speak to each other
wait_for        `wait_for(condition, seconds, what)`; also importable from `tests.support.waiting`
"""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.core.served_tasks import ServedTasks, served_tasks
from app.db.session import SessionLocal, engine
from app.models import User
from tests.report.recorder import Recorder
from tests.support import accounts, waiting
from tests.support.lock_waits import fail_soon_where_locked
from tests.support.running import Running, example_stack
from tests.support.services import Services, environment, left_behind
from tests.support.settings import make_app, on_new_database, settings
from tests.support.shared_servers import shared_server
from tests.support.stack import Stack
from tests.support.task_client import TaskClient, task_client
from tests.support.tasks import flush_admitter, new_login

# The stacks that a test's fixtures have started for it: their logs are shown when it fails.
STARTED = pytest.StashKey[list[Stack]]()
# Under this name a process of a parallel run tells of processes that were left behind.
LEFT = "left"
_running: list[Services] = []


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    with Services(shared=shared_server()) as started:
        _running.append(started)
        yield started


@pytest.fixture(scope="module")
def own_services(services: Services) -> Iterator[Services]:
    """For tests that crash or restart a server under their stack: other tests have no data on these."""
    own = Services(durable=True)
    try:
        with own as started:
            yield started
    finally:
        own.clear_up_or_raise()


@pytest.fixture(scope="session")
def rollback_database(services: Services) -> str:
    """The database of `db`: nothing is ever committed to it."""
    return services.database_url(services.new_database())


@pytest.fixture
def db(services: Services, rollback_database: str) -> Iterator[Session]:
    with settings(environment(rollback_database, services.flushed_broker())), engine().connect() as connection:
        outer = connection.begin()
        session = SessionLocal(bind=connection, join_transaction_mode="create_savepoint")
        yield session
        session.close()
        outer.rollback()


@pytest.fixture
def fresh_database(services: Services) -> Iterator[None]:
    with on_new_database(services):
        yield


@pytest.fixture
def other(fresh_database: None) -> Iterator[Session]:
    """A second transaction, on a connection of its own; the database is the test's own."""
    del fresh_database
    with SessionLocal() as session:
        fail_soon_where_locked(session)
        yield session
        session.rollback()


@pytest.fixture
def one(other: Session) -> Iterator[Session]:
    """The first of two transactions."""
    del other
    with SessionLocal() as session:
        yield session
        session.rollback()


@pytest.fixture
def client(fresh_database: None) -> Iterator[TestClient]:
    """Lifespan included. `SessionLocal()` in the test reaches the same database."""
    del fresh_database
    with TestClient(make_app(), raise_server_exceptions=False) as started:
        yield started


@pytest.fixture
def make_user(client: TestClient) -> Callable[..., tuple[dict[str, Any], str]]:
    """Without the API: two hashes of a password cost more than most tests."""

    def make(role: str = "user") -> tuple[dict[str, Any], str]:
        with SessionLocal() as session:
            token = new_login(session, role)
        return client.get(f"{accounts.API}/users/me", headers=accounts.bearer(token)).json(), token

    return make


@pytest.fixture
def login_of_user(make_user: Callable[..., tuple[dict[str, Any], str]]) -> tuple[dict[str, Any], str]:
    return make_user()


@pytest.fixture
def user(login_of_user: tuple[dict[str, Any], str]) -> dict[str, Any]:
    return login_of_user[0]


@pytest.fixture
def token(login_of_user: tuple[dict[str, Any], str]) -> str:
    return login_of_user[1]


@pytest.fixture
def register_user(client: TestClient) -> Callable[..., tuple[dict[str, Any], str]]:
    """As `make_user`, through the API: for tests of what registration and login leave behind."""

    def promote(user_id: str) -> None:
        with SessionLocal.begin() as session:
            session.execute(update(User).where(User.id == user_id).values(role="admin"))

    return lambda role="user": accounts.make_user(client, promote, role)


@pytest.fixture
def tasks(client: httpx.Client, make_user: Callable[..., tuple[dict[str, Any], str]]) -> TaskClient:
    return task_client(client, make_user)


@pytest.fixture
def admin(client: httpx.Client, make_user: Callable[..., tuple[dict[str, Any], str]]) -> TaskClient:
    return task_client(client, make_user, "admin")


@pytest.fixture
def stack(services: Services, tmp_path: Path) -> Iterator[Stack]:
    with Stack(services, tmp_path) as started:
        yield started


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Where the example tasks write down each start."""
    return tmp_path / "ledger"


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """What holds an example task back; opened at the test's end, so that no body waits in a worker that is shared."""
    path = tmp_path / "gate"
    yield path
    path.touch()


@pytest.fixture
def start(services: Services, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Running]]:
    """`start(SETTING="…")` gives a deployment of the test's own with the example tasks."""
    stacks = request.node.stash.setdefault(STARTED, [])
    with ExitStack() as opened:

        def started(**variables: str) -> Running:
            running = opened.enter_context(example_stack(services, tmp_path, **variables))
            stacks.append(running.stack)
            return running

        yield started


@pytest.fixture
def wait_for() -> Callable[..., Any]:
    return waiting.wait_for


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The logs of all parts below a failed test."""
    report = yield
    if report.failed:
        for stack in _stacks_of(item):
            report.sections += [(f"log of {name}", log) for name, log in stack.logs().items()]
    return report


def _stacks_of(item: pytest.Item) -> list[Stack]:
    direct = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Stack)]
    shared = [value.stack for value in getattr(item, "funcargs", {}).values() if isinstance(value, Running)]
    started = [stack for node in item.listchain() for stack in node.stash.get(STARTED, [])]
    return [*direct, *shared, *started]


# Last: inside of the wrapper in which a parallel run's process says goodbye to the one that leads it.
@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Fixtures end in here; after them, no process that a test started may be left."""
    try:
        yield
    finally:  # after a Ctrl-C as well, which may have hit a fixture's own clearing up
        left = [line for services in _running for line in services.clear_up()]
        if left:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            if hasattr(session.config, "workeroutput"):
                session.config.workeroutput[LEFT] = left
            else:
                _fail_session(session.config, left_behind(left))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """In the process that leads a parallel run: its own exit code is all that counts.

    xdist tells of the test in which a process died, and of no other death.
    """
    left = getattr(node, "workeroutput", {}).get(LEFT, [])
    if left:
        _fail_run(node.config, left_behind(left))
    if error and not node.config.pluginmanager.get_plugin("dsession").sched.has_tests_of(node):
        _fail_run(node.config, f"{node.gateway.id} died outside of a test: {error}")


def _fail_run(config: pytest.Config, text: str) -> None:
    config.pluginmanager.get_plugin("session").testsfailed += 1
    _fail_session(config, text)


def _fail_session(config: pytest.Config, text: str) -> None:
    os.write(2, f"\nERROR: {text}\n".encode())
    recorder = config.pluginmanager.get_plugin(Recorder.name)
    if recorder is not None:
        recorder.fail(text)


@pytest.fixture
def fresh_picture(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The workers are read at every look, and no picture of another test's is kept."""
    served_tasks.replace(None)
    monkeypatch.setattr(ServedTasks, "is_due", lambda _: True)
    yield
    flush_admitter()
    served_tasks.replace(None)
