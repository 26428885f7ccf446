"""Accepting tasks: from what was asked for to committed rows and the dispatches they owe."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from pydantic_core import to_json
from sqlalchemy import (
    JSON,
    Boolean,
    Connection,
    Float,
    Integer,
    Text,
    Uuid,
    bindparam,
    case,
    cast,
    column,
    func,
    insert,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from app.catalogue import find_type
from app.core.config import get_settings
from app.core.ids import new_id
from app.db.base import Base, UTCDateTime, dump_json
from app.errors import InvalidTask
from app.messaging.dispatches import Dispatch
from app.messaging.routing import QUEUE_OF
from app.models.task import Task, TaskStatus
from app.schemas.refusals import field_errors
from app.schemas.task import TaskCreate
from app.services.execution.transitions import STATEMENT_TIME, seconds

# All rows of a group as one parameter, and one text of the statement for any number of them: a parameter for each
# column of each row costs many times as much, most of it in Python.
_COLUMNS: dict[str, TypeEngine[Any]] = {
    **dict.fromkeys(("id", "celery_id", "user_id"), Uuid()),
    **dict.fromkeys(("name", "task_type", "celery_task_name", "args", "kwargs", "priority", "queue"), Text()),
    "tags": ARRAY(Text),
    "metadata": JSONB(),
    **dict.fromkeys(("delay_seconds", "timeout_seconds", "retry_backoff_seconds"), Float()),
    "expires_at": UTCDateTime,
    "max_attempts": Integer(),
    **dict.fromkeys(("max_attempts_named", "rerun_lost"), Boolean()),
}
_NEW = (
    func.json_to_recordset(cast(bindparam("p_rows", type_=Text), JSON))
    .table_valued(
        *(column(name, kind) for name, kind in _COLUMNS.items()), column("run_at", UTCDateTime), column("grace", Float)
    )
    .render_derived(name="new", with_types=True)
)
_START = func.coalesce(_NEW.c.run_at, STATEMENT_TIME + seconds(_NEW.c.delay_seconds))
# Due now: a grace time ahead, in which the publisher sends it; the keeper sends what is still due after that.
_DUE = case((_START > STATEMENT_TIME, _START), else_=STATEMENT_TIME + seconds(_NEW.c.grace))
_NAMES = [*_COLUMNS, "run_at", "dispatch_at", "created_at", "updated_at"]
_VALUES = select(*(_NEW.c[name] for name in _COLUMNS), _START, _DUE, STATEMENT_TIME, STATEMENT_TIME)
_TABLE = Base.metadata.tables[Task.__tablename__]
# JSONB has its own way with numbers: the metadata are answered as they stand in the row.
_DECIDED = ("id", "run_at", "dispatch_at", "created_at", "updated_at", "metadata")
_ANSWERED = (*_DECIDED[:-1], "metadata_")
_INSERT_ROWS = insert(_TABLE).from_select(_NAMES, _VALUES).returning(*(_TABLE.c[name] for name in _DECIDED))
_INSERT_TASKS = select(Task).from_statement(insert(_TABLE).from_select(_NAMES, _VALUES).returning(_TABLE))
# What the table itself says of a new row.
_FRESH: dict[str, Any] = {
    "status": TaskStatus.PENDING, "progress": 0, "attempt": 0, "version": 1, "generation": 1,
    **dict.fromkeys(
        ("status_reason", "progress_detail", "result", "error", "worker", "started_at", "finished_at",
         "cancel_requested_at")
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class NewTask:
    """A row to insert: its values, the JSON that carries them there, and the bytes of its arguments."""

    id: UUID
    values: dict[str, Any]
    text: str
    size: int


def parse(fields: dict[str, Any]) -> TaskCreate:
    """The fields as a TaskCreate. Raises InvalidTask with the refused ones."""
    try:
        return TaskCreate.model_validate(fields)
    except ValidationError as error:
        refused = field_errors(error.errors(include_url=False, include_context=False))
        names = ", ".join(str(part) for problem in refused for part in problem["loc"][:1])
        raise InvalidTask(f"The task is not valid: {names}" if names else None, refused) from None


def rows_of(wanted: Sequence[TaskCreate], user_id: UUID) -> list[NewTask]:
    """What to insert, once all are checked against the catalogue. Raises UnknownTask, InvalidArguments.

    Before any statement: a first look at the catalogue imports every task, and no transaction may sit idle for so long.
    """
    return [_row(task, user_id) for task in wanted]


def insert_tasks(db: Session, rows: Sequence[NewTask]) -> list[Task]:
    """All of `rows_of`, in one statement, in their order."""
    if not rows:
        return []
    inserted = {task.id: task for task in db.scalars(_INSERT_TASKS, {"p_rows": _text(rows)})}
    return [inserted[row.id] for row in rows]


def insert_rows(connection: Connection, rows: Sequence[NewTask]) -> list[dict[str, Any]]:
    """The same for who wants no objects: each as `TaskRead` takes it, and with its `dispatch_at` and `generation`."""
    result = connection.execute(_INSERT_ROWS, {"p_rows": _text(rows)})
    decided = {row[0]: row for row in result}
    return [{**_FRESH, **row.values, **dict(zip(_ANSWERED, decided[row.id], strict=True))} for row in rows]


def due_now(tasks: Sequence[Task]) -> list[Dispatch]:
    """The dispatches to send at once: of those that need not wait for a later time."""
    return [Dispatch.of(task) for task in tasks if task.run_at is None or task.run_at <= task.created_at]


def rows_due_now(rows: Sequence[dict[str, Any]]) -> list[Dispatch]:
    """The same of what `insert_rows` gives."""
    return [Dispatch.of_row(row) for row in rows if row["run_at"] is None or row["run_at"] <= row["created_at"]]


def _text(rows: Sequence[NewTask]) -> str:
    return f"[{','.join(row.text for row in rows)}]"


def _row(wanted: TaskCreate, user_id: UUID) -> NewTask:
    kind = find_type(wanted.celery_task_name)
    kind.check(wanted.args, wanted.kwargs)
    task_id = new_id()
    values: dict[str, Any] = {
        "id": task_id,
        "celery_id": new_id(),
        "user_id": user_id,
        "name": wanted.name,
        "task_type": wanted.task_type,
        "celery_task_name": wanted.celery_task_name,
        "args": wanted.args,
        "kwargs": wanted.kwargs,
        "priority": wanted.priority,
        "queue": kind.queue or QUEUE_OF[wanted.priority],
        "tags": wanted.tags,
        "metadata": wanted.metadata,
        "run_at": wanted.run_at,
        "delay_seconds": wanted.delay_seconds,
        "expires_at": wanted.expires_at,
        "timeout_seconds": wanted.timeout_seconds,
        "retry_backoff_seconds": wanted.retry_backoff_seconds,
        "max_attempts": wanted.max_attempts or kind.max_attempts,
        "max_attempts_named": wanted.max_attempts is not None or kind.max_attempts_named,
        "rerun_lost": kind.rerun_lost,
    }
    args, kwargs = dump_json(wanted.args), dump_json(wanted.kwargs)
    grace = get_settings().dispatch_grace_seconds
    text = to_json({**values, "args": args, "kwargs": kwargs, "grace": grace})
    return NewTask(task_id, values, text.decode(), len(args) + len(kwargs))
