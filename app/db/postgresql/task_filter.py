"""The conditions that a TaskFilter puts on rows, split by the index that serves them."""

from sqlalchemy import literal_column

from app.db.postgresql import waiting
from app.db.statements import task_conditions
from app.db.statements.task_conditions import Conditions, list_row_conditions
from app.models.task import Task, TaskStatus, WaitingReason
from app.models.task_filter import TaskFilter


def conditions(wanted: TaskFilter, *, status: bool = True) -> Conditions:
    """All conditions; without `status` all but those on the status."""
    return task_conditions.conditions(wanted, of_rows(wanted), status=status)


def of_rows(wanted: TaskFilter) -> Conditions:
    """The conditions that no index is sorted by and no number is kept by: they are looked up in the rows."""
    found: Conditions = []
    if wanted.tag:
        # The second condition is that of the partial index, which leaves tasks without tags out.
        found += [Task.tags.contains(list(wanted.tag)), Task.tags != literal_column("'{}'", Task.tags.type)]
    if wanted.name:
        found.append(Task.name.icontains(wanted.name, autoescape=True))
    if wanted.waiting_for is not None:
        found += [Task.status == TaskStatus.PENDING.value, waiting.reason() == WaitingReason(wanted.waiting_for).value]
    return [*found, *list_row_conditions(wanted)]
