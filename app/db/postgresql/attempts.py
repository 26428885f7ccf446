"""The statements that each task costs: claim, progress, end. Built once, so that each is compiled and prepared once.

The functions take a session or a connection and commit nothing. Each sends one statement, fenced by the number of the
attempt; one that ends an attempt returns False where the attempt no longer held the task. `begun_after` is how many
seconds after the claim the body began.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.postgresql.prepared import PreparedConnection, build
from app.db.postgresql.transitions import in_state, transition
from app.db.statements.task_moves import ENDS, Cancellation, Cause, End, touched
from app.db.transactions import SET_LOCAL
from app.ddl.clock import seconds
from app.ddl.columns import JSONText
from app.models.task import Task, TaskStatus

Executor = Session | sa.Connection | PreparedConnection
Statement = sa.Update | sa.Select[Any]

# In a batch, a body begins up to 100 ms after the claim.
_BEGUN = {"started_at": Task.started_at + seconds(sa.bindparam("p_begun_after", type_=sa.Float))}


def _this_attempt() -> tuple[sa.ColumnElement[bool], ...]:
    """Return the condition on the fencing token: this task, and this attempt of it."""
    return Task.id == sa.bindparam("p_task_id"), Task.attempt == sa.bindparam("p_attempt")


PROGRESS = (
    sa.update(Task)
    .where(*_this_attempt(), in_state(TaskStatus.RUNNING))
    .values(
        {
            "progress": sa.func.coalesce(sa.bindparam("p_progress"), Task.progress),
            "progress_detail": sa.func.coalesce(sa.bindparam("p_detail", type_=JSONText), Task.progress_detail),
            **touched(),
        }
    )
    .returning(Task.cancel_requested_at)
    .execution_options(synchronize_session=False)
)
_CHECK = sa.select(Task.cancel_requested_at).where(*_this_attempt(), in_state(TaskStatus.RUNNING))


def write_progress(
    db: Executor, task_id: UUID, attempt: int, progress: int | None, detail: Any | None
) -> Cancellation:  # fmt: skip
    """Write percent and detail; None keeps the stored value."""
    values = {"p_task_id": task_id, "p_attempt": attempt, "p_progress": progress, "p_detail": detail}
    return db.execute(PROGRESS, values).one_or_none()


def read_cancellation(db: Executor, task_id: UUID, attempt: int) -> Cancellation:
    """Write nothing, and read whether a cancellation was requested."""
    return db.execute(_CHECK, {"p_task_id": task_id, "p_attempt": attempt}).one_or_none()


@cache
def end_statement(end: End) -> Statement:
    """Return the statement of this end of one attempt, built once."""
    # A prepared statement reads nothing that its caller does not need.
    returning = {} if end.attempt else {"returning": (Task.id,)}
    guard = (*_this_attempt(), *end.guard)
    values = {**end.values, **_BEGUN}
    return transition(end.to, *guard, sources=end.sources, values=values, ended=end.attempt, **returning)


def end_attempt(
    db: Executor, end: End, task_id: UUID, attempt: int, begun_after: float, parameters: Mapping[str, Any]
) -> bool:
    """End the attempt in this way. Returns False where it no longer held the task, or the guard of the end is false."""
    this = {"p_task_id": task_id, "p_attempt": attempt, "p_begun_after": begun_after}
    return db.execute(end_statement(end), {**parameters, **this}).one_or_none() is not None


def build_statements() -> None:
    """Compile the statements that every pool child needs, before the fork, so that the children inherit them."""
    build(*(end_statement(end) for end in ENDS[Cause.SUCCEEDED]))


_ENDED = (
    sa.func.json_to_recordset(sa.cast(sa.bindparam("p_successes", type_=sa.Text), sa.JSON))
    .table_valued(
        sa.column("task_id", sa.Uuid),
        sa.column("attempt", sa.Integer),
        sa.column("result", sa.Text),
        sa.column("begun_after", sa.Float),
    )
    .render_derived(name="ended", with_types=True)
)
# The plan finds each row by its key, however small the table was when PostgreSQL made the plan. And one locked row must
# not delay the others: the statement fails in less time than PostgreSQL takes to look for a deadlock.
_BY_KEY = {**dict.fromkeys(("enable_seqscan", "enable_hashjoin", "enable_mergejoin"), "off"), "lock_timeout": "200ms"}
(_SUCCEEDED,) = ENDS[Cause.SUCCEEDED]
SUCCEED_TOGETHER = transition(
    _SUCCEEDED.to,
    Task.id == _ENDED.c.task_id,
    Task.attempt == _ENDED.c.attempt,
    sources=_SUCCEEDED.sources,
    values={
        **_SUCCEEDED.values,
        "result": _ENDED.c.result,
        "started_at": Task.started_at + seconds(_ENDED.c.begun_after),
    },
    returning=(Task.id,),
).execution_options(**{SET_LOCAL: _BY_KEY})


def succeed_together(db: Executor, successes: Sequence[tuple[UUID, int, str | None, float]]) -> set[UUID]:
    """End several attempts in success in one statement: each is a task's id, its attempt, the JSON text of its result,
    and `begun_after`.

    Returns the ids of the tasks whose attempt still held them. Only a PreparedConnection sends the settings of the
    statement; a session waits for locked rows instead.
    """
    rows = [
        {"task_id": str(task_id), "attempt": attempt, "result": result, "begun_after": begun_after}
        for task_id, attempt, result, begun_after in successes
    ]
    return {task_id for (task_id,) in db.execute(SUCCEED_TOGETHER, {"p_successes": json.dumps(rows)}).all()}
