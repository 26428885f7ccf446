"""One committed state of a task, rendered once for all streams that send it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from app.models.task import TERMINAL
from app.schemas.task import TaskRead

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CURSOR = re.compile(r"[0-9a-f]{1,16}")
_VERSION = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class Frame:
    """`data` is the task's JSON, as in `GET /tasks/{id}`; `progress` stands in it, too, in percent."""

    task_id: UUID
    version: int
    ended: bool
    data: bytes
    progress: int = 0

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Frame":
        """Render a row, as `TaskRead` takes it."""
        shown = TaskRead.model_validate(row)
        data = shown.model_dump_json().encode("utf-8", "backslashreplace")
        return cls(shown.id, shown.version, shown.status in TERMINAL, data, shown.progress)

    def event(self, event_id: str) -> bytes:
        """Return the frame as a server-sent event. JSON escapes line breaks, so the data is one line."""
        return b"event: task\nid: %b\ndata: %b\n\n" % (event_id.encode(), self.data)


def cursor_of(moment: datetime) -> str:
    """Return the cursor of a moment: all changes up to it have been sent. Clients treat it as opaque."""
    return f"{(moment - _EPOCH) // _MICROSECOND:x}"


def moment_of(cursor: str | None) -> datetime | None:
    """Return the moment of a cursor, or None if the cursor is not valid: the client then starts anew."""
    if not cursor or not _CURSOR.fullmatch(cursor):
        return None
    try:
        return _EPOCH + int(cursor, 16) * _MICROSECOND
    except OverflowError:
        return None


def version_of(event_id: str | None) -> int | None:
    """Return the version in a `Last-Event-ID`, or None if it names none."""
    return int(event_id) if event_id is not None and _VERSION.fullmatch(event_id) else None
