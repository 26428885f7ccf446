"""Reads workflows: the state of one follows from the rows of its tasks, as they are now."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.listing import WHOSE, Filter, Listing, Matches, Whose
from app.db.statements import workflows
from app.db.statements.expressions import holds_text
from app.db.statements.reads import find_owned
from app.db.statements.workflows import Group, Node
from app.errors import WorkflowNotFound
from app.models.task import ACTIVE, TaskAttempt, TaskStatus
from app.models.workflow import Workflow
from app.schemas.values import Moment, ShortText


class WorkflowFilter(Filter):
    """Which workflows to list."""

    entity: ClassVar[Any] = Workflow
    name: Annotated[ShortText | None, Matches(partial(holds_text, Workflow.name))] = Field(
        None, description="Workflows whose name contains this text, ignoring case."
    )
    status: Annotated[TaskStatus | None, Matches(workflows.has_status)] = Field(
        None, description="Workflows with this status."
    )
    created_after: Annotated[Moment | None, Matches(lambda at: Workflow.created_at > at)] = Field(
        None, description="Workflows created after this time."
    )
    created_before: Annotated[Moment | None, Matches(lambda at: Workflow.created_at < at)] = Field(
        None, description="Workflows created before this time."
    )
    user_id: Whose = Field(None, description=WHOSE)


def find_workflow(db: Session, workflow_id: UUID, owner: UUID | None = None) -> Workflow:
    """Return the committed workflow; `owner` limits it to that user's. Raises WorkflowNotFound."""
    return find_owned(db, Workflow, workflow_id, owner, WorkflowNotFound)


def read_workflow(db: Session, workflow_id: UUID, owner: UUID | None = None) -> dict[str, Any]:
    """Return a workflow as `WorkflowRead` takes it. Raises WorkflowNotFound."""
    return read_with_nodes(db, workflow_id, owner)[0]


def read_with_nodes(
    db: Session, workflow_id: UUID, owner: UUID | None = None
) -> tuple[dict[str, Any], list[Node]]:  # fmt: skip
    """Return a workflow as `read_workflow` does, and its nodes of the same moment."""
    row, nodes = find_workflow(db, workflow_id, owner), workflows.nodes(db, workflow_id)
    shown = _of_groups(row, [_group_of(workflow_id, node) for node in nodes])
    refs = [node.ref for node in nodes]
    shown["tasks"] = [
        {"ref": node.ref, "id": node.task_id, "status": node.status, "depends_on": [refs[at] for at in node.parents]}
        for node in nodes
    ]
    return shown, nodes


def earlier_attempts(db: Session, nodes: Sequence[Node]) -> dict[UUID, list[tuple[str, datetime, datetime]]]:
    """Return the attempts before the last one of those of these tasks that have any: outcome, begin and end of each."""
    ids = [node.task_id for node in nodes if node.attempt > 1]
    found: dict[UUID, list[tuple[str, datetime, datetime]]] = {}
    columns = (TaskAttempt.task_id, TaskAttempt.started_at, TaskAttempt.finished_at, TaskAttempt.outcome)
    rows = select(*columns).where(TaskAttempt.task_id.in_(ids)).order_by(TaskAttempt.task_id, TaskAttempt.number)
    for task_id, started_at, finished_at, outcome in db.execute(rows) if ids else ():
        found.setdefault(task_id, []).append((outcome, started_at, finished_at))
    return found


# The newest first.
WORKFLOWS = Listing(Workflow, Workflow.id)


def final_status(statuses: Iterable[TaskStatus]) -> TaskStatus | None:
    """Return the status of a workflow whose tasks have these; None while one has not ended."""
    known = set(statuses)
    if known & ACTIVE:
        return None
    order = (TaskStatus.FAILED, TaskStatus.REVOKED)
    return next((status for status in order if status in known), TaskStatus.SUCCEEDED)


def summaries(db: Session, rows: Sequence[Workflow]) -> list[dict[str, Any]]:
    """Return these workflows as `WorkflowSummary` takes them."""
    of: dict[UUID, list[Group]] = {row.id: [] for row in rows}
    for group in workflows.groups(db, of) if rows else ():
        of[group.workflow_id].append(group)
    return [_of_groups(row, of[row.id]) for row in rows]


def _group_of(workflow_id: UUID, node: Node) -> Group:
    """Return a node by itself: so that what is told of all is of the same moment as what is told of each."""
    return Group(workflow_id, node.status, 1, node.version, node.attempt, node.started_at, node.finished_at)


def _of_groups(row: Workflow, groups: Sequence[Group]) -> dict[str, Any]:
    counts = Counter[str]()
    for group in groups:
        counts[group.status.value] += group.number
    status = final_status(group.status for group in groups)
    ended = max((group.finished_at for group in groups if group.finished_at), default=None)
    has_begun = row.generation > 1 or any(group.attempts for group in groups)
    return {
        **{name: getattr(row, name) for name in ("id", "user_id", "name", "on_failure", "created_at")},
        "status": status or (TaskStatus.RUNNING if has_begun else TaskStatus.PENDING),
        "counts": {"total": sum(counts.values()), **counts},
        "version": row.generation + sum(group.versions for group in groups),
        "started_at": min((group.started_at for group in groups if group.started_at), default=None),
        "finished_at": None if status is None else row.finished_at or ended,
    }
