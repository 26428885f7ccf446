"""A thousand streams on one API process: what they cost it, and that each gets its events."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.support.running import TASKS, Running, example_stack
from tests.support.services import Services
from tests.support.waiting import wait_for

STREAMS = 400
KILOBYTE = 1024
MOST_EACH = 60 * KILOBYTE
FILL = """
    INSERT INTO tasks (id, user_id, name, task_type, celery_task_name, args, kwargs, priority, queue, celery_id, status,
                       dispatch_at)
    SELECT gen_random_uuid(), :user, 'x', 'x', 'tests.echo', '[]', '{}', 'low', 'low_priority', gen_random_uuid(),
           'pending', now() + interval '1 day'
    FROM generate_series(1, :number) RETURNING id
"""


@pytest.fixture
def running(services: Services, tmp_path: Path) -> Iterator[Running]:
    with example_stack(services, tmp_path, EVENTS_STREAMS_PER_USER="1000") as running:
        running.stack.server()
        yield running


class Streams:
    """Open ones, read only where a test asks."""

    def __init__(self, running: Running, opened: ExitStack) -> None:
        self._running, self._opened = running, opened
        self.sockets: list[socket.socket] = []

    def open(self, task_id: str) -> None:
        connection = self._opened.enter_context(socket.create_connection(("127.0.0.1", self._running.stack.port)))
        connection.settimeout(60)
        request = f"GET {TASKS}{task_id}/events HTTP/1.1\r\nHost: x\r\n"
        connection.sendall(f"{request}Authorization: {self._running.http.headers['Authorization']}\r\n\r\n".encode())
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


def test_each_costs_little_and_holds_no_thread_and_no_connection_and_gets_its_events(running: Running) -> None:
    server = psutil.Process(running.stack.server().pid)
    user = running.http.get("/api/v1/users/me").json()["id"]
    ids = [str(row[0]) for row in running.stack.sql(FILL, user=user, number=STREAMS)]
    with ExitStack() as opened:
        streams = Streams(running, opened)
        for task_id in ids[:20]:  # what the first ones need besides is not theirs alone
            streams.open(task_id)
        memory, threads = server.memory_info().rss, server.num_threads()
        for task_id in ids[20:]:
            streams.open(task_id)
        assert (server.memory_info().rss - memory) / (STREAMS - 20) < MOST_EACH
        assert server.num_threads() < threads + 10  # those of the pools start when they are needed
        # The pool of requests, and two of the watcher; however many streams there are.
        connections = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        assert running.stack.sql(connections)[0][0] < 15
        for task_id in ids:
            running.stack.sql(
                "UPDATE tasks SET name = 'renamed', version = version + 1, updated_at = now() WHERE id = :id",
                id=task_id,
            )
        for connection in streams.sockets:
            assert b'"name":"renamed"' in streams.read(connection, b"id: 2")
        assert all(running.http.get("/healthz").is_success for _ in range(10))

    def gone() -> bool:
        return len(server.net_connections()) < STREAMS / 2

    wait_for(gone, 20, "the streams to be let go")
