"""The bodies of webhooks: `{type, timestamp, data}`, made once and then sent as they are."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.core.json_text import dump_json
from app.db.statements import conditions, task_rows
from app.models.schedule import Schedule
from app.models.task import Task
from app.schemas.schedule import ScheduleRead
from app.schemas.task import TaskRead
from app.services.tasks.task_queries import SHOWN, as_shown

MAX_DATA_BYTES = 256 * 1024
# Of an object that is larger, or is no more as it was then.
IDENTITY = ("id", "status")

_TASKS = Task.__table__.c
_SNAPSHOTS = sa.select(*(_TASKS[name] for name in SHOWN), task_rows.WAITS, _TASKS.generation).where(
    # What is larger by its columns is larger as JSON, too.
    conditions.is_one_of(_TASKS.id, "ids"),
    task_rows.LARGE_BYTES <= MAX_DATA_BYTES,
)


class TaskEnd(NamedTuple):
    """The end of a task that is told: which one, and how and when it was."""

    task_id: UUID
    generation: int | None
    type: str
    at: datetime

    @property
    def status(self) -> str:
        return self.type.rpartition(".")[2]


class Skip(NamedTuple):
    """Times of a schedule that were skipped: of which one, and when they were."""

    schedule_id: UUID
    type: str
    at: datetime


def body_of(kind: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    """Return the body of an event. Data above MAX_DATA_BYTES are their id and status alone."""
    return _body(kind, at, dump_json(data).encode(), data)


def bodies_of_ends(db: Session, ends: Sequence[TaskEnd]) -> list[bytes]:
    """Return the body of each of these ends: the task as GET shows it. Reads all tasks in one statement.

    Of a task that was retried or deleted meanwhile, or is too large, `data` is its id and that end's status.
    """
    found = db.execute(_SNAPSHOTS, {"ids": list({end.task_id for end in ends})}).mappings()
    rows = {row["id"]: dict(row) for row in found}
    return [_body_of_end(end, rows.get(end.task_id)) for end in ends]


def bodies_of_skips(db: Session, skips: Sequence[Skip]) -> list[bytes]:
    """Return the body of each: the schedule as GET shows it now. Equal ones are one object.

    Of a schedule that is deleted, or is too large, `data` is its id alone.
    """
    rows = sa.select(Schedule).where(Schedule.id.in_({skip.schedule_id for skip in skips}))
    found = {each.id: each for each in db.scalars(rows.execution_options(populate_existing=True))}
    data = {each.id: ScheduleRead.model_validate(each).model_dump_json().encode() for each in found.values()}
    made = dict[Skip, bytes]()
    for skip in skips:
        if skip not in made:
            whole = {"id": str(skip.schedule_id)}
            made[skip] = _body(skip.type, skip.at, data.get(skip.schedule_id, b""), whole)
    return [made[skip] for skip in skips]


def _body_of_end(end: TaskEnd, row: dict[str, Any] | None) -> bytes:
    data = b""
    if row is not None and (row["generation"], row["status"]) == (end.generation, end.status):
        shown = TaskRead.model_validate(as_shown({name: value for name, value in row.items() if name != "generation"}))
        data = shown.__pydantic_serializer__.to_json(shown)
    return _body(end.type, end.at, data, {"id": str(end.task_id), "status": end.status})


def _body(kind: str, at: datetime, data: bytes, whole: Mapping[str, Any]) -> bytes:
    if not data or len(data) > MAX_DATA_BYTES:
        data = dump_json({name: whole[name] for name in IDENTITY if name in whole}).encode()
    head = dump_json({"type": kind, "timestamp": at.astimezone(UTC).isoformat().replace("+00:00", "Z")})
    return head[:-1].encode() + b',"data":' + data + b"}"
