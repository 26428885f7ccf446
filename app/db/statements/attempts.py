"""The statements that each task costs: progress and ends of attempts. Those of one attempt are built once.

The functions take a session or a connection. In a transaction of the caller they commit nothing; else each is one. A
statement is fenced by the number of the attempt; a function that ends an attempt returns False where the attempt no
longer held the task. `begun_after` is how many seconds after the claim the body began.
"""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Insert, Text, Update, bindparam, case, func, select, update

from app.db.statements.tables import TASKS
from app.db.statements.task_moves import ENDS, Cancellation, Cause, End, touched
from app.db.statements.transitions import IDS, change_statement, history_statement, in_state
from app.db.statements.writes import assign, changed_rows
from app.db.transactions import Executor, Transaction, atomically
from app.ddl.clock import seconds
from app.ddl.columns import Double, JSONText
from app.models.task import TaskStatus

__all__ = ["Cancellation", "Executor"]


_RUNNING = in_state(TaskStatus.RUNNING)
# A bind parameter named like a column would be taken for a value to SET, hence the `p_`.
_TASK = TASKS.c.id == bindparam("p_task_id", type_=TASKS.c.id.type)
_THIS_ATTEMPT = (_TASK, TASKS.c.attempt == bindparam("p_attempt"), _RUNNING)
# In a batch, a body begins up to 100 ms after the claim.
_BEGUN = {"started_at": TASKS.c.started_at + seconds(bindparam("p_begun_after", type_=Double))}

_PROGRESS = assign(
    update(TASKS).where(*_THIS_ATTEMPT),
    {
        "progress": func.coalesce(bindparam("p_progress"), TASKS.c.progress),
        "progress_detail": func.coalesce(bindparam("p_detail", type_=JSONText), TASKS.c.progress_detail),
        **touched(),
    },
)
_CHECK = select(TASKS.c.cancel_requested_at).where(*_THIS_ATTEMPT)


def write_progress(
    db: Executor, task_id: UUID, attempt: int, progress: int | None, detail: Any | None
) -> Cancellation:  # fmt: skip
    """Write percent and detail; None keeps the stored value."""
    values = {"p_task_id": task_id, "p_attempt": attempt, "p_progress": progress, "p_detail": detail}

    def write(db: Transaction) -> Cancellation:
        db.execute(_PROGRESS, values)
        return db.execute(_CHECK, values).one_or_none()

    return atomically(db, write)


def read_cancellation(db: Executor, task_id: UUID, attempt: int) -> Cancellation:
    """Write nothing, and read whether a cancellation was requested."""
    return atomically(db, lambda db: db.execute(_CHECK, {"p_task_id": task_id, "p_attempt": attempt}).one_or_none())


@cache
def _end_statements(end: End) -> tuple[Update, Insert | None]:
    """Return the UPDATE of this end of one attempt and the INSERT of its history, built once."""
    guard = (*_THIS_ATTEMPT, *end.guard)
    change = change_statement(end.to, *guard, values={**end.values, **_BEGUN}, ended=end.attempt)
    return change, None if end.attempt is None else history_statement(end.attempt, _TASK)


def end_attempt(
    db: Executor, end: End, task_id: UUID, attempt: int, begun_after: float, parameters: Mapping[str, Any]
) -> bool:
    """End the attempt in this way. Returns False where it no longer held the task, or the guard of the end is false."""
    given = {**parameters, "p_task_id": task_id, "p_attempt": attempt, "p_begun_after": begun_after}
    change, history = _end_statements(end)

    def write(db: Transaction) -> bool:
        if not changed_rows(db.execute(change, given)):
            return False
        if history is not None:
            db.execute(history, given)
        return True

    return atomically(db, write)


_HOLDING = select(TASKS.c.id, TASKS.c.attempt).where(TASKS.c.id.in_(IDS), _RUNNING).with_for_update(nowait=True)


@lru_cache(maxsize=128)
def _succeed_all(number: int) -> Update:
    """Return the UPDATE of so many tasks, built once: SQLAlchemy takes longer to build it than the server to run it."""
    task = [bindparam(f"p_task_id{n}", type_=TASKS.c.id.type) for n in range(number)]
    result = [bindparam(f"p_result{n}", type_=Text) for n in range(number)]
    begun_after = [bindparam(f"p_begun_after{n}", type_=Double) for n in range(number)]
    (end,) = ENDS[Cause.SUCCEEDED]
    values = {
        **end.values,
        "result": case(*zip(task, result, strict=True), value=TASKS.c.id),
        "started_at": TASKS.c.started_at + seconds(case(*zip(task, begun_after, strict=True), value=TASKS.c.id)),
    }
    return change_statement(end.to, TASKS.c.id.in_(task), values=values)


def succeed_together(db: Executor, successes: Sequence[tuple[UUID, int, str | None, float]]) -> set[UUID]:
    """End several attempts in success in one transaction: each is a task's id, its attempt, the JSON text of its
    result, and `begun_after`.

    Returns the ids of the tasks whose attempt still held them. One locked row must not delay the others: the call fails
    at once where another transaction holds one (`is_locked`).
    """
    wanted = {(task_id, attempt): (result, begun) for task_id, attempt, result, begun in successes}

    def write(db: Transaction) -> set[UUID]:
        rows = db.execute(_HOLDING, {"p_ids": sorted({task_id for task_id, _ in wanted})})
        held = [(row.id, row.attempt) for row in rows if (row.id, row.attempt) in wanted]
        if held:
            values: dict[str, Any] = {}
            for n, (task_id, attempt) in enumerate(held):
                result, begun_after = wanted[task_id, attempt]
                values |= {f"p_task_id{n}": task_id, f"p_result{n}": result, f"p_begun_after{n}": begun_after}
            db.execute(_succeed_all(len(held)), values)
        return {task_id for task_id, _ in held}

    return atomically(db, write)


def build_statements() -> None:
    """Nothing: SQLAlchemy compiles each statement at its first use."""
