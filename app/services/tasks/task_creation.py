"""Creates tasks: from requests to rows, and to the wake-ups that follow their commit.

The fields of a task are defined in the model, the migration and the schemas. This module derives its lists from them: a
field that both `TaskCreate` and the table have is written as given.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from pydantic_core import to_json
from sqlalchemy import Column, Connection, DefaultClause, Engine, inspect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, make_transient_to_detached

from app.catalogue import find_type
from app.core.ids import new_id
from app.core.json_text import dump_json
from app.core.validation_errors import field_errors
from app.db.after_commit import after_commit
from app.db.base import Base
from app.db.columns import JSONText
from app.db.every_engine.new_tasks import DECIDED
from app.db.outage import first_line
from app.db.session import SessionLocal, transaction
from app.db.sql import new_tasks, turns
from app.errors import InvalidTask
from app.messaging import hints, publisher
from app.messaging.routing import QUEUE_OF
from app.models.task import Task
from app.schemas.task import TaskCreate
from app.services.operations import admitter
from app.services.operations.admission import Freed
from app.services.operations.live_workers import look_for
from app.services.tasks import limited_tasks
from app.services.tasks.limited_tasks import Place
from app.services.tasks.load import Load, attached_bytes, load_of_row

logger = logging.getLogger(__name__)

_TABLE = Base.metadata.tables[Task.__tablename__]
# The columns of a task with a unique_key. Tasks without one do not pay for them.
_OF_KEY = ("unique_key", "on_conflict", "active_key")
# The columns of a task that needs places, which others do not pay for either.
_OF_LIMIT = ("limit", "limit_key", "user_limited", "held")
# The column of a task that repeats another one.
_OF_RETRY = ("retry_of",)
_OF_SOME = {*_OF_KEY, *_OF_LIMIT, *_OF_RETRY}
# The columns that take a field of the request as it is, and those that are computed.
_GIVEN = [name for name in TaskCreate.model_fields if name in _TABLE.c and name not in _OF_SOME]
_DERIVED = ("id", "celery_id", "user_id", "queue", "max_attempts_named", "rerun_lost", "attached_bytes")
_JSON_TEXT = [name for name in _GIVEN if isinstance(_TABLE.c[name].type, JSONText)]
_INSERT = new_tasks.insert_statement([*_GIVEN, *_DERIVED])
_INSERT_ALL = new_tasks.insert_statement([*_GIVEN, *_DERIVED, *_OF_KEY, *_OF_LIMIT, *_OF_RETRY])


def _default(column: Column[Any]) -> Any:
    if not isinstance(column.server_default, DefaultClause) or not isinstance(column.server_default.arg, str):
        return None
    text = column.server_default.arg
    return _read(column, int(text) if column.type.python_type is int else text)


def _read(column: Column[Any], value: Any) -> Any:
    process = getattr(column.type, "process_result_value", None)
    return value if process is None else process(value, None)


# The statement gives the turn, and does not return it: an object of the session reads it when it is asked for it.
_WRITTEN = {*_GIVEN, *_DERIVED, "turn"}
_DEFAULTS: dict[str, Any] = {
    attribute.key: _default(column)
    for attribute in inspect(Task).column_attrs
    if isinstance(column := attribute.columns[0], Column) and column.name not in _WRITTEN
}

# A task that can start now: its id, its queue and what admits it first.
_Due = tuple[UUID, str, Place | None]


@dataclass(frozen=True, slots=True)
class NewTask:
    """A row to insert: its values, their JSON for the database, and what the quotas count of it."""

    id: UUID
    values: dict[str, Any]
    text: str
    load: Load
    unique_key: str | None
    limit: str | None
    has_more: bool
    """Whether it has a value in one of the columns that most tasks do not pay for."""


def parse(fields: dict[str, Any]) -> TaskCreate:
    """Return the fields as a TaskCreate. Raises InvalidTask, which names the invalid fields."""
    try:
        return TaskCreate.model_validate(fields)
    except ValidationError as error:
        refused = field_errors(error.errors(include_url=False, include_context=False))
        names = ", ".join(str(part) for problem in refused for part in problem["loc"][:1])
        raise InvalidTask(f"The task is not valid: {names}" if names else None, refused) from None


def rows_of(wanted: Sequence[TaskCreate], user_id: UUID, *, retry_of: UUID | None = None) -> list[NewTask]:
    """Check the tasks against the catalogue and return the rows to insert. Raises UnknownTask, InvalidArguments.

    `retry_of` is the task that they repeat.

    Call it before any statement: the first use of the catalogue imports every task, and no transaction may be idle that
    long.
    """
    return [_row(task, user_id, retry_of) for task in wanted]


def accept(db: Session | Connection, rows: Sequence[NewTask]) -> list[dict[str, Any]]:
    """Insert these rows in one statement. All ways to create tasks use it.

    On an autocommit connection they get their turns in that statement. In a transaction they get them after its commit:
    from then on other submits of the user would wait for it, however long it stays open. Wake-ups and hints follow the
    commit of the statement, or of the session's outermost transaction. Returns each row in the given order, with all
    columns, as `TaskRead` takes it. Raises IntegrityError or DataError if a row is not valid; then no row is inserted.
    """
    if not rows:
        return []
    limited = [row for row in rows if row.limit is not None]
    if limited:
        if not isinstance(db, Session):
            raise TypeError("tasks with a limit are created in a session")  # a submit may have to wait for others
        limited_tasks.check(db, [row.values for row in limited])
    has_more = any(row.has_more for row in rows)
    statement = _INSERT_ALL if has_more else _INSERT
    texts = [row.text for row in rows]
    inserted = {
        found[0]: found for found in new_tasks.insert_rows(db, statement, texts, place=not isinstance(db, Session))
    }
    accepted = [_as_inserted(row, inserted[row.id]) for row in rows]
    look_for(db, (row["waits"] for row in accepted))
    if isinstance(db, Session):
        after_commit(db, partial(_publish, accepted, db.get_bind()))
    else:
        _publish(accepted)
    return accepted


def wake_if_due(db: Session, task_id: UUID, queue: str) -> None:
    """After the commit, give a pending task its turn and have a slot look at it, if it is due and has none.

    A task that needs a place is admitted first.
    """
    wake_all_due(db, {task_id: queue})


def wake_all_due(db: Session, queues: Mapping[UUID, str]) -> None:
    """The same for several tasks, by their queues."""
    if queues:
        places = limited_tasks.first_places_of(db, queues)
        due = [(task_id, queue, places.get(task_id)) for task_id, queue in queues.items()]
        after_commit(db, partial(_place, db.get_bind(), due))


def wake(db: Session, task_id: UUID, queue: str) -> None:
    """After the commit, have a slot look at this queue for the task, or what admits the task admit tasks first."""
    due = [(queue, limited_tasks.first_places_of(db, [task_id]).get(task_id))]
    after_commit(db, lambda: _wake(due))


def as_tasks(db: Session, accepted: Sequence[dict[str, Any]]) -> list[Task]:
    """Return accepted rows as objects of the session, without another statement."""
    tasks = [Task(**{name: value for name, value in row.items() if name != "error"}) for row in accepted]
    for task in tasks:
        make_transient_to_detached(task)
    db.add_all(tasks)
    return tasks


def _publish(accepted: Sequence[dict[str, Any]], unplaced_on: Engine | Connection | None = None) -> None:
    """Wake slots for the rows that are due now, and send hints for open streams.

    `unplaced_on`: the rows are on this database, and have no turns yet.
    """
    due = [
        (row["id"], row["queue"], limited_tasks.first_place(row["user_id"], row["limit"], row["user_limited"]))
        for row in accepted
        if row["run_at"] is None or row["run_at"] <= row["created_at"]
    ]
    if unplaced_on is None:
        _wake([(queue, place) for _, queue, place in due])
    elif due:
        _place(unplaced_on, due)
    hints.changed(*(row["id"] for row in accepted))


def _place(database: Engine | Connection, due: Sequence[_Due]) -> None:
    """Give committed tasks their turns. Where that fails, maintenance does at its next pass."""
    try:
        with SessionLocal(bind=database, join_transaction_mode="create_savepoint") as db, transaction(db):
            placed = turns.place(db, [task_id for task_id, _, _ in due])
    except SQLAlchemyError as error:
        logger.warning("%d tasks get their turns by maintenance: %s", len(due), first_line(error))
        return
    if placed:
        _wake([(queue, place) for _, queue, place in due])


def _wake(due: Sequence[tuple[str, Place | None]]) -> None:
    """`due` are the queue of each task that can start now, and what admits it first."""
    publisher.publish(queue for queue, place in due if place is None)
    admitting: Freed = {}
    for _, place in due:
        if place is not None:
            name, key = place
            admitting.setdefault(name, set()).update([] if key is None else [key])
    admitter.admit_soon(admitting)


def _as_inserted(row: NewTask, found: Any) -> dict[str, Any]:
    *decided, metadata, waits = found
    returned = dict(zip(DECIDED, decided, strict=False))
    return {**_DEFAULTS, **row.values, **returned, "metadata_": metadata, "error": None, "waits": waits}


def _row(wanted: TaskCreate, user_id: UUID, retry_of: UUID | None) -> NewTask:
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
    plain = len(values)
    if wanted.unique_key is not None:
        values |= dict(zip(_OF_KEY, (wanted.unique_key, wanted.on_conflict, wanted.unique_key), strict=True))
    limit, limit_key = limited_tasks.limit_for(wanted, kind)
    if limit is not None:
        values |= {"limit": limit, "limit_key": limit_key}
    values |= limited_tasks.held_by(values)
    if retry_of is not None:
        values["retry_of"] = retry_of
    has_more = len(values) > plain
    texts = {name: dump_json(given[name]) for name in _JSON_TEXT if given[name] is not None}
    text = to_json({**values, **texts})
    del values["metadata"]  # the statement returns it (`DECIDED`)
    load = load_of_row(len(texts["args"]) + len(texts["kwargs"]), derived["attached_bytes"])
    return NewTask(task_id, values, text.decode(), load, wanted.unique_key, limit, has_more)
