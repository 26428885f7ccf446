"""Connections, and a few that are kept for the next request to their origin: each was checked when it was made."""

import threading
import time
from collections import deque
from dataclasses import dataclass, field

import httpcore

from app.outbound.network import GuardedBackend

# A name that has come to lead elsewhere is followed after so long.
KEPT_SECONDS = 60.0
# Many servers close what has been idle for five seconds, perhaps just when the next request is on its way.
IDLE_SECONDS = 4.0
MOST_OF_ORIGIN = 4
MOST = 128


@dataclass(slots=True, eq=False)
class Connection:
    """A connection to one origin, of one request at a time. Times as `time.monotonic` has them."""

    http: httpcore.HTTPConnection
    backend: GuardedBackend
    made_at: float = field(default_factory=time.monotonic)
    idle_at: float = 0.0

    def is_fit(self, now: float) -> bool:
        """Whether a further request may be sent: as far as one knows the server has not closed it."""
        is_young = now - self.made_at < KEPT_SECONDS and now - self.idle_at < IDLE_SECONDS
        return is_young and self.http.is_idle() and not self.http.has_expired()


class Connections:
    """Idle connections by their origins, `most` in all. Safe to share between threads."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._lock = threading.Lock()
        self._idle: dict[str, deque[Connection]] = {}

    def take(self, origin: str) -> Connection | None:
        """Return a connection to this origin that is fit for a request, the one used last; None: there is none."""
        now = time.monotonic()
        while True:
            with self._lock:
                its = self._idle.get(origin)
                if its is None:
                    return None
                found = its.pop()
                if not its:
                    del self._idle[origin]
            if found.is_fit(now):
                return found
            found.http.close()

    def keep(self, origin: str, connection: Connection) -> None:
        """Keep it, if its answer was read whole, neither side ends it, and there is room; else close it."""
        connection.idle_at = time.monotonic()
        if connection.is_fit(connection.idle_at):
            with self._lock:
                its = self._idle.setdefault(origin, deque())
                if has_room := len(its) < MOST_OF_ORIGIN and sum(map(len, self._idle.values())) < self.most:
                    its.append(connection)
                elif not its:
                    del self._idle[origin]
            if has_room:
                return
        connection.http.close()

    def close_unfit(self) -> None:
        """Close those that no request may be sent over any more."""
        now = time.monotonic()
        with self._lock:
            unfit = [(origin, each) for origin, its in self._idle.items() for each in its if not each.is_fit(now)]
            for origin, each in unfit:
                self._idle[origin].remove(each)
            self._idle = {origin: its for origin, its in self._idle.items() if its}
        for _, each in unfit:
            each.http.close()

    def close(self) -> None:
        """Close all that are idle."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for its in idle.values():
            for each in its:
                each.http.close()
