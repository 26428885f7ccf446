"""The rows of new tasks: made of requests, inserted in one statement, and what is known of them then.

The fields of a task are defined in the model, the migration and the schemas. This module derives its lists from them: a
field that both `TaskCreate` and the table have is written as given.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from pydantic_core import to_json
from sqlalchemy.orm import Session

from app.catalogue import TaskType, find_type
from app.core.config import get_settings
from app.core.ids import new_id
from app.core.json_text import dump_json
from app.core.validation_errors import parsed
from app.db.sql import new_tasks
from app.db.statements.tables import DECIDED
from app.ddl.columns import Base, JSONText
from app.errors import InvalidTask, Text, WebhooksOff
from app.messaging.application import QUEUE_OF
from app.models.outbox import ALL_ENDS
from app.models.task import Held, Task
from app.schemas.task import TaskCreate
from app.services.tasks.quotas import Load, attached_bytes, load_of_row
from app.workflows import references

_TABLE = Base.metadata.tables[Task.__tablename__]
# The columns of a task with a unique_key. Tasks without one do not pay for them.
_OF_KEY = ("unique_key", "on_conflict", "active_key")
# The columns of a task that needs places, which others do not pay for either.
_OF_LIMIT = ("limit", "limit_key", "user_limited", "held")
# The columns that only the service itself gives, as `rows_of(…, retry_of=…, schedule_id=…)`; NULL where it does not.
_OF_SERVICE = ("retry_of", "followers", "schedule_id", "workflow_id")
_OF_SOME = (*_OF_KEY, *_OF_LIMIT, "webhook_url", "depends_on", *_OF_SERVICE)
# The columns that take a field of the request as it is, and those that are computed.
_GIVEN = [name for name in TaskCreate.model_fields if name in _TABLE.c and name not in _OF_SOME]
_DERIVED = ("id", "celery_id", "user_id", "queue", "max_attempts_named", "rerun_lost", "attached_bytes")
_JSON_TEXT = [name for name in _GIVEN if isinstance(_TABLE.c[name].type, JSONText)]
_INSERT = new_tasks.insert_statement([*_GIVEN, *_DERIVED])
_INSERT_ALL = new_tasks.insert_statement([*_GIVEN, *_DERIVED, *_OF_SOME])
# All columns that a row can name.
COLUMNS = (*_GIVEN, *_DERIVED, *_OF_SOME)


def _default(column: sa.Column[Any]) -> Any:
    if not isinstance(column.server_default, sa.DefaultClause) or not isinstance(column.server_default.arg, str):
        return None
    text = column.server_default.arg
    return _read(column, int(text) if column.type.python_type is int else text)


def _read(column: sa.Column[Any], value: Any) -> Any:
    process = getattr(column.type, "process_result_value", None)
    return value if process is None else process(value, None)


# The statement gives the turn, and does not return it: an object of the session reads it when it is asked for it.
_WRITTEN = {*_GIVEN, *_DERIVED, "turn"}
_DEFAULTS: dict[str, Any] = {
    attribute.key: _default(column)
    for attribute in sa.inspect(Task).column_attrs
    if isinstance(column := attribute.columns[0], sa.Column) and column.name not in _WRITTEN
}


@dataclass(frozen=True, slots=True)
class NewTask:
    """A row to insert: its request, its values, their JSON for the database, and what the quotas count of it."""

    id: UUID
    wanted: TaskCreate
    values: dict[str, Any]
    text: str
    load: Load
    limit: str | None
    has_more: bool
    """Whether it has a value in one of the columns that most tasks do not pay for."""
    files: Sequence[UUID] = ()
    """The files that its arguments name."""

    @property
    def user_id(self) -> UUID:
        user_id: UUID = self.values["user_id"]
        return user_id

    @property
    def unique_key(self) -> str | None:
        return self.wanted.unique_key

    @property
    def parents(self) -> list[UUID]:
        """The tasks that it depends on."""
        return self.wanted.depends_on

    def waiting(self) -> "NewTask":
        """Return the row of a task that waits for others: its own quota and limit come when they have ended."""
        text = f'{self.text[:-1]},"held":"{Held.DEPENDENCY.value}"}}'
        return replace(self, values={**self.values, "held": Held.DEPENDENCY}, text=text, has_more=True)

    def followed(self, bits: int | None) -> "NewTask":
        """Return the row of a task that these consumers follow besides (`tasks.followers`)."""
        followers = (self.values.get("followers") or 0) | (bits or 0)
        if followers == (self.values.get("followers") or 0):  # nearly always
            return self
        # Of a name that stands twice in an object, the last value counts.
        text = f'{self.text[:-1]},"followers":{followers}}}'
        return replace(self, values={**self.values, "followers": followers}, text=text, has_more=True)


@dataclass(frozen=True, slots=True)
class Created:
    """A task of the request: a new one as a row that `TaskRead` takes, another one as it stands now."""

    task: Any
    is_new: bool

    @property
    def id(self) -> UUID:
        task_id: UUID = self.task["id"] if self.is_new else self.task.id
        return task_id


def parse(fields: dict[str, Any]) -> TaskCreate:
    """Return the fields as a TaskCreate. Raises InvalidTask, which names the invalid fields."""
    try:
        return parsed(TaskCreate, fields, InvalidTask)
    except TypeError as error:  # of a Python caller
        raise InvalidTask(Text("args, kwargs and metadata are JSON: {}", str(error))) from None


def check_arguments(kind: TaskType, wanted: TaskCreate) -> None:
    """Raise InvalidArguments, naming the parameter, unless the body can be called with these."""
    kind.check(wanted.args, wanted.kwargs)


def check_references(kind: TaskType, wanted: TaskCreate) -> None:
    """As `check_arguments`, in a workflow: whatever the references among them stand for is checked as it starts."""
    if references.holds_any([wanted.args, wanted.kwargs]):
        kind.task_parameters.check_names(wanted.args, wanted.kwargs)
    else:
        check_arguments(kind, wanted)


def rows_of(
    wanted: Sequence[TaskCreate | dict[str, Any]], user_id: UUID, followers: int | None = None, *,
    ids: Sequence[UUID] | None = None, check: Callable[[TaskType, TaskCreate], None] = check_arguments, **columns: Any,
) -> list[NewTask]:  # fmt: skip
    """Check the tasks against the catalogue and return the rows to insert, with these ids or new ones.

    `followers` are those of each task of this user, where the caller knows them. `columns` are what the service gives
    besides, the same for each row. Raises InvalidTask, UnknownTask, InvalidArguments, WebhooksOff.

    Call it before any statement: the first use of the catalogue imports every task, and no transaction may be idle that
    long.
    """
    tasks = [task if isinstance(task, TaskCreate) else parse(task) for task in wanted]
    if any(task.webhook_url is not None for task in tasks) and not get_settings().webhook_keys:
        raise WebhooksOff
    ids = ids or [new_id() for _ in tasks]
    return [
        _row(task, check, {"id": task_id, "user_id": user_id}, columns).followed(followers)
        for task_id, task in zip(ids, tasks, strict=True)
    ]


def insert_rows(db: Session | sa.Connection, rows: Sequence[NewTask]) -> list[dict[str, Any]]:
    """Insert these rows in one statement. Returns each in the given order, with all columns, as `TaskRead` takes it.

    On an autocommit connection they get their turns in that statement. In a transaction they get them after its commit:
    from then on other submits of the user would wait for it, however long it stays open. Raises IntegrityError or
    DataError if a row is not valid; then no row is inserted.
    """
    statement = _INSERT_ALL if any(row.has_more for row in rows) else _INSERT
    texts = [row.text for row in rows]
    found = new_tasks.insert_rows(db, statement, texts, place=not isinstance(db, Session))
    inserted = {each[0]: each for each in found}
    return [_as_inserted(row, inserted[row.id]) for row in rows]


def _as_inserted(row: NewTask, found: Any) -> dict[str, Any]:
    *decided, metadata, waits = found
    returned = dict(zip(DECIDED, decided, strict=False))
    return {**_DEFAULTS, **row.values, **returned, "metadata_": metadata, "error": None, "waits": waits}


def _row(
    wanted: TaskCreate, check: Callable[[TaskType, TaskCreate], None], ids: dict[str, UUID], columns: dict[str, Any]
) -> NewTask:  # fmt: skip
    kind = find_type(wanted.celery_task_name)
    check(kind, wanted)
    files = kind.task_parameters.files(wanted.args, wanted.kwargs)
    given = {name: getattr(wanted, name) for name in _GIVEN}
    texts = {name: dump_json(given[name]) for name in _JSON_TEXT if given[name] is not None}
    attached = attached_bytes(wanted.name, wanted.tags, wanted.metadata, len(wanted.depends_on))
    load = load_of_row(len(texts["args"]) + len(texts["kwargs"]), attached)
    derived: dict[str, Any] = {
        **ids,
        "celery_id": new_id(),
        "queue": kind.queue or QUEUE_OF[wanted.priority],
        "max_attempts": wanted.max_attempts or kind.max_attempts,
        "max_attempts_named": wanted.max_attempts is not None or kind.max_attempts_named,
        "rerun_lost": kind.rerun_lost,
        "attached_bytes": attached,
    }
    values = given | derived
    plain = len(values)
    if wanted.unique_key is not None:
        values |= dict(zip(_OF_KEY, (wanted.unique_key, wanted.on_conflict, wanted.unique_key), strict=True))
    limit, limit_key = _limit_for(wanted, kind)
    if limit is not None:
        values |= {"limit": limit, "limit_key": limit_key}
    if wanted.depends_on:
        values["depends_on"] = [str(each) for each in wanted.depends_on]
        texts["depends_on"] = dump_json(values["depends_on"])
    values |= held_by(values) | columns
    if wanted.webhook_url is not None:
        followers = values.get("followers") or 0
        values |= {"webhook_url": wanted.webhook_url, "followers": followers | ALL_ENDS}
    has_more = len(values) > plain
    text = to_json({**values, **texts})
    del values["metadata"]  # the statement returns it (`DECIDED`)
    return NewTask(ids["id"], wanted, values, text.decode(), load, limit, has_more, files)


def _limit_for(wanted: TaskCreate, kind: TaskType) -> tuple[str | None, str | None]:
    """Return the limit and its key that the request names, else the decorator. Raises InvalidTask for a key alone."""
    limit = wanted.limit or kind.limit
    if limit is None and wanted.limit_key is not None:
        message = "limit_key requires a limit"
        raise InvalidTask.at(["limit_key"], message, "limit_key_without_limit", message)
    of_kind = kind.limit_key if limit == kind.limit else None
    return limit, wanted.limit_key or of_kind


def held_by(row: dict[str, Any]) -> dict[str, Any]:
    """Return a new task's columns for its user's quota and its limit: what it needs, and for which it waits."""
    by_user = get_settings().quota_running_tasks > 0
    if by_user:
        return {"user_limited": True, "held": Held.USER}
    return {} if row.get("limit") is None else {"held": Held.LIMIT}
