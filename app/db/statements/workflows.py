"""Workflows and their nodes. What a node shows is that of its task's row while that is there."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Table, and_, bindparam, case, exists, func, insert, or_, select, update
from sqlalchemy.orm import Session

from app.db.statements.expressions import greatest, octet_length
from app.db.statements.reads import is_one_of
from app.db.statements.tables import TASKS
from app.db.transactions import Executes
from app.ddl.clock import NOW
from app.models.outbox import ConsumerNumber, OutboxEvent, OutboxRow
from app.models.task import ACTIVE, TERMINAL, TaskStatus
from app.models.workflow import OnFailure, Workflow, WorkflowNode

_W, _N = cast("Table", Workflow.__table__), cast("Table", WorkflowNode.__table__)
_O = cast("Table", OutboxRow.__table__).c
_OPEN = _N.c.status.in_(sorted(ACTIVE))
# What became last of a task that is deleted, where that is not noted yet; one that was pending counts as revoked.
_LAST_EVENT = (
    select(case((_O.event == OutboxEvent.RETRIED.value, TaskStatus.REVOKED.value), else_=_O.event))
    .where(
        _O.consumer == ConsumerNumber.CHILDREN.value, _O.task_id == _N.c.task_id, _O.event != OutboxEvent.DELETED.value
    )
    .order_by(_O.id.desc())
    .limit(1)
    .scalar_subquery()
)
_OF_DELETED = case((_OPEN, func.coalesce(_LAST_EVENT, TaskStatus.REVOKED.value)), else_=_N.c.status)
_STATUS = func.coalesce(TASKS.c.status, _OF_DELETED)
_LAST_VERSION = (
    select(func.max(_O.version))
    .where(_O.consumer == ConsumerNumber.CHILDREN.value, _O.task_id == _N.c.task_id)
    .scalar_subquery()
)
# Its deletion is a change, too.
_VERSION_OF_DELETED = case(
    (_N.c.task_id.is_(None), _N.c.version), else_=greatest(_N.c.version, func.coalesce(_LAST_VERSION, _N.c.version)) + 1
)
_VERSION = func.coalesce(TASKS.c.version, _VERSION_OF_DELETED)
_JOINED = _N.outerjoin(TASKS, TASKS.c.id == _N.c.task_id)


class Node(NamedTuple):
    """A node as it is now. `task_id` is None once the task is deleted, and so are the times."""

    position: int
    ref: str
    parents: list[int]
    task_id: UUID | None
    status: TaskStatus
    version: int
    attempt: int
    started_at: datetime | None
    finished_at: datetime | None
    celery_task_name: str | None


class Group(NamedTuple):
    """How many tasks of a workflow have one status, the sum of their versions, and when some began and ended."""

    workflow_id: UUID
    status: TaskStatus
    number: int
    versions: int
    attempts: int
    started_at: datetime | None
    finished_at: datetime | None


class Parent(NamedTuple):
    """A task that another one of the workflow refers to. `task_id` is None once it is deleted; `size` is in bytes."""

    task_id: UUID | None
    status: TaskStatus
    size: int


def insert_workflow(db: Session, values: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> None:
    """Write a workflow with its nodes."""
    db.execute(insert(_W), dict(values))
    db.execute(insert(_N), [{**each, "workflow_id": values["id"]} for each in nodes])


class Locked(NamedTuple):
    """A workflow that is locked. `status` is None while it is active."""

    status: str | None
    user_id: UUID


_LOCK = select(_W.c.id, _W.c.status, _W.c.user_id).where(is_one_of(_W.c.id, "ids")).order_by(_W.c.id).with_for_update()
_OF_TASKS = select(_N.c.workflow_id).distinct().where(is_one_of(_N.c.task_id, "ids"))


def lock(db: Session, ids: Iterable[UUID]) -> dict[UUID, Locked]:
    """Lock these workflows until the commit."""
    return {row[0]: Locked(*row[1:]) for row in db.execute(_LOCK, {"ids": list(ids)})}


def of_tasks(db: Session, ids: Collection[UUID]) -> set[UUID]:
    """Return the workflows of these tasks, also of those that are deleted and not noted yet."""
    return set(db.execute(_OF_TASKS, {"ids": list(ids)}).scalars())


def nodes(db: Session, workflow_id: UUID) -> list[Node]:
    """Return the nodes of a workflow, in their order."""
    times = (func.coalesce(TASKS.c.attempt, 0), TASKS.c.started_at, TASKS.c.finished_at, TASKS.c.celery_task_name)
    columns = (_N.c.position, _N.c.ref, _N.c.parents, TASKS.c.id, _STATUS, _VERSION, *times)
    found = select(*columns).select_from(_JOINED).where(_N.c.workflow_id == workflow_id).order_by(_N.c.position)
    return [Node._make((*row[:4], TaskStatus(row[4]), *row[5:])) for row in db.execute(found)]


class Deleted(NamedTuple):
    """A node whose task is deleted."""

    position: int
    ref: str
    status: TaskStatus


def deleted_nodes(db: Session, workflow_id: UUID) -> list[Deleted]:
    """Return those nodes of a workflow whose tasks are deleted."""
    columns = (_N.c.position, _N.c.ref, _OF_DELETED)
    gone = select(*columns).select_from(_JOINED).where(_N.c.workflow_id == workflow_id, TASKS.c.id.is_(None))
    return [Deleted(position, ref, TaskStatus(status)) for position, ref, status in db.execute(gone)]


def held_by(db: Session, task_ids: Collection[UUID], positions: Collection[int]) -> dict[UUID, int]:
    """Those of these tasks that depend on a node at one of these positions, where their workflow cancels what follows.

    With one of the positions.
    """
    found = select(_N.c.task_id, _N.c.parents).join(_W, _W.c.id == _N.c.workflow_id)
    rows = db.execute(
        found.where(is_one_of(_N.c.task_id, "ids"), _W.c.on_failure == OnFailure.CANCEL.value), {"ids": list(task_ids)}
    )
    wanted = set(positions)
    return {task_id: min(wanted & set(parents)) for task_id, parents in rows if wanted & set(parents)}


def refs_of_parents(db: Session, task_id: UUID) -> set[str]:
    """Return the refs of what this task waits for in its workflow."""
    own = db.execute(select(_N.c.workflow_id, _N.c.parents).where(_N.c.task_id == task_id)).one_or_none()
    if own is None:
        return set()
    found = select(_N.c.ref).where(_N.c.workflow_id == own.workflow_id, _N.c.position.in_(own.parents))
    return set(db.scalars(found))


def groups(db: Session, ids: Collection[UUID]) -> list[Group]:
    """Return the tasks of these workflows by their status."""
    times = (TASKS.c.attempt, TASKS.c.started_at, TASKS.c.finished_at)
    columns = (_N.c.workflow_id, _STATUS.label("status"), _VERSION.label("version"), *times)
    node = select(*columns).select_from(_JOINED).where(_N.c.workflow_id.in_(ids)).subquery().c
    found = select(
        node.workflow_id,
        node.status,
        func.count(),
        func.sum(node.version),
        func.coalesce(func.max(node.attempt), 0),
        func.min(node.started_at),
        func.max(node.finished_at),
    ).group_by(node.workflow_id, node.status)
    return [Group(row[0], TaskStatus(row[1]), row[2], int(row[3]), *row[4:]) for row in db.execute(found)]


def _of_task(column: str) -> Any:
    return select(TASKS.c[column]).where(TASKS.c.id == _N.c.task_id).scalar_subquery()


_NOTE = (
    update(_N)
    .where(
        is_one_of(_N.c.task_id, "ids"), or_(_of_task("version").is_(None), _N.c.version != _of_task("version"))
    )
    # MySQL assigns from left to right: the id comes last.
    .ordered_values(
        (
            _N.c.status,
            func.coalesce(_of_task("status"), _OF_DELETED),
        ),
        (_N.c.version, func.coalesce(_of_task("version"), _VERSION_OF_DELETED)),
        (_N.c.task_id, _of_task("id")),
    )
)  # fmt: skip
_STATUSES = select(_N.c.workflow_id, _N.c.status).distinct().where(is_one_of(_N.c.workflow_id, "ids"))


def note_tasks(db: Session, ids: Collection[UUID]) -> None:
    """Have the nodes of these tasks say what the rows of the tasks say; of a deleted one, that it is gone.

    A pending task that was deleted counts as revoked. One whose end is not noted yet has the end of its outbox row.
    """
    db.execute(_NOTE, {"ids": list(ids)})


def statuses(db: Session, ids: Collection[UUID]) -> dict[UUID, set[TaskStatus]]:
    """Return the states of the nodes of each of these workflows, as they are noted."""
    found: dict[UUID, set[TaskStatus]] = {each: set() for each in ids}
    for workflow_id, status in db.execute(_STATUSES, {"ids": list(ids)}):
        found[workflow_id].add(TaskStatus(status))
    return found


def end(db: Session, ids: Collection[UUID], status: TaskStatus) -> None:
    """Note that all tasks of these workflows have ended, each with this status: when the last of them did."""
    last = select(func.max(TASKS.c.finished_at)).select_from(_N.join(TASKS, TASKS.c.id == _N.c.task_id))
    finished_at = func.coalesce(last.where(_N.c.workflow_id == _W.c.id).scalar_subquery(), NOW)
    db.execute(update(_W).where(_W.c.id.in_(ids)).values(status=status.value, finished_at=finished_at))


def reopen(db: Session, ids: Collection[UUID]) -> None:
    """Have those of these workflows run again that have ended."""
    values = {"status": None, "finished_at": None, "generation": _W.c.generation + 1}
    db.execute(update(_W).where(_W.c.id.in_(ids), _W.c.status.is_not(None)).values(values))


def task_ids(db: Session, ids: Collection[UUID]) -> list[UUID]:
    """Return the tasks of these workflows."""
    return list(db.scalars(select(_N.c.task_id).where(_N.c.workflow_id.in_(ids), _N.c.task_id.is_not(None))))


def delete(db: Session, ids: Collection[UUID]) -> None:
    """Delete these workflows, whose tasks are deleted."""
    db.execute(_W.delete().where(_W.c.id.in_(ids)))


def has_status(status: TaskStatus) -> ColumnElement[bool]:
    """Return the condition on `workflows` that it has this status, as far as it is noted."""
    if status in TERMINAL:
        return _W.c.status == status.value
    claimed = exists().where(_N.c.workflow_id == _W.c.id, _N.c.task_id == TASKS.c.id, TASKS.c.attempt > 0)
    begun = or_(_W.c.generation > 1, claimed)
    return and_(_W.c.status.is_(None), begun if status is TaskStatus.RUNNING else ~begun)


_IS_NODE = select(TASKS.c.id).where(
    TASKS.c.id == bindparam("task", type_=TASKS.c.id.type), TASKS.c.workflow_id.is_not(None)
)
_OF_TASK = select(TASKS.c.workflow_id).where(TASKS.c.id == bindparam("task", type_=TASKS.c.id.type)).scalar_subquery()
_SIZES = (
    select(_N.c.ref, _N.c.status, TASKS.c.id, TASKS.c.status, func.coalesce(octet_length(TASKS.c.result), 0))
    .select_from(_JOINED)
    .where(_N.c.workflow_id == _OF_TASK, is_one_of(_N.c.ref, "refs"))
)
_RESULTS = select(TASKS.c.id, TASKS.c.result).where(is_one_of(TASKS.c.id, "ids"))


def is_node(db: Executes, task_id: UUID) -> bool:
    """Return whether this task is one of a workflow."""
    return bool(db.execute(_IS_NODE, {"task": task_id}).all())


def parents(db: Executes, task_id: UUID, refs: Collection[str]) -> dict[str, Parent]:
    """Return these nodes of the workflow of this task, by their refs."""
    rows = db.execute(_SIZES, {"task": task_id, "refs": list(refs)}).all()
    return {ref: Parent(task_id, TaskStatus(status or noted), size) for ref, noted, task_id, status, size in rows}


def results(db: Executes, ids: Collection[UUID]) -> dict[UUID, Any]:
    """Return the results of these tasks."""
    return dict(map(tuple, db.execute(_RESULTS, {"ids": list(ids)}).all()))
