"""Unique keys: of a user's pending and running tasks, one at most has a key.

A unique index over `tasks.active_key` holds this, whoever writes. This module decides what becomes of a request whose
key is taken. It looks for the tasks that have the keys, decides, and writes. Where another transaction was faster, the
index or the version of a task tells it, and all of it is done again.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.sql import conditions, unique_keys
from app.errors import KeptTasksTooLarge, UniqueKeyTaken
from app.models.task import OnConflict, Task, TaskStatus
from app.schemas.task import TaskCreate
from app.services.tasks import task_creation, task_queries, task_replacing
from app.services.tasks.load import NOTHING, Load, sum_of
from app.services.tasks.quotas import quotas
from app.services.tasks.task_creation import NewTask

# Each try fails only if another transaction took or gave up one of the keys in between.
TRIES = 10
# As for a repeated batch: the tasks that have the keys may hold a thousand times the largest arguments.
MAX_KEPT_BYTES = 8 * 1024 * 1024

_FASTER = "Other requests with the same unique_key were faster: try again"


class _Overtaken(Exception):
    """Another transaction was faster. Rolls back, and never leaves this module."""


class Keyed(Protocol):
    """A task, or what is known of its row."""

    @property
    def user_id(self) -> UUID: ...

    @property
    def unique_key(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Placed:
    """A task of the request: a new one as a row that `TaskRead` takes, another one as it stands now."""

    task: Any
    is_new: bool

    @property
    def id(self) -> UUID:
        task_id: UUID = self.task["id"] if self.is_new else self.task.id
        return task_id


@dataclass(slots=True)
class _Wanted:
    """What a request wants under one key; the numbers are places in the request.

    A batch counts as requests that come one after the other.
    """

    first: int
    # What stands in the row if it is new, and what replaces the task that has the key.
    new: int
    replacement: int | None


def has_keys(wanted: Sequence[TaskCreate]) -> bool:
    """Whether one of these has a `unique_key`."""
    return any(task.unique_key is not None for task in wanted)


def create(
    db: Session,
    user_id: UUID,
    wanted: Sequence[TaskCreate],
    rows: Sequence[NewTask],
    *,
    commit: bool = True,
    within_quota: bool = False,
    then: Callable[[Sequence[Placed]], None] | None = None,
) -> list[Placed]:
    """Create these tasks, or find or replace those that have their keys, as each says; all of it or nothing.

    `rows` are those of `wanted`. `then` is called with the tasks, in the transaction. With `commit=False`, an error
    leaves the caller's transaction as it was. Raises UniqueKeyTaken, IntegrityError; with `within_quota` also
    QuotaExceeded and KeptTasksTooLarge.
    """
    by_key = _by_key(wanted)
    with ExitStack() as until_commit, transaction(db, commit=commit):
        for _ in range(TRIES):
            with _undone_if_overtaken(db), ExitStack() as reserved:
                attempt = _Attempt(db, user_id, wanted, rows, reserved if within_quota else None)
                placed = attempt.place(by_key)
                if then is not None:
                    then(placed)
                until_commit.push(reserved.pop_all())
                return placed
        raise UniqueKeyTaken(_FASTER)


def create_tasks(
    db: Session,
    user_id: UUID,
    wanted: Sequence[TaskCreate],
    rows: Sequence[NewTask],
    *,
    commit: bool,
    within_quota: bool,
) -> list[Task]:
    """As `create`; returns objects of the session."""
    tasks: list[Task] = []

    def keep(placed: Sequence[Placed]) -> None:
        made = {each.id: each.task for each in placed}
        new = [task_id for task_id, task in made.items() if not isinstance(task, Task)]
        made |= zip(new, task_creation.as_tasks(db, [made[task_id] for task_id in new]), strict=True)
        tasks.extend(made[each.id] for each in placed)

    create(db, user_id, wanted, rows, commit=commit, within_quota=within_quota, then=keep)
    return tasks


def take_again(db: Session, task: Keyed, restart: Callable[[], bool]) -> bool:
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
    Task.user_id == bindparam("p_user_id"), conditions.is_one_of(Task.active_key, "p_keys")
)


def holders(db: Session, user_id: UUID, keys: Collection[str]) -> dict[str, UUID]:
    """The user's pending and running tasks that have one of these keys: their ids, by the key."""
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
        if not unique_keys.is_taken(error):
            raise


class _Attempt:
    """One try, in a transaction."""

    def __init__(
        self,
        db: Session,
        user_id: UUID,
        wanted: Sequence[TaskCreate],
        rows: Sequence[NewTask],
        reserved: ExitStack | None,
    ) -> None:
        self._db, self._user_id, self._wanted, self._rows, self._reserved = db, user_id, wanted, rows, reserved

    def place(self, by_key: dict[str, _Wanted]) -> list[Placed]:
        """Return a task for each place of the request."""
        held = holders(self._db, self._user_id, by_key)
        for key, task_id in held.items():
            if self._wanted[by_key[key].first].on_conflict is OnConflict.REJECT:
                raise _taken(task_id, self._place(by_key[key].first))
        placed = self._insert({key: at for key, at in by_key.items() if key not in held})
        # In one order: two batches that replace the same tasks wait for each other, and do not deadlock.
        for key in sorted(held):
            at = by_key[key].replacement
            if at is not None:
                self._replace(held[key], at)
        if held:
            placed |= self._read(held)
        keyless = iter(self._accept([row for row in self._rows if row.unique_key is None]))
        return [next(keyless) if task.unique_key is None else placed[task.unique_key] for task in self._wanted]

    def _insert(self, new: dict[str, _Wanted]) -> dict[str, Placed]:
        keys = sorted(new)
        return dict(zip(keys, self._accept([self._rows[new[key].new] for key in keys]), strict=True))

    def _accept(self, rows: Sequence[NewTask]) -> list[Placed]:
        self._reserve(sum_of(row.load for row in rows))
        accepted = task_creation.accept(self._db, rows)
        return [Placed(task, is_new=True) for task in accepted]

    def _replace(self, task_id: UUID, at: int) -> None:
        task, wanted = task_queries.find(self._db, task_id), self._wanted[at]
        if task is None or task.active_key != wanted.unique_key:
            raise _Overtaken
        if task.celery_task_name != wanted.celery_task_name:
            raise _taken(task_id, self._place(at), "it has another celery_task_name")
        if task.status is not TaskStatus.PENDING:
            raise _taken(task_id, self._place(at), f"it is {task.status}")
        self._reserve(task_replacing.added_load(task, wanted))
        if not task_replacing.replace(self._db, task, wanted, self._rows[at]):
            raise _Overtaken

    def _read(self, held: dict[str, UUID]) -> dict[str, Placed]:
        ids = list(held.values())
        if self._reserved is not None and len(ids) > 1 and task_queries.bytes_of(self._db, ids) > MAX_KEPT_BYTES:
            raise KeptTasksTooLarge
        found = {task.active_key: task for task in task_queries.find_all(self._db, ids)}
        if found.keys() != held.keys():  # one of them has ended since
            raise _Overtaken
        return {key: Placed(found[key], is_new=False) for key in held}

    def _reserve(self, load: Load) -> None:
        if self._reserved is not None and load != NOTHING:
            self._reserved.enter_context(quotas.reserved(self._db, self._user_id, load))

    def _place(self, at: int) -> int | None:
        return at if len(self._wanted) > 1 else None


def _by_key(wanted: Sequence[TaskCreate]) -> dict[str, _Wanted]:
    """Raises UniqueKeyTaken if a task of the batch may not have a key that an earlier one has."""
    found: dict[str, _Wanted] = {}
    for at, task in enumerate(wanted):
        if task.unique_key is None:
            continue
        replaces = at if task.on_conflict is OnConflict.REPLACE else None
        known = found.setdefault(task.unique_key, _Wanted(at, at, replaces))
        if known.first == at or task.on_conflict is OnConflict.RETURN:
            continue
        if replaces is None or task.celery_task_name != wanted[known.first].celery_task_name:
            raise UniqueKeyTaken(f"tasks[{at}]: tasks[{known.first}] of the batch has this unique_key")
        known.new = known.replacement = at
    return found


def _taken(task_id: UUID, at: int | None = None, why: str = "") -> UniqueKeyTaken:
    where = "" if at is None else f"tasks[{at}]: "
    reason = f", and cannot be replaced: {why}" if why else ""
    return UniqueKeyTaken(f"{where}Task {task_id} has this unique_key{reason}", task_id=task_id)
