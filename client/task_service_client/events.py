"""Server-Sent Events, line by line (WHATWG HTML, 9.2.6)."""

from collections.abc import Iterator
from dataclasses import dataclass, field

MOST_RETRY_SECONDS = 60.0


@dataclass
class Event:
    """One event; `name` is "" for a comment, which says that the stream lives."""

    name: str
    data: str
    id: str | None


@dataclass
class EventParser:
    """Takes the lines of a stream. `last_id` is what a new connection is to send, `retry` its delay in seconds.

    It is the id of an event that has come as a whole: one that is cut off is sent again. Only an id that a header can
    hold is one.
    """

    last_id: str | None = None
    retry: float | None = None
    _id: str | None = None
    _name: str = ""
    _data: list[str] = field(default_factory=list)

    def restart(self) -> None:
        """Begin with a new connection: forget what has come of an event."""
        self._id, self._name, self._data = self.last_id, "", []

    def feed(self, line: str) -> Iterator[Event]:
        """Yield the event that ends with this line, which has no line end."""
        if not line:
            self.last_id = self._id
            if self._data:
                yield Event(self._name or "message", "\n".join(self._data), self.last_id)
            self._name, self._data = "", []
        elif line.startswith(":"):
            yield Event("", line[1:], self.last_id)
        else:
            name, _, value = line.partition(":")
            self._take(name, value.removeprefix(" "))

    def _take(self, name: str, value: str) -> None:
        if name == "event":
            self._name = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and value.isascii() and value.isprintable():
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = min(MOST_RETRY_SECONDS, int(value[:9]) / 1000)
