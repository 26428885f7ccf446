"""Makes a workflow of a request: its tasks, the edges between them, and its nodes, in one transaction."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.core.nearest import did_you_mean
from app.db.statements import workflows
from app.errors import FieldError, InvalidArguments, InvalidInput, InvalidWorkflow
from app.models.outbox import ConsumerNumber
from app.models.workflow import OnFailure
from app.schemas.workflow import MAX_EDGES, WorkflowCreate, WorkflowTask
from app.services.tasks import new_rows, task_creation
from app.services.tasks.new_rows import NewTask
from app.workflows import graph, references
from app.workflows.references import MalformedReference

_ARGUMENTS = ("args", "kwargs")
_CYCLE = "these tasks wait for each other"


@dataclass(frozen=True)
class NewWorkflow:
    """A checked request: the rows to insert, and what the workflow is."""

    id: UUID
    user_id: UUID
    rows: Sequence[NewTask]
    values: dict[str, Any]
    nodes: Sequence[dict[str, Any]]
    goes_on: bool


def check(wanted: WorkflowCreate, user_id: UUID) -> NewWorkflow:
    """Check a request against the catalogue, and its graph.

    Raises InvalidWorkflow for a ref that stands twice or is unknown, a malformed reference and a cycle, which it names;
    UnknownTask, InvalidArguments, InvalidTask, WebhooksOff for a task. Call it before any statement, as
    `new_rows.rows_of`.
    """
    positions = _positions(wanted.tasks)
    parents = [_parents(at, task, positions) for at, task in enumerate(wanted.tasks)]
    if sum(map(len, parents)) > MAX_EDGES:
        raise _refused([], f"they wait for each other more than {MAX_EDGES} times in all", "too_many_edges")
    try:
        order = graph.order(parents)
    except graph.Cycle as cycle:
        message = f"{_CYCLE}: {_chain(map(_at, cycle.nodes))}"
        detail = f"{_CYCLE}: {_chain(wanted.tasks[node].ref for node in cycle.nodes)}"
        raise _refused([cycle.nodes[0], "depends_on"], message, "cycle", detail) from None
    workflow_id, ids = new_id(), dict[int, UUID]()
    for at in order:  # parents have the lower ids: what reads in their order finds them first
        ids[at] = new_id()
    rows = [_row(at, task, ids, parents[at], user_id, workflow_id) for at, task in enumerate(wanted.tasks)]
    nodes = [
        {"position": at, "ref": task.ref, "parents": parents[at], "task_id": ids[at]}
        for at, task in enumerate(wanted.tasks)
    ]
    values = {"id": workflow_id, "user_id": user_id, "name": wanted.name, "on_failure": wanted.on_failure.value}
    return NewWorkflow(workflow_id, user_id, rows, values, nodes, wanted.on_failure is OnFailure.CONTINUE)


@contextmanager
def making(db: Session, new: NewWorkflow, *, commit: bool, within_quota: bool) -> Iterator[None]:
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
            raise _refused([at, "ref"], f"{_at(found[task.ref])} has this ref", "repeated_ref")
    return found


def _parents(at: int, task: WorkflowTask, positions: dict[str, int]) -> list[int]:
    """Return the positions of what the task waits for. Raises InvalidWorkflow."""
    named: list[tuple[list[str | int], str]] = [(["depends_on", n], ref) for n, ref in enumerate(task.depends_on)]
    for field in _ARGUMENTS:
        try:
            named += [([field], reference.ref) for reference in references.find(getattr(task, field))]
        except MalformedReference as error:
            raise _refused([at, field], str(error), "malformed_reference") from None
    for place, ref in named:
        if ref not in positions:
            message = f"no task of the workflow has this ref{did_you_mean(ref, positions)}"
            raise _refused([at, *place], message, "unknown_ref")
    return [*dict.fromkeys(positions[ref] for _, ref in named)]


def _at(position: int) -> str:
    return f"tasks[{position}]"


def _chain(names: Iterable[str]) -> str:
    """Return the names in the order of their waiting, up to the first one again."""
    first, *others = names
    return " → ".join([first, *others, first])


def _row(
    at: int, task: WorkflowTask, ids: dict[int, UUID], parents: Sequence[int], user_id: UUID, workflow_id: UUID
) -> NewTask:  # fmt: skip
    wanted = task.model_copy(update={"depends_on": [ids[parent] for parent in parents]})
    followers = ConsumerNumber.CHILDREN.bit
    try:
        (row,) = new_rows.rows_of(
            [wanted], user_id, followers, ids=[ids[at]], check=new_rows.check_references, workflow_id=workflow_id
        )
    except (InvalidArguments, InvalidInput) as error:
        raise error.of_batch(at) from None
    return row


def _refused(where: list[str | int], message: str, kind: str, detail: str | None = None) -> InvalidWorkflow:
    error: FieldError = {"loc": ["tasks", *where], "msg": message, "type": kind}
    return InvalidWorkflow(detail, [error])
