"""What follows the commit of tasks that can start: turns, wake-ups of slots, admission to limits, hints for streams."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db.outage import first_line
from app.db.session import SessionLocal, autocommit_engine, engine, transaction
from app.db.sql import turns
from app.db.statements.reads import is_one_of
from app.db.transactions import after_commit
from app.ddl.terms import USER_LIMIT
from app.messaging import hints, wakeups
from app.models.task import Task
from app.services.operations import admission
from app.services.operations.admission import Freed

logger = logging.getLogger(__name__)

# What admits a task: the name of a limit, and a key of it.
Place = tuple[str, str | None]
# A task that can start now: its id, its queue and what admits it first.
_Due = tuple[UUID, str, Place | None]


def publish(db: Session | sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Wake slots for the new rows that are due, and send hints for open streams.

    After the commit of the session's outermost transaction; on an autocommit connection they are committed, and have
    their turns.
    """
    if not isinstance(db, Session):
        _publish(rows)
    else:
        after_commit(db, partial(_publish, rows, db.get_bind()))


def wake_if_due(db: Session, task_id: UUID, queue: str) -> None:
    """After the commit, give a pending task its turn and have a slot look at it, if it is due and has none.

    A task that needs a place is admitted first.
    """
    wake_all_due(db, {task_id: queue})


def wake_all_due(db: Session, queues: Mapping[UUID, str]) -> None:
    """Wake a slot, as `wake_if_due` does, for several tasks, by their queues."""
    if queues:
        places = _first_places_of(db, queues)
        due = [(task_id, queue, places.get(task_id)) for task_id, queue in queues.items()]
        after_commit(db, partial(_place, db.get_bind(), due))


class Waiting(Protocol):
    """A task of which it is known what admits it."""

    @property
    def id(self) -> UUID: ...

    @property
    def queue(self) -> str: ...

    @property
    def user_id(self) -> UUID: ...

    @property
    def limit(self) -> str | None: ...

    @property
    def user_limited(self) -> bool | None: ...

    @property
    def is_placed(self) -> bool: ...


def wake_known(db: Session, tasks: Sequence[Waiting]) -> None:
    """Wake slots for tasks whose queue, user and limit the caller has read."""
    if tasks:
        after_commit(db, partial(wake_committed, tasks, db.get_bind()))


def wake_committed(tasks: Sequence[Waiting], database: sa.Engine | sa.Connection | None = None) -> None:
    """Wake slots for such tasks, whose release is committed. Those that have no turns yet are given theirs."""
    if not tasks:  # nearly always: each round of a pool process asks
        return
    due = [(task.id, task.queue, _first_place(task.user_id, task.limit, task.user_limited)) for task in tasks]
    without = [each for each, task in zip(due, tasks, strict=True) if not task.is_placed]
    if without:
        _place(database or engine(), without)
    _wake([(queue, place) for (_, queue, place), task in zip(due, tasks, strict=True) if task.is_placed])


def wake(db: Session, task_id: UUID, queue: str) -> None:
    """After the commit, have a slot look at this queue for the task, or what admits the task admit tasks first."""
    due = [(queue, _first_places_of(db, [task_id]).get(task_id))]
    after_commit(db, lambda: _wake(due))


def _publish(rows: Sequence[dict[str, Any]], unplaced_on: sa.Engine | sa.Connection | None = None) -> None:
    """`unplaced_on`: the rows are on this database, and have no turns yet."""
    due = [
        (row["id"], row["queue"], _first_place(row["user_id"], row["limit"], row["user_limited"]))
        for row in rows
        if row["run_at"] is None or row["run_at"] <= row["created_at"]
    ]
    if unplaced_on is None:
        _wake([(queue, place) for _, queue, place in due])
    elif due:
        _place(unplaced_on, due)
    hints.changed(*(row["id"] for row in rows))


def _place(database: sa.Engine | sa.Connection, due: Sequence[_Due]) -> None:
    """Give committed tasks their turns. Where that fails, maintenance does at its next pass."""
    try:
        with connected(database) as db:
            placed = turns.place(db, [task_id for task_id, _, _ in due])
    except SQLAlchemyError as error:
        logger.warning("%d tasks get their turns by maintenance: %s", len(due), first_line(error))
        return
    if placed:
        _wake([(queue, place) for _, queue, place in due])


@contextmanager
def connected(database: sa.Engine | sa.Connection) -> Iterator[sa.Connection | Session]:
    """A connection in autocommit; on a database of the caller's own a transaction."""
    if database is engine():  # nearly always
        with autocommit_engine().connect() as connection:
            yield connection
    else:
        with SessionLocal(bind=database, join_transaction_mode="create_savepoint") as db, transaction(db):
            yield db


def _wake(due: Sequence[tuple[str, Place | None]]) -> None:
    """`due` are the queue of each task that can start now, and what admits it first."""
    wakeups.publish(queue for queue, place in due if place is None)
    admitting: Freed = {}
    for _, place in due:
        if place is not None:
            name, key = place
            admitting.setdefault(name, set()).update([] if key is None else [key])
    admission.admit_soon(admitting)


def _first_place(user_id: UUID, limit: str | None, user_limited: bool | None) -> Place | None:
    """Return the name and the key of what admits a task first; None for a task that needs no place."""
    if user_limited:
        return USER_LIMIT, str(user_id)
    return None if limit is None else (limit, None)


def _first_places_of(db: Session, ids: Collection[UUID]) -> dict[UUID, Place | None]:
    """Return the same of the tasks with these ids, by id."""
    found = db.execute(sa.select(Task.id, Task.user_id, Task.limit, Task.user_limited).where(is_one_of(Task.id, ids)))
    return {row.id: _first_place(row.user_id, row.limit, row.user_limited) for row in found}
