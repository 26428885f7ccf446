"""Ended tasks that are to run again, together: which of them may, and which wait for others then."""

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol
from uuid import UUID

from sqlalchemy.orm import Session

from app.db.statements import dependencies, files, workflows
from app.errors import ParentFailed
from app.models.outbox import ConsumerNumber
from app.models.task import TERMINAL, UNSUCCESSFUL, TaskStatus
from app.services.workflows import progress


class Ended(Protocol):
    """A task that has failed or was revoked."""

    @property
    def id(self) -> UUID: ...

    @property
    def workflow_id(self) -> UUID | None: ...

    @property
    def depends_on(self) -> Sequence[object] | None: ...

    @property
    def followers(self) -> int | None: ...


class Restart:
    """These tasks; their workflows, their parents, and those of their children that wait are locked until the commit.

    An end of one of them that is settled meanwhile waits for the children, and finds that it runs again.
    """

    def __init__(self, db: Session, tasks: Iterable[Ended]) -> None:
        self._again = {task.id: task for task in tasks}
        of_workflows = {task.workflow_id for task in self._again.values() if task.workflow_id is not None}
        if of_workflows:  # an end that is not noted yet is noted first: its webhooks tell of it
            progress.note(db, workflows.task_ids(db, of_workflows))
        if parents := [task.id for task in self._again.values() if ConsumerNumber.CHILDREN.is_in(task.followers)]:
            dependencies.lock_children(db, dependencies.waiting_children(db, parents))
        dependent = [task.id for task in self._again.values() if task.depends_on]
        self._edges = dependencies.edges_to(db, dependent) if dependent else []
        others = {edge.parent_id for edge in self._edges} - self._again.keys()
        self._states = dependencies.lock_parents(db, others) if others else {}
        self._refused = self._find_refused()
        files.keep_named_by(db, [*self._again])

    def check(self, task_id: UUID) -> None:
        """Raise ParentFailed for a task one of whose parents has failed or is revoked, and does not run again."""
        if task_id in self._refused:
            raise ParentFailed

    def leave_out(self, task: Ended) -> None:
        """Say that this task does not run again after all: nor do those that need it."""
        if self._again.pop(task.id, None) is not None and self._edges:
            self._states[task.id] = TaskStatus.FAILED
            self._refused = self._find_refused()

    def apply(self, db: Session, restarted: Collection[UUID]) -> None:
        """Have these, which are pending by now, wait for those of their parents that have not ended.

        Those of their children that wait for others yet wait for them again. Their workflows run again.
        """
        restarted = set(restarted)
        waits = [edge for edge in self._edges if edge.child_id in restarted and self._is_active(edge.parent_id)]
        if waits:
            children = {edge.child_id for edge in waits}
            dependencies.reopen(db, children, {edge.parent_id for edge in waits})
            dependencies.hold(db, children)
        parents = [each for each in restarted if ConsumerNumber.CHILDREN.is_in(self._again[each].followers)]
        if parents:
            dependencies.reopen_waiting(db, parents)
        nodes = [each for each in restarted if self._again[each].workflow_id is not None]
        if nodes:
            progress.note(db, nodes)

    def _is_active(self, parent: UUID) -> bool:
        if parent in self._again:
            return parent not in self._refused
        state = self._states.get(parent)
        return state is not None and state not in TERMINAL

    def _find_refused(self) -> set[UUID]:
        refused = set[UUID]()
        while more := {
            edge.child_id
            for edge in self._edges
            if edge.child_id not in refused
            and not edge.goes_on
            and (edge.parent_id in refused or self._states.get(edge.parent_id) in UNSUCCESSFUL)
        }:
            refused |= more
        return refused
