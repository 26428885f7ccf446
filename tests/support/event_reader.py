"""A client of an event stream, as EventSource reads it: a thread that parses what comes, and what has come so far."""

import http.client
import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.support.waiting import wait_for

SECONDS = 30.0


@dataclass(frozen=True)
class Event:
    kind: str
    id: str
    task: dict[str, Any]

    @property
    def state(self) -> tuple[str, int]:
        return self.task["status"], self.task["progress"]


class EventReader:
    """`with EventReader(url, path, token) as events:`; its `events`, `pings` and `last_id` grow until `ended`.

    status      of the answer; where it is not 200, `body` holds the rest
    pause()     stop reading, as a slow client does, until `resume()`
    """

    def __init__(self, url: str, path: str, token: str, last_id: str | None = None, buffer: int | None = None) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=60)
        self._path, self._buffer = path, buffer
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        if last_id is not None:
            self._headers["Last-Event-ID"] = last_id
        self.events: list[Event] = []
        self.pings = 0
        self.last_id = ""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.error: Exception | None = None
        self._going = threading.Event()
        self._going.set()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self.start()
        wait_for(lambda: self.status or self._done.is_set(), SECONDS, f"{self._path} to answer")
        return self

    def start(self) -> None:
        """What `with` does, for an answer that is to come later."""
        self._connection.connect()
        if self._buffer is not None:
            self._connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._going.set()
        with suppress(OSError, AttributeError):
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._connection.close()

    @property
    def ended(self) -> bool:
        return self._done.is_set()

    def until(self, condition: Callable[[Self], Any], what: str, seconds: float = SECONDS) -> Self:
        wait_for(lambda: condition(self), seconds, f"{what}; {self.status} {self.body!r} {self.error!r}")
        return self

    def await_end(self, seconds: float = SECONDS) -> list[Event]:
        self.until(lambda each: each.ended, "the stream to end", seconds)
        return self.events

    def await_state(self, status: str, task_id: str | None = None, seconds: float = SECONDS) -> Event:
        def found() -> Event | None:
            wanted = (each for each in self.events if each.task and each.task["status"] == status)
            return next((each for each in wanted if task_id in (None, each.task["id"])), None)

        return wait_for(found, seconds, f"an event of {task_id or 'a task'} that is {status}") or self.events[-1]

    @property
    def versions(self) -> list[int]:
        return [event.task["version"] for event in self.events]

    def pause(self) -> None:
        self._going.clear()

    def resume(self) -> None:
        self._going.set()

    def _run(self) -> None:
        try:
            self._connection.request("GET", self._path, headers=self._headers)
            answer = self._connection.getresponse()
            self.headers = {name.lower(): value for name, value in answer.getheaders()}
            self.status = answer.status
            if answer.status != http.client.OK:
                self.body = answer.read()
                return
            fields: dict[str, str] = {}
            while line := answer.readline():
                self._read(line.decode().rstrip("\n"), fields)
                self._going.wait()
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.error = error
        finally:
            self._done.set()

    def _read(self, line: str, fields: dict[str, str]) -> None:
        name, _, value = line.partition(": ")
        if line.startswith(":"):
            self.pings += line == ": ping"
        elif line:
            fields[name] = value
        else:
            self.last_id = fields.get("id", self.last_id)
            if "data" in fields:
                self.events.append(Event(fields.get("event", "message"), self.last_id, json.loads(fields["data"])))
            fields.clear()
