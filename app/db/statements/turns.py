"""Turns: start-time fair queueing of pending tasks (Goyal, Vin, Cheng: Start-Time Fair Queueing, SIGCOMM 1996).

A task's turn is `max(the line's clock, the user's last turn) + 1 / weight`. A line is a queue and a priority; its clock
is the highest turn that was claimed. So a user's first task stands behind one task of each other user, whatever these
have queued, and a user who was away has saved nothing up.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Insert, and_, bindparam, exists, or_, select
from sqlalchemy.orm import Session

from app.db.statements.expressions import greatest
from app.db.statements.pending_rows import LINE, PENDING, PLACE_BATCH, change_tasks, clock_of_line, lock_tasks
from app.db.statements.tables import TASKS, USER_TURNS, USERS
from app.db.statements.writes import engine_name, upsert_statement, value_by
from app.db.transactions import Transaction, atomically, wait_briefly
from app.ddl.clock import STATEMENT_TIME
from app.models.task import TaskPriority

_Line = tuple[UUID, str, str]


def give_turns(db: Transaction, rows: Sequence[tuple[UUID, UUID, str, str]]) -> dict[UUID, float]:
    """Give these tasks their turns, by id, and raise the users' last turns. Writes nothing into the tasks.

    Each row is the task's id, its user's, its queue and its priority. The tasks of one user are placed in the order of
    their ids. The last turn of each user and line is locked until the commit, in one order for all transactions.
    """
    lines: dict[_Line, list[UUID]] = {}
    for task_id, user_id, queue, priority in sorted(rows):
        lines.setdefault((user_id, queue, priority), []).append(task_id)
    if not lines:
        return {}
    weights, clocks = _weights_and_clocks(db, lines)
    wanted = []
    for line in sorted(lines):  # the order of the locks
        clock = clocks[line[1:]]
        last = clock + len(lines[line]) / weights.get(line[0], 1)
        wanted.append({**dict(zip(LINE, line, strict=True)), "clock": clock, "last": last})
    db.execute(_raise(engine_name(db)), wanted)
    columns = zip(LINE, zip(*lines, strict=True), strict=True)
    found = db.execute(_LASTS, {f"p_{name}": list(set(values)) for name, values in columns})
    given = {(row.user_id, row.queue, row.priority): row.last for row in found}
    return {
        task_id: given[line] - (len(ids) - nth) / weights.get(line[0], 1)
        for line, ids in lines.items()
        for nth, task_id in enumerate(ids, 1)
    }


# Built once: a submit spends more time on statements than their execution takes.


def _weights_and_clocks(
    db: Transaction, lines: Iterable[_Line]
) -> tuple[dict[UUID, int], dict[tuple[str, str], float]]:
    of_lines = sorted({line[1:] for line in lines})
    values: dict[str, Any] = {"p_users": list({user_id for user_id, _, _ in lines})}
    for nth, (queue, priority) in enumerate(of_lines):
        values |= {f"p_queue_{nth}": queue, f"p_priority_{nth}": priority}
    rows = db.execute(_read_statement(len(of_lines)), values).all()
    clocks = rows[0][2:] if rows else [0.0] * len(of_lines)
    return {row[0]: row[1] for row in rows}, dict(zip(of_lines, clocks, strict=True))


@lru_cache(maxsize=64)
def _read_statement(lines: int) -> Any:
    clocks = (clock_of_line(bindparam(f"p_queue_{nth}"), bindparam(f"p_priority_{nth}")) for nth in range(lines))
    of_users = USERS.c.id.in_(bindparam("p_users", expanding=True))
    return select(USERS.c.id, USERS.c.weight, *clocks).where(of_users)


@lru_cache
def _raise(engine: str) -> Insert:
    return upsert_statement(
        engine,
        USER_TURNS,
        lambda old, new: {"last": greatest(old.last, new.clock) + (new.last - new.clock), "clock": new.clock},
    )


# By the columns one by one, which gives those of some lines more: MariaDB looks no list of rows up in an index.
_LASTS = select(USER_TURNS).where(*(USER_TURNS.c[name].in_(bindparam(f"p_{name}", expanding=True)) for name in LINE))

# An UPDATE with a value for each row is another statement for each number of rows: none is kept.
_UNCACHED = {"compiled_cache": None}
_DUE = and_(PENDING, TASKS.c.turn.is_(None), TASKS.c.due_at <= STATEMENT_TIME)


def _place(db: Transaction, ids: Sequence[UUID]) -> int:
    columns = (TASKS.c.id, *(TASKS.c[name] for name in LINE))
    rows = lock_tasks(db, columns, ids, _DUE)
    turns = give_turns(db, [(row[0], row[1], row[2], row[3]) for row in rows])
    if turns:
        change_tasks(db, list(turns), {"turn": value_by(TASKS.c.id, turns)}, execution_options=_UNCACHED)
    return len(turns)


def place_due(db: Session, user_id: UUID | None = None) -> int:
    """Give a batch of the pending tasks that have become due their turn, of all users or of this one.

    Returns how many. Raises OperationalError (`is_locked`) where another transaction holds the turns of one of the
    users.
    """
    # A process that froze in the middle of a submit holds the turns of its users until its connection ends.
    wait_briefly(db)
    of_user = () if user_id is None else (TASKS.c.user_id == user_id,)
    due = select(TASKS.c.id).where(_DUE, *of_user).order_by(TASKS.c.due_at).limit(PLACE_BATCH)
    return _place(db, db.scalars(due).all())


def place(db: Transaction, task_ids: Sequence[UUID]) -> int:
    """Give those of these tasks their turns that are pending and due and have none. Returns how many.

    On a connection, each batch is a transaction of its own.
    """
    batches = [task_ids[at : at + PLACE_BATCH] for at in range(0, len(task_ids), PLACE_BATCH)]
    return sum(atomically(db, partial(_place, ids=batch)) for batch in batches)


def ready_queues(db: Session, queues: Sequence[str]) -> list[str]:
    """Return those of the queues in which a task could start now. One index lookup for each of their lines."""
    if not queues:
        return []
    found = db.execute(select(*(or_(*(_has_ready(queue, priority) for priority in TaskPriority)) for queue in queues)))
    return [queue for queue, is_ready in zip(queues, found.one(), strict=True) if is_ready]


def _has_ready(queue: str, priority: str) -> ColumnElement[bool]:
    of_line = (TASKS.c.queue == queue, TASKS.c.priority == priority)
    return exists().where(*of_line, PENDING, TASKS.c.turn.is_not(None), TASKS.c.held.is_(None))
