"""The conditions that a TaskFilter puts on rows, split by the index that serves them."""

from sqlalchemy import Text, literal

from app.db.statements import task_conditions, waiting
from app.db.statements.expressions import has_member, lower_case, position_in
from app.db.statements.task_conditions import Conditions, list_row_conditions
from app.ddl.columns import EmptyTextList
from app.models.task import Task, TaskStatus, WaitingReason
from app.models.task_filter import TaskFilter


def conditions(wanted: TaskFilter, *, status: bool = True) -> Conditions:
    """All conditions; without `status` all but those on the status."""
    return task_conditions.conditions(wanted, of_rows(wanted), status=status)


def of_rows(wanted: TaskFilter) -> Conditions:
    """The conditions that no index is sorted by and no number is kept by: they are looked up in the rows."""
    found: Conditions = []
    if wanted.tag:
        # Most tasks have no tags: only the others are parsed, or stand in the index.
        found += [Task.tags != EmptyTextList(), *(has_member(Task.tags, literal(each, Text)) for each in wanted.tag)]
    if wanted.name:
        # Not LIKE: that of SQLite takes all ASCII letters for alike, and bounds the text.
        found.append(position_in(lower_case(Task.name), lower_case(literal(wanted.name, Text))) > 0)
    if wanted.waiting_for is not None:
        found += [Task.status == TaskStatus.PENDING.value, waiting.reason() == WaitingReason(wanted.waiting_for).value]
    return [*found, *list_row_conditions(wanted)]
