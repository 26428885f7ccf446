"""Hundreds of streams on one API process: what they cost it, and that each gets its events."""

import socket
from contextlib import ExitStack
from pathlib import Path

import psutil

from tests.support.running import TASKS
from tests.support.services import Services
from tests.support.shared import Person
from tests.support.stack import Stack
from tests.support.waiting import wait_for

STREAMS = 400
KILOBYTE = 1024
MOST_EACH = 60 * KILOBYTE


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
    with Stack(services, tmp_path, EVENTS_STREAMS_PER_USER="1000") as stack, ExitStack() as opened:
        server = psutil.Process(stack.server().pid)
        person = Person(stack)
        ids = person.fill(STREAMS)
        streams = Streams(person, opened)
        for task_id in ids[:20]:  # what the first ones need besides is not theirs alone
            streams.open(task_id)
        memory, threads = server.memory_info().rss, server.num_threads()
        for task_id in ids[20:]:
            streams.open(task_id)
        assert (server.memory_info().rss - memory) / (STREAMS - 20) < MOST_EACH
        assert server.num_threads() < threads + 10  # those of the pools start when they are needed
        # The pool of requests, and two of the watcher; however many streams there are.
        connections = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        assert stack.sql(connections)[0][0] < 15
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
