"""Unique keys: of a user's pending and running tasks, one at most has a key.

A unique index over `tasks.active_key` holds this, whoever writes. This module decides what becomes of a request whose
key is taken, and replaces the task that has it where the request says so. Where another transaction is faster than what
was decided, the index or the version of a task tells it, and all of it is done again.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import ColumnElement, bindparam, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db.outage import UNIQUE_VIOLATION, sqlstate
from app.db.statements import dependencies, reads
from app.ddl.clock import STATEMENT_TIME
from app.ddl.indexes import UNIQUE_KEY
from app.errors import KeptTasksTooLarge, Text, UniqueKeyTaken
from app.models.audit import AuditEvent
from app.models.outbox import ConsumerNumber
from app.models.task import Held, OnConflict, Task, TaskStatus
from app.schemas.task import TaskCreate
from app.services import audit
from app.services.outbox import add_followers
from app.services.tasks import task_changes, task_history, task_queries
from app.services.tasks.due_tasks import wake, wake_if_due
from app.services.tasks.new_rows import COLUMNS, Created, NewTask
from app.services.tasks.quotas import (
    NO_LOAD,
    Load,
    attached_bytes,
    attached_bytes_of,
    load_growth,
    load_of,
    sum_of_loads,
)
from app.services.tasks.task_edits import with_scheduled_time

# Each try fails only if another transaction took or gave up one of the keys in between.
TRIES = 10
# As for a repeated batch: the tasks that have the keys may hold a thousand times the largest arguments.
MAX_KEPT_BYTES = 8 * 1024 * 1024

# MySQL names the index, SQLite the columns. The values that MySQL tells before it are the user's.
_OF_MYSQL, _OF_SQLITE = f"{UNIQUE_KEY}'", f"{Task.__tablename__}.user_id, {Task.__tablename__}.active_key"

_FASTER = "Other requests with the same unique_key were faster: try again"


class _Overtaken(Exception):
    """Another transaction was faster. Rolls back, and never leaves this module."""


class HasKey(Protocol):
    """A task, or what is known of its row."""

    @property
    def user_id(self) -> UUID: ...

    @property
    def unique_key(self) -> str | None: ...


@dataclass(slots=True)
class _Wanted:
    """What a request wants under one key; the numbers are places in the request.

    A batch counts as requests that come one after the other.
    """

    first: int
    # What stands in the row if it is new, and what replaces the task that has the key.
    new: int
    replacement: int | None


@dataclass(slots=True)
class Keyed:
    """What becomes of the rows of a request: those that are new, those that replace a task, and what they add."""

    new: Sequence[NewTask]
    # By their ids, tasks as they were read, and the rows that say what becomes of them.
    replacing: dict[UUID, tuple[Task, NewTask]] = field(default_factory=dict)
    # The tasks that have the keys of rows: their ids, and what `read_kept` has found, by the key.
    held: dict[str, UUID] = field(default_factory=dict)
    kept: dict[str, Task] = field(default_factory=dict)
    # Of these tasks, what is to follow them besides (`tasks.followers`).
    followers: dict[UUID, int] = field(default_factory=dict)
    # Those for which the request has new tasks with a limit before the row with the key: the place of that row.
    behind_limits: dict[UUID, int] = field(default_factory=dict)
    growth: Load = NO_LOAD

    @property
    def load(self) -> Load:
        """What is added to the quotas."""
        return sum_of_loads(row.load for row in self.new) + self.growth

    def apply(self, to_row: Callable[[NewTask], NewTask]) -> None:
        """Replace the rows that will be written by what `to_row` makes of them."""
        self.new = [to_row(row) for row in self.new]
        self.replacing = {task_id: (task, to_row(row)) for task_id, (task, row) in self.replacing.items()}

    def change_held(self, db: Session) -> None:
        """Write what the request says of the tasks that have the keys. The quota, which counts that, comes before."""
        # In the order of the keys, as all requests: two with the same keys wait for each other, and do not deadlock.
        for key in sorted(self.held):
            task_id = self.held[key]
            if task_id in self.replacing and not replace_task(db, *self.replacing[task_id]):
                raise _Overtaken
            if task_id in self.followers:
                add_followers(db, self.followers[task_id], Task.id == task_id)

    def read_kept(self, db: Session, *, bounded: bool, cancelled: Collection[UUID]) -> None:
        """Read the tasks that had the keys, as they are now; the request itself has `cancelled` these.

        `bounded`: raises KeptTasksTooLarge where they hold more than MAX_KEPT_BYTES. Raises UniqueKeyTaken for one that
        an earlier row of the request has cancelled.
        """
        for task_id, at in self.behind_limits.items():
            if task_id in cancelled:
                why = "is cancelled by the limit of an earlier task of the batch: send this one before it, or alone"
                raise UniqueKeyTaken(
                    Text("tasks[{}]: Task {}, which has this unique_key, {}", at, task_id, why), task_id=task_id
                )
        if self.held:
            self.kept = _read(db, self.held, cancelled, bounded=bounded)

    def created(self, row: NewTask, inserted: dict[str | UUID, Any]) -> Created:
        """Return the task of a row of the request; `inserted` are the new ones, by key or id."""
        name = row.unique_key or row.id
        return Created(inserted[name], True) if name in inserted else Created(self.kept[str(name)], False)


def has_keys(rows: Sequence[HasKey]) -> bool:
    """Return whether one of these has a `unique_key`."""
    return any(row.unique_key is not None for row in rows)


def match_keys(db: Session, rows: Sequence[NewTask]) -> Keyed:
    """Find the tasks that have the keys of these rows, of one user, and say which are to be replaced.

    Writes nothing. Raises UniqueKeyTaken.
    """
    if not has_keys(rows):
        return Keyed(rows)
    by_key = _by_key(rows)
    held = holders(db, rows[0].user_id, by_key)
    for key, task_id in held.items():
        first = by_key[key].first
        if rows[first].wanted.on_conflict is OnConflict.REJECT:
            raise _taken(task_id, rows, first)
    # In one order, as `change_held` keeps it.
    new = [rows[by_key[key].new] for key in sorted(by_key) if key not in held]
    keyed = Keyed([*new, *(row for row in rows if row.unique_key is None)], held=held)
    limited = min((at for at, row in enumerate(rows) if row.limit and row.unique_key not in held), default=len(rows))
    for key, task_id in sorted(held.items()):
        wanted = by_key[key]
        if wanted.first > limited:
            keyed.behind_limits[task_id] = wanted.first
        last = wanted.first if wanted.replacement is None else wanted.replacement
        if followers := rows[last].values.get("followers"):
            keyed.followers[task_id] = followers
        if wanted.replacement is not None:
            task = _replaceable(db, task_id, rows, last)
            keyed.growth += added_load(task, rows[last])
            keyed.replacing[task_id] = (task, rows[last])
    return keyed


def attempts(
    db: Session, rows: Sequence[HasKey], *, savepoint: bool
) -> Iterator[AbstractContextManager[object]]:  # fmt: skip
    """Yield blocks in which to write the rows: a next one only if another transaction was faster. Break after success.

    `savepoint`: an error leaves the transaction as it was before the block, also where no row has a key.

    Raises UniqueKeyTaken after TRIES.
    """
    if not has_keys(rows):
        yield db.begin_nested() if savepoint else nullcontext()
        return
    for _ in range(TRIES):
        yield _undone_if_overtaken(db)
    raise UniqueKeyTaken(_FASTER)


def take_again(db: Session, task: HasKey, restart: Callable[[], bool]) -> bool:
    """Call `restart`, which makes an ended task pending, and return its answer.

    Raises UniqueKeyTaken if another task has the key meanwhile, and leaves the transaction as it was.
    """
    if task.unique_key is None:
        return restart()
    for _ in range(TRIES):
        with _undone_if_overtaken(db):
            return restart()
        for task_id in holders(db, task.user_id, [task.unique_key]).values():
            raise _taken(task_id)
    raise UniqueKeyTaken(_FASTER)


_HOLDERS = select(Task.active_key, Task.id).where(
    Task.user_id == bindparam("p_user_id"), reads.is_one_of(Task.active_key, "p_keys")
)


def holders(db: Session, user_id: UUID, keys: Collection[str]) -> dict[str, UUID]:
    """Return the user's pending and running tasks that have one of these keys: their ids, by the key."""
    found = db.execute(_HOLDERS, {"p_user_id": user_id, "p_keys": list(keys)})
    return {row.active_key: row.id for row in found}


@contextmanager
def _undone_if_overtaken(db: Session) -> Iterator[None]:
    """A savepoint. If another transaction was faster, the block is undone and ends without an error."""
    try:
        with db.begin_nested():
            yield
    except _Overtaken:
        pass
    except IntegrityError as error:
        if not is_taken(error):
            raise


def is_taken(error: IntegrityError) -> bool:
    """Return whether the statement failed because another task has the key."""
    diagnosis = getattr(error.orig, "diag", None)
    if diagnosis is not None:
        return bool(diagnosis.constraint_name == UNIQUE_KEY)
    said = str(next(reversed(error.orig.args), "")) if error.orig is not None else ""
    return sqlstate(error) == UNIQUE_VIOLATION and said.endswith((_OF_MYSQL, _OF_SQLITE))


def _replaceable(db: Session, task_id: UUID, rows: Sequence[NewTask], at: int) -> Task:
    """Return the task that `rows[at]` replaces. Raises UniqueKeyTaken if it may not be replaced."""
    task, row = task_queries.find(db, task_id), rows[at]
    if task is None or task.active_key != row.unique_key:
        raise _Overtaken
    if task.celery_task_name != row.wanted.celery_task_name:
        raise _taken(task_id, rows, at, "it has another celery_task_name")
    if task.status is not TaskStatus.PENDING:
        raise _taken(task_id, rows, at, f"it is {task.status}")
    if task.workflow_id is not None:
        raise _taken(task_id, rows, at, "it is part of a workflow")
    if row.parents and (task_id in row.parents or ConsumerNumber.CHILDREN.is_in(task.followers)):
        raise _taken(task_id, rows, at, "others depend on it, and would depend on themselves")
    return task


def _read(db: Session, held: dict[str, UUID], cancelled: Collection[UUID], *, bounded: bool) -> dict[str, Task]:
    ids = list(held.values())
    if bounded and len(ids) > 1 and task_queries.bytes_of(db, ids) > MAX_KEPT_BYTES:
        raise KeptTasksTooLarge
    found = {task.id: task for task in task_queries.find_all(db, ids)}
    for key, task_id in held.items():
        has_ended = task_id not in found or found[task_id].active_key != key
        if has_ended and task_id not in cancelled:  # another transaction has ended it since
            raise _Overtaken
    return {key: found[task_id] for key, task_id in held.items()}


def _by_key(rows: Sequence[NewTask]) -> dict[str, _Wanted]:
    """Raises UniqueKeyTaken if a task of the batch may not have a key that an earlier one has."""
    found: dict[str, _Wanted] = {}
    for at, row in enumerate(rows):
        if row.unique_key is None:
            continue
        wanted = row.wanted
        replaces = at if wanted.on_conflict is OnConflict.REPLACE else None
        known = found.setdefault(row.unique_key, _Wanted(at, at, replaces))
        if known.first == at or wanted.on_conflict is OnConflict.RETURN:
            continue
        if replaces is None or wanted.celery_task_name != rows[known.first].wanted.celery_task_name:
            raise UniqueKeyTaken(Text("tasks[{}]: tasks[{}] of the batch has this unique_key", at, known.first))
        known.new = known.replacement = at
    return found


def _taken(task_id: UUID, rows: Sequence[NewTask] = (), at: int = 0, why: str = "") -> UniqueKeyTaken:
    detail = Text("Task {} has this unique_key", task_id)
    if why:
        detail = Text("Task {} has this unique_key, and cannot be replaced: {}", task_id, why)
    return UniqueKeyTaken(Text("tasks[{}]: {}", at, detail) if len(rows) > 1 else detail, task_id=task_id)


# -- Replacing all that a request says of a pending task. Its id, its celery_task_name and its past attempts stay ------

# What stays as it was, and what is computed here.
_KEPT_COLUMNS = frozenset(
    {"id", "celery_id", "user_id", "celery_task_name", "unique_key", "active_key", "followers", "schedule_id"}
)
_COMPUTED_COLUMNS = frozenset({"metadata", "max_attempts", "run_at", "held", "attached_bytes"})
_COLUMN_OF = {"metadata": "metadata_"}
_REPLACED_COLUMNS = [name for name in COLUMNS if name not in _KEPT_COLUMNS | _COMPUTED_COLUMNS]


def added_load(task: Task, row: NewTask) -> Load:
    """Return what the replacement adds to the quotas: bytes, and no task. Never less than nothing."""
    return load_growth(load_of(task), row.load)


def replace_task(db: Session, task: Task, row: NewTask) -> bool:
    """Replace this version of a pending task by what the row says. Returns False if it has changed since.

    It keeps its place in the queue unless its queue, its priority or its start is another one.
    """
    values = _replacing_values(task, row)
    waits = row.values.get("held") == Held.DEPENDENCY
    moves = waits or not _keeps_place(task, values)
    if moves:
        values |= task_changes.due_values(values, waits=waits)
    # With another limit it waits for a place anew; it has none of that limit.
    relimits = any(getattr(task, name) != values[name] for name in ("limit", "limit_key", "user_limited"))
    if moves or relimits:
        values["held"] = row.values.get("held")
    after = attached_bytes(values["name"], values["tags"], values["metadata_"], len(row.parents))
    more = after - attached_bytes_of(task)
    if not task_changes.patch(db, task.id, task.version, values, pending_only=True, more_bytes=more):
        return False
    audit.record_task(db, AuditEvent.TASK_CHANGED, task, fields=_changed_fields(task, values))
    if task.depends_on:
        dependencies.delete_edges(db, task.id)  # those of the request are written next
    if task.attempt:
        task_history.clear_steps(db, task.id)
    if moves:
        wake_if_due(db, task.id, values["queue"])
    elif relimits:
        wake(db, task.id, values["queue"])
    return True


def _changed_fields(task: Task, values: dict[str, Any]) -> list[str]:
    """Return the names of the request's fields in which the task becomes another one."""
    return sorted(
        name
        for name, column in ((name, _COLUMN_OF.get(name, name)) for name in TaskCreate.model_fields)
        if column in values and _differs(values[column], getattr(task, column))
    )


def _differs(value: Any, before: Any) -> bool:
    return isinstance(value, ColumnElement) or bool(value != before)


def _replacing_values(task: Task, row: NewTask) -> dict[str, Any]:
    wanted = row.wanted
    values = {name: row.values.get(name) for name in _REPLACED_COLUMNS}
    # A schedule that fires again into its own task gives it its own time.
    is_its_own = row.values.get("schedule_id") == task.schedule_id
    values["metadata_"] = wanted.metadata if is_its_own else with_scheduled_time(task, wanted.metadata)
    # Failed attempts stay counted: one more attempt is left in any case.
    values["max_attempts"] = max(row.values["max_attempts"], task.failures + 1)
    values["run_at"] = wanted.run_at
    if wanted.delay_seconds is not None:
        values["run_at"] = STATEMENT_TIME + timedelta(seconds=wanted.delay_seconds)
    return values


def _keeps_place(task: Task, values: dict[str, Any]) -> bool:
    """Return whether the task waits in its queue, and the replacement is due now in the same place."""
    waits = task.turn is not None
    same = (task.queue, task.priority) == (values["queue"], values["priority"])
    return waits and same and values["run_at"] is None
