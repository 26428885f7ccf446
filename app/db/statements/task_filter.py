"""The conditions that a TaskFilter puts on rows, split by the index that serves them.

Those on tags, names and reasons to wait are looked up in the rows.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, and_, case, false, literal, or_, select, true

from app.core.ids import FIRST_ID, LAST_ID, first_id_at, last_id_at
from app.core.served_tasks import served_tasks
from app.db.statements.expressions import has_member, holds_text
from app.db.statements.pending_rows import PENDING
from app.ddl.columns import EmptyTextList, Id
from app.ddl.engines import WAITS_OF_MANY
from app.ddl.indexes import HAS_ODD_ID
from app.models.task import Held, Task, TaskStatus, WaitingReason
from app.models.task_count import KIND
from app.models.task_filter import COLUMNS, TaskFilter, looks_up_rows
from app.models.workflow import WorkflowNode

# How far an id's time may be from `created_at`. Ids that are further away stand in `ix_tasks_odd_ids`.
ID_SLACK = timedelta(seconds=61)
# Made once: it takes SQLAlchemy a millisecond.
_OTHER = Task.__table__.alias("other")

Conditions = list[ColumnElement[bool]]


def conditions_with(wanted: TaskFilter, of_rows: Conditions, *, status: bool = True) -> Conditions:
    """All conditions, `of_rows` being those of the function `of_rows`; without `status` all but those on the status."""
    states = of_status(wanted) if status else []
    return [*of_owner(wanted), *states, *of_kind(wanted), *of_rows, *of_ids(wanted)]


def of_owner(wanted: TaskFilter) -> Conditions:
    return [] if wanted.user_id is None else [Task.user_id == wanted.user_id]


def of_status(wanted: TaskFilter) -> Conditions:
    return [Task.status.in_(sorted(set(wanted.status)))] if wanted.status else []


def of_kind(wanted: TaskFilter) -> Conditions:
    """Return the conditions by which ended tasks are counted and indexed (TASK_KIND)."""
    return _of_columns(wanted, KIND)


def names_more(wanted: TaskFilter) -> bool:
    """Return whether the filter names anything of a task besides its user, states, error and times."""
    return bool(of_kind(wanted) or wanted.schedule_id or wanted.workflow_id) or looks_up_rows(wanted)


def own_index(wanted: TaskFilter) -> str | None:
    """Return the index of a field whose value few tasks have, if the filter names one.

    Those of an error or of a schedule are tasks of one user; those of a limit are pending.
    """
    if waits_for_limit(wanted):
        return "ix_tasks_limited"
    if wanted.error is not None:
        return "ix_tasks_error"
    return None if wanted.schedule_id is None else "ix_tasks_schedule"


def of_own_index(wanted: TaskFilter) -> Conditions:
    """Return the conditions that this index serves."""
    if waits_for_limit(wanted):
        return [*of_owner(wanted), *of_limit(wanted)]
    return of_error(wanted) or of_schedule(wanted)


def list_row_conditions(wanted: TaskFilter) -> Conditions:
    """Return the conditions of the rows that every engine spells alike."""
    own = [*of_limit(wanted), *of_error(wanted), *of_schedule(wanted), *of_workflow(wanted)]
    return [*_of_columns(wanted, COLUMNS), *own, *of_times(wanted)]


def _of_columns(wanted: TaskFilter, names: Iterable[str]) -> Conditions:
    return [Task.__table__.c[name] == value for name in names if (value := getattr(wanted, name)) is not None]


def of_limit(wanted: TaskFilter) -> Conditions:
    """Return the condition on the limit; where it is of pending tasks alone, as their partial index has it."""
    if wanted.limit_name is None:
        return []
    return [*([PENDING] if waits_for_limit(wanted) else []), Task.limit == wanted.limit_name]


def waits_for_limit(wanted: TaskFilter) -> bool:
    """Return whether the filter finds pending tasks of one limit alone, which an index holds."""
    return wanted.limit_name is not None and set(wanted.status) == {TaskStatus.PENDING}


def of_error(wanted: TaskFilter) -> Conditions:
    return _of_one_user("error_fingerprint", wanted.error, wanted.user_id)


def of_schedule(wanted: TaskFilter) -> Conditions:
    return _of_one_user("schedule_id", wanted.schedule_id, wanted.user_id)


def of_workflow(wanted: TaskFilter) -> Conditions:
    """Return the nodes of the workflow, and bounds on the id for the primary key: its tasks were made together."""
    if wanted.workflow_id is None:
        return []
    nodes = WorkflowNode.__table__.c
    theirs = select(nodes.task_id).where(nodes.workflow_id == wanted.workflow_id, nodes.task_id.is_not(None))
    first, last = (theirs.order_by(order).limit(1).scalar_subquery() for order in (nodes.task_id, nodes.task_id.desc()))
    return [Task.id.in_(theirs), Task.id >= first, Task.id <= last]


def _of_one_user(column: str, value: Any, user_id: UUID | None) -> Conditions:
    """Return the conditions on a column whose value is of one user, whom each of its tasks names.

    Where that is not the user of the filter, no row is read: how many there are is for their owner alone to know.
    """
    if value is None:
        return []
    found: Conditions = [Task.__table__.c[column] == value]
    if user_id is not None:
        owner = select(_OTHER.c.user_id).where(_OTHER.c[column] == value)
        found.append(owner.order_by(_OTHER.c.id.desc()).limit(1).scalar_subquery() == user_id)
    return found


def of_times(wanted: TaskFilter) -> Conditions:
    """Return the times of creation, as the rows tell them."""
    found: Conditions = []
    if wanted.created_after is not None:
        found.append(Task.created_at > wanted.created_after)
    if wanted.created_before is not None:
        found.append(Task.created_at < wanted.created_before)
    return found


def of_ids(wanted: TaskFilter) -> Conditions:
    """Return bounds on the id from the times of creation: wider than the times, and an index serves them."""
    found: Conditions = []
    if wanted.created_after is not None:
        found.append(Task.id >= id_at(wanted, wanted.created_after, -1, no_bound=FIRST_ID))
    if wanted.created_before is not None:
        found.append(Task.id <= id_at(wanted, wanted.created_before, 1, no_bound=LAST_ID))
    return found


def id_at(wanted: TaskFilter, moment: datetime, direction: int, *, no_bound: UUID) -> ColumnElement[UUID]:
    """Return the id of that time, with slack towards the future (1) or the past (-1).

    `no_bound` where the filter's user has ids that a wrong clock has made.
    """
    seconds = moment.timestamp() + direction * ID_SLACK.total_seconds()
    bound = last_id_at(seconds) if direction > 0 else first_id_at(seconds)
    odd = select(_OTHER.c.id).where(HAS_ODD_ID)
    if wanted.user_id is not None:
        odd = odd.where(_OTHER.c.user_id == wanted.user_id)
    return select(case((odd.exists(), literal(no_bound, Id)), else_=literal(bound, Id))).scalar_subquery()


# -- Why pending tasks wait, for conditions and counts -----------------------------------------------------------------


def waiting_reason() -> ColumnElement[str]:
    """Return the reason of each pending task, by the workers as this process knows them now."""
    ready = case((_is_served(), WaitingReason.TURN.value), else_=WaitingReason.NO_WORKER.value)
    limited = dict.fromkeys((Held.USER.value, Held.LIMIT_KEY.value), WaitingReason.LIMIT.value)
    return case({"ready": ready, **limited}, value=WAITS_OF_MANY, else_=WAITS_OF_MANY)


def _is_served() -> ColumnElement[bool]:
    groups = served_tasks().served()
    if groups is None:
        return true()
    queue, name = Task.__table__.c.queue, Task.__table__.c.celery_task_name
    served = [and_(queue.in_(queues), true() if names is None else name.in_(sorted(names))) for queues, names in groups]
    return or_(false(), *served)


# -- All conditions of a filter together, and those that are looked up in the rows -------------------------------------


def conditions(wanted: TaskFilter, *, status: bool = True) -> Conditions:
    """Return all conditions; without `status` all but those on the status."""
    return conditions_with(wanted, of_rows(wanted), status=status)


def of_rows(wanted: TaskFilter) -> Conditions:
    """Return the conditions that no index is sorted by and no number is kept by: they are looked up in the rows."""
    found: Conditions = []
    if wanted.tag:
        # Most tasks have no tags: only the others are parsed, or stand in the index.
        found += [Task.tags != EmptyTextList(), *(has_member(Task.tags, literal(each, Text)) for each in wanted.tag)]
    if wanted.name:
        # Not LIKE: that of SQLite takes all ASCII letters for alike, and bounds the text.
        found.append(holds_text(Task.name, wanted.name))
    if wanted.waiting_for is not None:
        found += [Task.status == TaskStatus.PENDING.value, waiting_reason() == WaitingReason(wanted.waiting_for).value]
    return [*found, *list_row_conditions(wanted)]
