"""What the tasks of a request depend on: the edges are written with the tasks.

The parents are locked until the commit. So one that ends meanwhile either has ended for the request, or its end comes
after the edge, and releases the child.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from app.db.statements import dependencies
from app.db.statements.dependencies import Edge
from app.errors import FieldError, InvalidTask
from app.models.outbox import ConsumerNumber
from app.models.task import TERMINAL, Task, TaskStatus
from app.services.execution import ends
from app.services.outbox import add_followers
from app.services.tasks.new_rows import NewTask

PARENT_FAILED = "parent_failed"


@dataclass(frozen=True)
class Parents:
    """The parents that a request names, by id, with the states in which they are until the commit."""

    states: Mapping[UUID, TaskStatus]
    goes_on: bool = False
    """Whether the children run also where a parent has not succeeded."""

    def applied(self, row: NewTask) -> NewTask:
        """Return the row as it is inserted: it waits, unless all its parents have succeeded."""
        if row.id in self.states:
            row = row.followed(ConsumerNumber.CHILDREN.bit)
        return row.waiting() if any(not self._is_done(parent) for parent in row.parents) else row

    def link(self, db: Session, children: Iterable[tuple[UUID, NewTask]]) -> list[UUID]:
        """Write the edges of these tasks, which are there by now. Returns those that it has revoked at once."""
        edges = [(task_id, parent) for task_id, row in children for parent in row.parents]
        if not edges:
            return []
        dependencies.add_edges(
            db,
            (
                (Edge(task_id, parent, self.goes_on), self.states[parent] not in TERMINAL)
                for task_id, parent in edges
            ),
        )  # fmt: skip
        add_followers(db, ConsumerNumber.CHILDREN.bit, Task.id.in_({parent for _, parent in edges}))
        failed = list(dict.fromkeys(task_id for task_id, parent in edges if self._has_failed(parent)))
        if failed:
            ends.end_tasks(db, ends.withdrawn(PARENT_FAILED), Task.id.in_(failed))
        return failed

    def _is_done(self, parent: UUID) -> bool:
        state = self.states[parent]
        return state is TaskStatus.SUCCEEDED or (self.goes_on and state in TERMINAL)

    def _has_failed(self, parent: UUID) -> bool:
        return self.states[parent] in TERMINAL and not self._is_done(parent)


def has_parents(rows: Iterable[NewTask]) -> bool:
    """Whether one of these depends on others."""
    return any(row.parents for row in rows)


def find_parents(db: Session, rows: Sequence[NewTask], *, goes_on: bool = False) -> Parents:
    """Lock what these rows, of one user, depend on. Raises InvalidTask for an id that is none of the user's tasks."""
    own = {row.id: TaskStatus.PENDING for row in rows}
    named = {parent for row in rows for parent in row.parents}
    if not named:
        return Parents({})
    states = {each: own[each] for each in named & own.keys()}
    if others := named - own.keys():
        states |= dependencies.lock_parents(db, others, rows[0].user_id)
    for at, row in enumerate(rows):
        errors = [_unknown(place) for place, parent in enumerate(row.parents) if parent not in states]
        if errors:
            refusal = InvalidTask(errors=errors)
            raise refusal.of_batch(at) if len(rows) > 1 else refusal
    return Parents(states, goes_on)


def _unknown(place: int) -> FieldError:
    return {"loc": ["depends_on", place], "msg": "is the id of none of your tasks", "type": "unknown_parent"}
