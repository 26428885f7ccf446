"""The lifecycle of workflows: made of a request, cancelled, retried, deleted; and tasks that run again together.

A workflow is made with its tasks, the edges between them and its nodes, in one transaction.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy.orm import Session

from app import errors
from app.core.ids import new_id
from app.core.nearest import did_you_mean
from app.db.statements import bulk, dependencies, files, workflows
from app.errors import Text
from app.models.auth import Scope
from app.models.outbox import ConsumerNumber
from app.models.task import ACTIVE, TERMINAL, UNSUCCESSFUL, TaskStatus
from app.models.workflow import OnFailure
from app.schemas.workflow import MAX_EDGES, WorkflowCreate, WorkflowTask
from app.services.accounts.users import Rights
from app.services.tasks import (
    due_tasks,
    limited_tasks,
    new_rows,
    task_changes,
    task_creation,
    task_queries,
    unique_keys,
)
from app.services.tasks.new_rows import NewTask
from app.services.tasks.permissions import check_may_create, check_may_run
from app.services.tasks.quotas import load_of_row, quotas, sum_of_loads
from app.services.workflows import dependents
from app.services.workflows.reading import final_status
from app.workflows import graph, references
from app.workflows.references import MalformedReference

_ARGUMENTS = ("args", "kwargs")
_CYCLE = "these tasks wait for each other: {}"


@dataclass(frozen=True)
class NewWorkflow:
    """A checked request: the rows to insert, and what the workflow is."""

    id: UUID
    user_id: UUID
    rows: Sequence[NewTask]
    values: dict[str, Any]
    nodes: Sequence[dict[str, Any]]
    goes_on: bool


def check_request(wanted: WorkflowCreate, user_id: UUID) -> NewWorkflow:
    """Check a request against the catalogue, and its graph.

    Raises InvalidWorkflow for a ref that stands twice or is unknown, a malformed reference and a cycle, which it names;
    UnknownTask, InvalidArguments, InvalidTask, WebhooksOff for a task. Call it before any statement, as
    `new_rows.rows_of`.
    """
    positions = _positions(wanted.tasks)
    parents = [_parents_of(at, task, positions) for at, task in enumerate(wanted.tasks)]
    if sum(map(len, parents)) > MAX_EDGES:
        raise errors.InvalidWorkflow.at(
            ["tasks"], Text("they wait for each other more than {} times in all", MAX_EDGES), "too_many_edges"
        )
    try:
        order = graph.order(parents)
    except graph.Cycle as cycle:
        message = Text(_CYCLE, _chain(map(_place_of, cycle.nodes)))
        detail = Text(_CYCLE, _chain(wanted.tasks[node].ref for node in cycle.nodes))
        raise errors.InvalidWorkflow.at(["tasks", cycle.nodes[0], "depends_on"], message, "cycle", detail) from None
    workflow_id, ids = new_id(), dict[int, UUID]()
    for at in order:  # parents have the lower ids: what reads in their order finds them first
        ids[at] = new_id()
    rows = [_row_of(at, task, ids, parents[at], user_id, workflow_id) for at, task in enumerate(wanted.tasks)]
    nodes = [
        {"position": at, "ref": task.ref, "parents": parents[at], "task_id": ids[at]}
        for at, task in enumerate(wanted.tasks)
    ]
    values = {"id": workflow_id, "user_id": user_id, "name": wanted.name, "on_failure": wanted.on_failure.value}
    return NewWorkflow(workflow_id, user_id, rows, values, nodes, wanted.on_failure is OnFailure.CONTINUE)


@contextmanager
def creating(db: Session, new: NewWorkflow, *, commit: bool, within_quota: bool) -> Iterator[None]:
    """Create the workflow and its tasks, or nothing. The block belongs to the transaction.

    Raises as `task_creation.creating` does.
    """
    with task_creation.creating(
        db, new.rows, commit=commit, within_quota=within_quota, goes_on=new.goes_on
    ):  # fmt: skip
        workflows.insert_workflow(db, new.values, new.nodes)
        yield


def _positions(tasks: Sequence[WorkflowTask]) -> dict[str, int]:
    found: dict[str, int] = {}
    for at, task in enumerate(tasks):
        if found.setdefault(task.ref, at) != at:
            raise errors.InvalidWorkflow.at(
                ["tasks", at, "ref"], Text("{} has this ref", _place_of(found[task.ref])), "repeated_ref"
            )
    return found


def _parents_of(at: int, task: WorkflowTask, positions: dict[str, int]) -> list[int]:
    """Return the positions of what the task waits for. Raises InvalidWorkflow."""
    named: list[tuple[list[str | int], str]] = [(["depends_on", n], ref) for n, ref in enumerate(task.depends_on)]
    for field in _ARGUMENTS:
        try:
            named += [([field], reference.ref) for reference in references.find(getattr(task, field))]
        except MalformedReference as error:
            raise errors.InvalidWorkflow.at(["tasks", at, field], str(error), "malformed_reference") from None
    for place, ref in named:
        if ref not in positions:
            message = Text("no task of the workflow has this ref{}", did_you_mean(ref, positions))
            raise errors.InvalidWorkflow.at(["tasks", at, *place], message, "unknown_ref")
    return [*dict.fromkeys(positions[ref] for _, ref in named)]


def _place_of(position: int) -> str:
    return f"tasks[{position}]"


def _chain(names: Iterable[str]) -> str:
    """Return the names in the order of their waiting, up to the first one again."""
    first, *others = names
    return " → ".join([first, *others, first])


def _row_of(
    at: int, task: WorkflowTask, ids: dict[int, UUID], parents: Sequence[int], user_id: UUID, workflow_id: UUID
) -> NewTask:  # fmt: skip
    wanted = task.model_copy(update={"depends_on": [ids[parent] for parent in parents]})
    followers = ConsumerNumber.CHILDREN.bit
    try:
        (row,) = new_rows.rows_of(
            [wanted], user_id, followers, ids=[ids[at]], check=new_rows.check_references, workflow_id=workflow_id
        )
    except (errors.InvalidArguments, errors.InvalidInput) as error:
        raise error.of_batch(at) from None
    return row


# -- Whole workflows: cancelled, retried, deleted. The caller has locked the workflow, and commits ---------------------


def cancel_workflow(db: Session, workflow_id: UUID) -> list[UUID] | None:
    """Revoke what waits, and ask what runs to stop. Returns the tasks that it has revoked; None if all had ended so.

    Raises WorkflowTransition for one that has ended otherwise than revoked.
    """
    nodes = workflows.nodes(db, workflow_id)
    status = final_status(node.status for node in nodes)
    if status is not None:
        if status is TaskStatus.REVOKED:
            return None
        raise errors.WorkflowTransition(Text("The workflow has already {}", status))
    revoked: list[UUID] = []
    for _ in range(task_changes.TRIES):  # one may be claimed, or given back, between the two statements
        active = [node.task_id for node in nodes if node.task_id is not None and node.status in ACTIVE]
        if not active:
            break
        task_changes.revoke_all_pending(db, active)
        task_changes.request_all_cancels(db, active)
        nodes = workflows.nodes(db, workflow_id)
        left = {node.task_id for node in nodes if node.status in ACTIVE}
        revoked += [each for each in active if each not in left]
        if all(node.status is not TaskStatus.PENDING for node in nodes):
            break
    return revoked


def retry_workflow(
    db: Session, workflow_id: UUID, until_commit: ExitStack, *, rights: Rights | None, within_quota: bool
) -> None:  # fmt: skip
    """Have what failed or was revoked run again, and wait for each other as before.

    What has succeeded stays. Raises WorkflowTransition if there is nothing to retry, ParentDeleted, UniqueKeyTaken,
    UnknownLimit; with `rights`, those of the caller, what `check_may_create` raises; with `within_quota` QuotaExceeded.
    """
    nodes = workflows.nodes(db, workflow_id)
    # Those that are active as well: none of them fails, and revokes what waits for it, until the commit.
    ids = [node.task_id for node in nodes if node.task_id is not None and node.status is not TaskStatus.SUCCEEDED]
    tasks = [task for task in bulk.lock_tasks(db, ids, wait=True) if task.status in UNSUCCESSFUL] if ids else []
    if not tasks:
        raise errors.WorkflowTransition("Nothing of the workflow has failed or was revoked")
    if rights is not None:
        for task in tasks:
            _check_rights(db, task, rights)
    check_parents_kept(db, workflow_id, [task.id for task in tasks])
    if within_quota:
        load = sum_of_loads(load_of_row(task.arguments_bytes, task.attached_bytes) for task in tasks)
        until_commit.enter_context(quotas.reserve(db, tasks[0].user_id, load))
    for limit in sorted({task.limit for task in tasks if task.limit is not None}):
        limited_tasks.keep_limit(db, limit)
    restart = Restart(db, tasks)
    for task in tasks:
        if task.unique_key is not None:
            unique_keys.take_again(db, task, partial(task_changes.restart, db, task.id))
    task_changes.restart_all(db, [task.id for task in tasks if task.unique_key is None])
    restart.apply(db, [task.id for task in tasks])
    due_tasks.wake_all_due(db, {task.id: task.queue for task in tasks})


def _check_rights(db: Session, task: bulk.LockedTask, rights: Rights) -> None:
    """Raise what `check_may_create` raises. The arguments, which may be large, are read for an API key alone."""
    check_may_run(task, rights)
    if Scope.TASKS_READ not in rights.scopes:
        check_may_create([task_queries.read(db, task.id)], rights)


def delete_workflow(db: Session, workflow_id: UUID) -> None:
    """Delete an ended workflow with its tasks. Raises WorkflowActive, TaskHasChildren if a pending task needs one."""
    nodes = workflows.nodes(db, workflow_id)
    if any(node.status in ACTIVE for node in nodes):
        raise errors.WorkflowActive
    ids = [node.task_id for node in nodes if node.task_id is not None]
    if ids and task_changes.delete_all_ended(db, ids) < len(ids):
        raise errors.TaskHasChildren
    workflows.delete(db, [workflow_id])


def check_parents_kept(db: Session, workflow_id: UUID, ids: Sequence[UUID]) -> None:
    """Raise ParentDeleted if one of these tasks of the workflow needs one that is deleted.

    That is one whose result it refers to, and one that has not succeeded, where that revokes what follows.
    """
    deleted = workflows.deleted_nodes(db, workflow_id)
    refs = {node.position: node.ref for node in deleted if node.status in UNSUCCESSFUL}
    for task_id, position in workflows.held_by(db, ids, refs).items() if refs else ():
        raise errors.ParentDeleted(
            Text("Task {} depends on {}, which has not succeeded and is deleted", task_id, repr(refs[position]))
        )
    gone = {node.ref for node in deleted if node.status is TaskStatus.SUCCEEDED}
    for task_id in ids if gone else ():  # one by one: their arguments may be large
        task = task_queries.read(db, task_id)
        needed = next((each.ref for each in references.find([task.args, task.kwargs]) if each.ref in gone), None)
        if needed is not None:
            raise errors.ParentDeleted(Text("Task {} needs the result of {}, which is deleted", task_id, repr(needed)))


# -- Ended tasks that are to run again, together: which of them may, and which wait for others then --------------------


class EndedTask(Protocol):
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

    def __init__(self, db: Session, tasks: Iterable[EndedTask]) -> None:
        self._again = {task.id: task for task in tasks}
        of_workflows = {task.workflow_id for task in self._again.values() if task.workflow_id is not None}
        if of_workflows:  # an end that is not noted yet is noted first: its webhooks tell of it
            dependents.note_in_workflows(db, workflows.task_ids(db, of_workflows))
        if parents := [task.id for task in self._again.values() if ConsumerNumber.CHILDREN.is_in(task.followers)]:
            dependencies.lock_waiting(db, parents)
        dependent = [task.id for task in self._again.values() if task.depends_on]
        self._edges = dependencies.edges_to(db, dependent) if dependent else []
        others = {edge.parent_id for edge in self._edges} - self._again.keys()
        self._states = dependencies.lock_parents(db, others) if others else {}
        self._refused = self._find_refused()
        files.keep_named_by(db, [*self._again])

    def check(self, task_id: UUID) -> None:
        """Raise ParentFailed for a task one of whose parents has failed or is revoked, and does not run again."""
        if task_id in self._refused:
            raise errors.ParentFailed

    def leave_out(self, task: EndedTask) -> None:
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
            dependents.note_in_workflows(db, nodes)

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
