"""A receiver of webhooks with a ledger: verifies each, keeps what it has taken, and answers 503 to some at first."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from app.core.signatures import InvalidSignature, verify
from tests.unit.outbound.web_server import Web, reply, web_server

# Of so many events one is refused at its first attempt.
REFUSED = 10


@dataclass(frozen=True)
class Arrival:
    """One webhook that was taken: its id, and its bytes."""

    path: str
    event_id: str
    body: bytes

    @property
    def event(self) -> tuple[str, str]:
        """The task, and what became of it."""
        content = json.loads(self.body)
        return content["data"]["id"], content["type"]


@dataclass
class Ledger:
    """`secrets[path]` verifies what comes to the path; `forged` has what is not genuine, `cut_off` counts half requests."""

    web: Web
    secrets: dict[str, str] = field(default_factory=dict)
    taken: list[Arrival] = field(default_factory=list)
    forged: list[str] = field(default_factory=list)
    cut_off: int = 0
    _known: set[tuple[str, str]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def listen(self, path: str, secret: str) -> None:
        self.secrets[path] = secret
        self.web.answer[path] = self._receive

    def _receive(self, request: BaseHTTPRequestHandler) -> None:
        path, event_id = request.path, str(request.headers["webhook-id"])
        with self._lock:
            # The server notes what it has read before it has it answered; each connection is one request.
            body = next(
                seen.body
                for seen in reversed(self.web.seen)
                if (seen.path, seen.headers["webhook-id"]) == (path, event_id)
            )
            if len(body) < int(request.headers["content-length"]):
                self.cut_off += 1  # its sender died within the request
                return reply(400)(request)
            try:
                verify(self.secrets[path], dict(request.headers.items()), body)
            except InvalidSignature as error:
                self.forged.append(f"{path} {event_id}: {error}: {body[:200]!r} of {len(body)} bytes")
                return reply(400)(request)
            is_first = (path, event_id) not in self._known
            self._known.add((path, event_id))
            if is_first and len(self._known) % REFUSED == 0:
                return reply(503)(request)
            self.taken.append(Arrival(path, event_id, body))
        return reply(204)(request)


@contextmanager
def ledger() -> Iterator[Ledger]:
    with web_server() as web:
        yield Ledger(web)
