"""What ends a stream: the loss of the right to it, the server's end. And what a slow client and many streams cost."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest

from app.live import watcher
from tests.support import accounts
from tests.support.accounts import API, PASSWORD, bearer
from tests.support.bounds import bounded
from tests.support.databases import DIALECT
from tests.support.event_reader import EventReader
from tests.support.running import TASKS
from tests.support.services import Services
from tests.support.settings import settings
from tests.support.shared import LATER, Person
from tests.support.stack import Stack
from tests.support.waiting import wait_for

# The look at credentials comes every second; the rest is for a machine that has other things to do.
SOON = 8
# Of a credential that ends under its streams: long enough to open them and to hear a sign of life on a busy machine.
LIFE = 12
STREAMS = 400
KILOBYTE = 1024
MOST_EACH = 60 * KILOBYTE
# How many there are; SQLite knows only its own.
CONNECTIONS = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()",
    "mysql": "SELECT count(*) FROM information_schema.processlist WHERE db = database()",
}


@pytest.fixture(scope="module")
def stack(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(services, tmp_path_factory.mktemp("ends"), **bounded({watcher: {"HEARTBEAT_SECONDS": 1}})) as started:
        started.server()
        yield started


class Caller(Person):
    """A new user with an open login, and an administrator who may change the user."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack)
        self.admin = stack.api(role="admin")

    @property
    def session(self) -> UUID:
        logins = self.http.get(f"{API}/auth/sessions").json()
        return UUID(next(each["id"] for each in logins if each["current"]))

    def key(self, **fields: Any) -> dict[str, Any]:
        answer = self.http.post(f"{API}/auth/api-keys", json={"name": "x", "scopes": ["tasks:read"]} | fields)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def administer(self, **changes: Any) -> None:
        assert self.admin.patch(f"{API}/users/{self.user['id']}", json=changes).status_code == 200

    # Each of these takes the right to go on away.

    def log_out(self) -> None:
        assert self.http.post(f"{API}/auth/logout").status_code == 204

    def end_the_session(self) -> None:
        other = bearer(accounts.login(self.http, self.user["username"])["access_token"])
        assert self.http.delete(f"{API}/auth/sessions/{self.session}", headers=other).status_code == 204

    def be_deactivated(self) -> None:
        self.administer(is_active=False)

    def get_another_role(self) -> None:
        self.administer(role="admin")

    def change_the_password(self) -> None:
        passwords = {"current_password": PASSWORD, "new_password": f"{PASSWORD} another"}
        assert self.http.put(f"{API}/users/me/password", json=passwords).status_code == 204


@pytest.fixture
def caller(stack: Stack) -> Caller:
    return Caller(stack)


@contextmanager
def both(caller: Caller, token: str = "") -> Iterator[tuple[EventReader, EventReader]]:
    """The streams of a new task, and of all tasks of this caller."""
    caller.token = token or caller.token
    with caller.follow(caller.create(**LATER)) as one, caller.feed() as every:
        assert (one.status, every.status) == (200, 200)
        yield one, every


class TestTheRightToIt:
    @pytest.mark.parametrize(
        "lose",
        [
            Caller.log_out,
            Caller.end_the_session,
            Caller.be_deactivated,
            Caller.get_another_role,
            Caller.change_the_password,
        ],
        ids=lambda lose: str(lose.__name__),
    )
    def test_ends_with_the_login(self, stack: Stack, caller: Caller, lose: Callable[[Caller], None]) -> None:
        bystander = Caller(stack)
        with both(caller) as mine, both(bystander) as others:
            lose(caller)
            for events in mine:
                events.await_end(SOON)
                assert events.error is None
            for events in others:
                events.until(lambda each, pings=events.pings: each.pings > pings, "a sign of life")
                assert not events.ended
        with caller.feed() as again:
            again.await_end(SOON)
            assert again.status == 401

    def test_ends_with_the_access_token(self, stack: Stack, caller: Caller) -> None:
        with settings(stack.settings):
            from app.core.security import access_token_life, create_access_token

            begun = datetime.now(UTC) - access_token_life() + timedelta(seconds=LIFE)
            token = create_access_token(UUID(caller.user["id"]), caller.session, begun)
        self._ends_with_its_life(caller, token)

    def test_ends_with_an_api_key_that_expires(self, caller: Caller) -> None:
        key = caller.key(expires_at=(datetime.now(UTC) + timedelta(seconds=LIFE)).isoformat())
        self._ends_with_its_life(caller, key["key"])

    @staticmethod
    def _ends_with_its_life(caller: Caller, token: str) -> None:
        with both(caller, token) as mine:
            for events in mine:
                events.until(lambda each: each.pings, "a sign of life before")
                events.await_end(LIFE + SOON)

    def test_ends_with_an_api_key_that_is_revoked(self, caller: Caller) -> None:
        key = caller.key()
        with both(caller, key["key"]) as mine:
            assert caller.http.delete(f"{API}/auth/api-keys/{key['id']}").status_code == 204
            for events in mine:
                events.await_end(SOON)


class TestTheServersEnd:
    """Each stops a server of its own: uvicorn waits for every connection that is open."""

    @pytest.mark.parametrize("protocol", [[], ["--http", "httptools"]], ids=["bounded", "as-by-hand"])
    def test_ends_streams_and_waits_at_once(self, services: Services, tmp_path: Path, protocol: list[str]) -> None:
        with Stack(services, tmp_path) as stack:
            server = stack.server(options=protocol)
            caller = Caller(stack)
            task_id = caller.create(**LATER)
            waiting = EventReader(stack.url, f"{TASKS}{task_id}?wait=60", caller.token)
            with both(caller) as streams, ExitStack() as left:
                waiting.start()
                left.push(waiting)
                for _ in range(5):  # by then the server has read it, too
                    caller.http.get(TASKS + task_id)
                assert server.stop(seconds=20) != -9, "it had to be killed"
                for events in streams:
                    events.await_end(SOON)
                    assert events.error is None
                waiting.await_end(SOON)
                assert waiting.error is None


class TestASlowClient:
    CHANGES = 300
    METADATA = "x" * 60_000

    def test_gets_the_newest_state_costs_little_and_can_be_cut_off(self, services: Services, tmp_path: Path) -> None:
        with Stack(services, tmp_path) as stack:
            server = stack.server()
            caller = Caller(stack)
            task_id = caller.create(**LATER)
            with caller.follow(task_id, buffer=2**18) as slow, caller.feed(buffer=2**18) as frozen:
                slow.until(lambda each: each.events, "the first state")
                slow.pause()
                frozen.pause()
                self._change(caller, task_id, 20)  # whatever the process needs for such a change, it has by now
                before = psutil.Process(server.pid).memory_info().rss
                last = self._change(caller, task_id, self.CHANGES)
                grown = psutil.Process(server.pid).memory_info().rss - before
                assert grown < self.CHANGES * len(self.METADATA) / 3
                slow.resume()
                slow.until(lambda each: each.versions[-1] == last, "the newest state")
                assert len(slow.events) < self.CHANGES
                assert slow.versions == sorted(set(slow.versions))
                assert server.stop(seconds=20) != -9, "it had to be killed"

    def _change(self, caller: Caller, task_id: str, times: int) -> int:
        """The version after so many large changes."""
        for number in range(times):
            answer = caller.http.patch(TASKS + task_id, json={"metadata": {"x": self.METADATA, "number": number}})
            assert answer.status_code == 200
        return int(answer.json()["version"])


class Streams:
    """Open ones, read only where a test asks."""

    def __init__(self, person: Person, opened: ExitStack) -> None:
        self._person, self._opened = person, opened
        self.sockets: list[socket.socket] = []

    def open(self, task_id: str) -> None:
        connection = self._opened.enter_context(socket.create_connection(("127.0.0.1", self._person.stack.port)))
        connection.settimeout(60)
        request = f"GET {TASKS}{task_id}/events HTTP/1.1\r\nHost: x\r\n"
        connection.sendall(f"{request}Authorization: Bearer {self._person.token}\r\n\r\n".encode())
        self.sockets.append(connection)
        self.read(connection, b"event: task")

    @staticmethod
    def read(connection: socket.socket, what: bytes) -> bytes:
        """Until this comes."""
        received = b""
        while what not in received:
            chunk = connection.recv(65536)
            assert chunk, received
            received += chunk
        return received


def test_each_costs_little_and_holds_no_thread_and_no_connection_and_gets_its_events(
    services: Services, tmp_path: Path
) -> None:
    with Stack(services, tmp_path, **bounded({watcher: {"STREAMS_PER_USER": 1000}})) as stack, ExitStack() as opened:
        server = psutil.Process(stack.server().pid)
        person = Person(stack)
        ids = person.fill(STREAMS)
        streams = Streams(person, opened)
        for task_id in ids[:20]:  # the first ones also fill what all share
            streams.open(task_id)
        memory, threads = server.memory_info().rss, server.num_threads()
        for task_id in ids[20:]:
            streams.open(task_id)
        assert (server.memory_info().rss - memory) / (STREAMS - 20) < MOST_EACH
        assert server.num_threads() < threads + 10  # those of the pools start when they are needed
        # The pool of requests, and two of the watcher; however many streams there are.
        if DIALECT in CONNECTIONS:
            assert stack.sql(CONNECTIONS[DIALECT])[0][0] < 15
        for task_id in ids:
            stack.sql(
                "UPDATE tasks SET name = 'renamed', version = version + 1, updated_at = now() WHERE id = :id",
                id=task_id,
            )
        for connection in streams.sockets:
            assert b'"name":"renamed"' in streams.read(connection, b"id: 2")
        assert all(person.http.get("/healthz").is_success for _ in range(10))
        for connection in streams.sockets:
            connection.close()
        wait_for(lambda: len(server.net_connections()) < STREAMS / 2, 20, "the streams to be let go")


def test_streams_that_end_leave_nothing_behind(caller: Caller) -> None:
    """Else the limit of streams would be used up by and by; the default one is fifty."""
    task_id = caller.create(**LATER)
    for _ in range(60):

        def opens() -> bool:
            with caller.follow(task_id) as events:
                return events.status == 200

        wait_for(opens, 10, "a stream to open")
