"""The edges between tasks: which child waits for which parent."""

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Table, and_, exists, func, insert, or_, select, update
from sqlalchemy.orm import Session

from app.db.statements.files import has_used_artifact
from app.db.statements.pending_rows import PENDING, is_held
from app.db.statements.reads import is_one_of
from app.db.statements.tables import TASKS
from app.db.transactions import Transaction
from app.models.outbox import ConsumerNumber
from app.models.task import NEVER_DUE, Held, TaskDependency, TaskStatus

_D = cast("Table", TaskDependency.__table__)
IS_DEPENDENT = is_held(Held.DEPENDENCY)
HAS_CHILDREN = func.coalesce(TASKS.c.followers, 0).bitwise_and(ConsumerNumber.CHILDREN.bit) != 0


class Edge(NamedTuple):
    """A child and its parent. `goes_on`: the child runs also where the parent has not succeeded."""

    child_id: UUID
    parent_id: UUID
    goes_on: bool


def lock_parents(db: Session, ids: Collection[UUID], user_id: UUID | None = None) -> dict[UUID, TaskStatus]:
    """Lock these tasks until the commit, and return their states; `user_id` limits them to that user's."""
    own = [] if user_id is None else [TASKS.c.user_id == user_id]
    found = select(TASKS.c.id, TASKS.c.status).where(TASKS.c.id.in_(ids), *own)
    rows = db.execute(found.order_by(TASKS.c.id).with_for_update(key_share=True))
    return {row.id: TaskStatus(row.status) for row in rows}


def add_edges(db: Session, edges: Iterable[tuple[Edge, bool]]) -> None:
    """Write these edges, each with whether it is open."""
    rows = [{**edge._asdict(), "is_open": is_open} for edge, is_open in edges]
    if rows:
        db.execute(insert(_D), rows)


_LOCK = select(TASKS.c.id).where(is_one_of(TASKS.c.id, "ids")).order_by(TASKS.c.id).with_for_update(key_share=True)
_LOCK_CHILDREN = _LOCK.add_columns(
    TASKS.c.queue, TASKS.c.user_id, TASKS.c.limit, TASKS.c.user_limited, and_(PENDING, IS_DEPENDENT).label("waits")
)
_LOCK_WAITING = _LOCK.where(PENDING, IS_DEPENDENT)
_WAITING = select(_D.c.child_id).distinct().where(is_one_of(_D.c.parent_id, "ids"), _D.c.is_open)


class Child(NamedTuple):
    """A task that waits for others, with what it waits for then. `is_placed`: it has its turn."""

    id: UUID
    queue: str
    user_id: UUID
    limit: str | None
    user_limited: bool | None
    is_placed: bool = False


def waiting_children(db: Transaction, parents: Collection[UUID]) -> set[UUID]:
    """Return the tasks with an open edge from one of these parents: those that wait for it, or did as they ended."""
    return set(db.execute(_WAITING, {"ids": list(parents)}).scalars())


def lock_children(db: Transaction, ids: Collection[UUID]) -> dict[UUID, Child]:
    """Lock these tasks until the commit, and return those that wait for others.

    Also those that have ended: a retry of theirs finds the edges as they are behind the lock, and opens what is closed.
    """
    return {row[0]: Child(*row[:-1]) for row in db.execute(_LOCK_CHILDREN, {"ids": list(ids)}) if row.waits}


def lock_waiting(db: Session, parents: Collection[UUID]) -> None:
    """Lock those tasks until the commit that wait for one of these parents."""
    if waiting := waiting_children(db, parents):
        db.execute(_LOCK_WAITING, {"ids": list(waiting)})


def hold(db: Session, children: Collection[UUID]) -> None:
    """Have these pending tasks wait for others."""
    values: dict[str, Any] = {"held": Held.DEPENDENCY.value, "due_at": NEVER_DUE, "turn": None}
    _change(db, values, TASKS.c.id.in_(children), PENDING)


def edges_to(db: Session, children: Collection[UUID]) -> list[Edge]:
    """Return the edges to these children, open or not."""
    found = select(_D.c.child_id, _D.c.parent_id, _D.c.goes_on).where(_D.c.child_id.in_(children))
    return [Edge(*row) for row in db.execute(found)]


def reopen(db: Session, children: Collection[UUID], parents: Collection[UUID]) -> None:
    """Have these children wait again for those of these tasks that are their parents."""
    _open(db, _D.c.child_id.in_(children), _D.c.parent_id.in_(parents))


def reopen_waiting(db: Session, parents: Collection[UUID]) -> None:
    """Have those children wait for these parents again, which run anew, that wait for others yet."""
    waits = exists().where(TASKS.c.id == _D.c.child_id, PENDING, IS_DEPENDENT)
    _open(db, _D.c.parent_id.in_(parents), waits)


def blocked_by(db: Session | Connection, children: Collection[UUID]) -> dict[UUID, list[UUID]]:
    """Return the parents that each of these children waits for."""
    found: dict[UUID, list[UUID]] = {}
    edges = select(_D.c.child_id, _D.c.parent_id).where(_D.c.child_id.in_(children), _D.c.is_open)
    for child_id, parent_id in db.execute(edges.order_by(_D.c.parent_id)):
        found.setdefault(child_id, []).append(parent_id)
    return found


def is_needed() -> ColumnElement[bool]:
    """Return the condition that a pending child names the task, or an artifact of it is named: then it is not deleted.

    Of a SELECT of `tasks`.
    """
    child = TASKS.alias("child")
    named = exists().select_from(_D.join(child, child.c.id == _D.c.child_id)).where(_D.c.parent_id == TASKS.c.id)
    return HAS_CHILDREN & or_(
        named.where(child.c.status == TaskStatus.PENDING.value), has_used_artifact(TASKS.c.id)
    )  # fmt: skip


def needed(db: Session, ids: Collection[UUID]) -> set[UUID]:
    """Return those of these tasks that pending children name, or whose artifacts are named: these are not deleted.

    They are locked until the commit: nobody makes another child of them meanwhile.
    """
    these = select(TASKS.c.id).where(is_one_of(TASKS.c.id, ids), HAS_CHILDREN).order_by(TASKS.c.id)
    if not (parents := db.scalars(these.with_for_update()).all()):
        return set()
    return set(db.scalars(select(TASKS.c.id).where(is_one_of(TASKS.c.id, parents), is_needed())))


def delete_edges(db: Session, child_id: UUID) -> None:
    """Have a task wait for nothing any more."""
    db.execute(_D.delete().where(_D.c.child_id == child_id))


def _open(db: Session, *which: ColumnElement[bool]) -> None:
    db.execute(update(_D).where(*which, _D.c.is_open.is_not(True)).values(is_open=True))


def _change(db: Session, values: dict[str, Any], *which: ColumnElement[bool]) -> None:
    db.execute(update(TASKS).with_hint("FORCE INDEX (PRIMARY)", dialect_name="mysql").where(*which).values(values))
