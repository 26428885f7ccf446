"""The release of tasks whose parents have ended."""

from collections.abc import Collection
from typing import NamedTuple, cast
from uuid import UUID

from sqlalchemy import Table, bindparam, case, false, select, update

from app.db.statements.dependencies import IS_DEPENDENT, Child, lock_children, waiting_children
from app.db.statements.pending_rows import PENDING
from app.db.statements.reads import is_one_of
from app.db.statements.tables import TASKS
from app.db.statements.task_moves import HELD_ANEW
from app.db.transactions import Executor, Transaction, atomically
from app.ddl.clock import NOW
from app.models.task import TERMINAL, TaskDependency, TaskStatus

__all__ = ["RELEASED", "Child", "close_failed", "let_go_on"]

_D = cast("Table", TaskDependency.__table__)

_IDS = "ids"
_OPEN_EDGES = (
    select(_D.c.child_id, _D.c.parent_id, _D.c.goes_on, TASKS.c.status)
    .outerjoin_from(_D, TASKS, TASKS.c.id == _D.c.parent_id)
    .where(is_one_of(_D.c.parent_id, _IDS), _D.c.is_open)
)
_CHILDREN, _GOES_ON = "children", "p_goes_on"
_CLOSE = (
    update(_D)
    .where(
        is_one_of(_D.c.parent_id, _IDS),
        is_one_of(_D.c.child_id, _CHILDREN),
        _D.c.goes_on == bindparam(_GOES_ON, type_=_D.c.goes_on.type),
        _D.c.is_open,
    )
    .values(is_open=false())
)
_STILL_WAITING = select(_D.c.child_id).distinct().where(is_one_of(_D.c.child_id, _IDS), _D.c.is_open)
# A child that goes on: to the quota of its user or to its limit, or to the line of its queue.
RELEASED = {"held": HELD_ANEW, "due_at": case((TASKS.c.run_at > NOW, TASKS.c.run_at), else_=NOW)}
_RELEASE = (
    update(TASKS)
    .with_hint("FORCE INDEX (PRIMARY)", dialect_name="mysql")
    .where(is_one_of(TASKS.c.id, _IDS), PENDING, IS_DEPENDENT)
    .values(**RELEASED)
)


class _OpenEdge(NamedTuple):
    """An edge that holds its child, as an `Edge`, with the parent's status: None where the parent is deleted."""

    child_id: UUID
    parent_id: UUID
    goes_on: bool
    status: TaskStatus | None

    @property
    def has_ended(self) -> bool:
        return self.status is None or self.status in TERMINAL

    @property
    def lets_go_on(self) -> bool:
        """Whether it holds its child no more."""
        return self.status is TaskStatus.SUCCEEDED or (self.goes_on and self.has_ended)


def let_go_on(db: Executor, parents: Collection[UUID]) -> list[Child]:
    """Close the edges of these parents that hold no child any more, and let those children go on that have no other.

    They go on to their user's quota or limit, or to the line of their queue. Returns them, in the order of their ids.
    What has a parent that has ended otherwise than the edge wants is left. It may run twice or late, for it asks the
    rows alone. Two parents that end at once wait here for the row of their child: the second one sees that the first
    has ended.
    """

    def work(db: Transaction) -> list[Child]:
        waiting = waiting_children(db, parents)
        if not waiting:
            return []
        children = lock_children(db, waiting)
        # Behind the lock: a retry of a parent holds it, too. Who has come since is told of by another end.
        edges = [edge for edge in _open_edges(db, parents) if edge.lets_go_on and edge.child_id in waiting]
        if not edges:
            return []
        _close_edges(db, edges)
        left = {edge.child_id for edge in edges} & children.keys()
        free = left - _still_waiting(db, left) if left else left
        if free:
            db.execute(_RELEASE, {_IDS: list(free)})
        return [children[each] for each in sorted(free)]

    return atomically(db, work)


def close_failed(db: Transaction, parents: Collection[UUID]) -> set[UUID]:
    """Close those edges of these parents that do not let their children go on any more.

    Returns the children that wait for them, which are locked until the commit.
    """
    held = {edge.child_id for edge in _open_edges(db, parents) if edge.has_ended and not edge.lets_go_on}
    if not held:
        return set()
    children = lock_children(db, held)
    edges = [
        edge
        for edge in _open_edges(db, parents)
        if edge.has_ended and not edge.lets_go_on and edge.child_id in held
    ]  # fmt: skip
    _close_edges(db, edges)
    return {edge.child_id for edge in edges} & children.keys()


def _open_edges(db: Transaction, parents: Collection[UUID]) -> list[_OpenEdge]:
    """Return the open edges from these parents."""
    rows = db.execute(_OPEN_EDGES, {_IDS: list(parents)})
    return [_OpenEdge(*row[:3], row[3] and TaskStatus(row[3])) for row in rows]


def _close_edges(db: Transaction, edges: Collection[_OpenEdge]) -> None:
    """Note that these parents have ended for these children."""
    for goes_on in (False, True):  # of one parent, each child may want another end
        these = [edge for edge in edges if edge.goes_on is goes_on]
        if these:
            parents, children = {edge.parent_id for edge in these}, {edge.child_id for edge in these}
            db.execute(_CLOSE, {_IDS: list(parents), _CHILDREN: list(children), _GOES_ON: goes_on})


def _still_waiting(db: Transaction, children: Collection[UUID]) -> set[UUID]:
    """Return those of these children that have an open edge."""
    return set(db.execute(_STILL_WAITING, {_IDS: list(children)}).scalars())
