"""Creates tasks: from requests to rows, and to the messages that follow their commit.

The fields of a task are defined in the model, the migration and the schemas. This module derives its lists from them: a
field that both `TaskCreate` and the table have is written as given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from pydantic_core import to_json
from sqlalchemy import Column, Connection, DefaultClause, inspect
from sqlalchemy.orm import Session, make_transient_to_detached

from app.catalogue import find_type
from app.core.config import get_settings
from app.core.ids import new_id
from app.core.json_text import dump_json
from app.core.validation_errors import field_errors
from app.db.after_commit import after_commit
from app.db.base import Base, JSONText
from app.db.postgresql import new_tasks
from app.errors import InvalidTask
from app.messaging import hints, publisher
from app.messaging.dispatches import Dispatch
from app.messaging.routing import QUEUE_OF
from app.models.task import Task
from app.schemas.task import TaskCreate
from app.services.tasks.load import Load, attached_bytes, load_of_row

_TABLE = Base.metadata.tables[Task.__tablename__]
# The columns that take a field of the request as it is, and those that are computed.
_GIVEN = [name for name in TaskCreate.model_fields if name in _TABLE.c]
_DERIVED = ("id", "celery_id", "user_id", "queue", "max_attempts_named", "rerun_lost", "attached_bytes")
_JSON_TEXT = [name for name in _GIVEN if isinstance(_TABLE.c[name].type, JSONText)]
_INSERT = new_tasks.insert_statement([*_GIVEN, *_DERIVED])


def _default(column: Column[Any]) -> Any:
    if not isinstance(column.server_default, DefaultClause) or not isinstance(column.server_default.arg, str):
        return None
    text = column.server_default.arg
    if column.type.python_type is bool:
        return text == "true"
    return _read(column, int(text) if column.type.python_type is int else text)


def _read(column: Column[Any], value: Any) -> Any:
    process = getattr(column.type, "process_result_value", None)
    return value if process is None else process(value, None)


_WRITTEN = {*_GIVEN, *_DERIVED}
_DEFAULTS: dict[str, Any] = {
    attribute.key: _default(column)
    for attribute in inspect(Task).column_attrs
    if isinstance(column := attribute.columns[0], Column) and column.name not in _WRITTEN
}


@dataclass(frozen=True, slots=True)
class NewTask:
    """A row to insert: its values, their JSON for the database, and what the quotas count of it."""

    id: UUID
    values: dict[str, Any]
    text: str
    load: Load


def parse(fields: dict[str, Any]) -> TaskCreate:
    """Return the fields as a TaskCreate. Raises InvalidTask, which names the invalid fields."""
    try:
        return TaskCreate.model_validate(fields)
    except ValidationError as error:
        refused = field_errors(error.errors(include_url=False, include_context=False))
        names = ", ".join(str(part) for problem in refused for part in problem["loc"][:1])
        raise InvalidTask(f"The task is not valid: {names}" if names else None, refused) from None


def rows_of(wanted: Sequence[TaskCreate], user_id: UUID) -> list[NewTask]:
    """Check the tasks against the catalogue and return the rows to insert. Raises UnknownTask, InvalidArguments.

    Call it before any statement: the first use of the catalogue imports every task, and no transaction may be idle that
    long.
    """
    grace = get_settings().dispatch_grace_seconds
    return [_row(task, user_id, grace) for task in wanted]


def accept(db: Session | Connection, rows: Sequence[NewTask]) -> list[dict[str, Any]]:
    """Insert these rows in one statement. All ways to create tasks use it.

    Messages and hints follow the commit: of the session's outermost transaction, or of the statement on an autocommit
    connection. Returns each row in the given order, with all columns, as `TaskRead` takes it. Raises IntegrityError or
    DataError if a row is not valid; then no row is inserted.
    """
    if not rows:
        return []
    inserted = {found.id: found for found in new_tasks.insert_rows(db, _INSERT, [row.text for row in rows])}
    accepted = [_as_inserted(row, inserted[row.id]) for row in rows]
    publish = partial(_publish, accepted)
    if isinstance(db, Session):
        after_commit(db, publish)
    else:
        publish()
    return accepted


def as_tasks(db: Session, accepted: Sequence[dict[str, Any]]) -> list[Task]:
    """Return accepted rows as objects of the session, without another statement."""
    tasks = [Task(**{name: value for name, value in row.items() if name != "error"}) for row in accepted]
    for task in tasks:
        make_transient_to_detached(task)
    db.add_all(tasks)
    return tasks


def _publish(accepted: Sequence[dict[str, Any]]) -> None:
    """Publish messages of the rows that are due now, and hints for open streams."""
    publisher.publish(
        [Dispatch.of_row(row) for row in accepted if row["run_at"] is None or row["run_at"] <= row["created_at"]]
    )
    hints.changed(*(row["id"] for row in accepted))


def _as_inserted(row: NewTask, found: Any) -> dict[str, Any]:
    *decided, metadata = found
    returned = dict(zip(new_tasks.DECIDED, decided, strict=False))
    return {**_DEFAULTS, **row.values, **returned, "metadata_": metadata, "error": None}


def _row(wanted: TaskCreate, user_id: UUID, grace_seconds: float) -> NewTask:
    kind = find_type(wanted.celery_task_name)
    kind.check(wanted.args, wanted.kwargs)
    task_id = new_id()
    given = {name: getattr(wanted, name) for name in _GIVEN}
    derived: dict[str, Any] = {
        "id": task_id,
        "celery_id": new_id(),
        "user_id": user_id,
        "queue": kind.queue or QUEUE_OF[wanted.priority],
        "max_attempts": wanted.max_attempts or kind.max_attempts,
        "max_attempts_named": wanted.max_attempts is not None or kind.max_attempts_named,
        "rerun_lost": kind.rerun_lost,
        "attached_bytes": attached_bytes(wanted.name, wanted.tags, wanted.metadata),
    }
    values = given | derived
    texts = {name: dump_json(given[name]) for name in _JSON_TEXT if given[name] is not None}
    text = to_json({**values, **texts, "grace": grace_seconds})
    del values["metadata"]  # the statement returns it (`new_tasks.DECIDED`)
    load = load_of_row(len(texts["args"]) + len(texts["kwargs"]), derived["attached_bytes"])
    return NewTask(task_id, values, text.decode(), load)
