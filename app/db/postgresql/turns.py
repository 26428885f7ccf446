"""Turns: start-time fair queueing of pending tasks (Goyal, Vin, Cheng: Start-Time Fair Queueing, SIGCOMM 1996).

A task's turn is `max(the line's clock, the user's last turn) + 1 / weight`. A line is a queue and a priority; its clock
is the highest turn that was claimed. So a user's first task stands behind one task of each other user, whatever these
have queued, and a user who was away has saved nothing up.
"""

from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from app.db.postgresql.prepared import rows_of
from app.db.postgresql.transitions import in_state
from app.db.statements.pending_rows import LINE, PLACE_BATCH
from app.db.statements.tables import CLAIMED_TURNS, TASKS, USER_TURNS, USERS
from app.db.statements.writes import changed_rows
from app.db.transactions import wait_briefly
from app.ddl.clock import STATEMENT_TIME
from app.ddl.columns import TextArray
from app.models.task import TaskStatus


def _clock_of(row: sa.FromClause) -> sa.ColumnElement[float]:
    """The highest turn that was claimed from the line of this row, which has queue and priority; 0 before any was."""
    of_line = (CLAIMED_TURNS.c.queue == row.c.queue, CLAIMED_TURNS.c.priority == row.c.priority)
    return sa.func.coalesce(sa.select(sa.func.max(CLAIMED_TURNS.c.turn)).where(*of_line).scalar_subquery(), 0.0)


def turns_of(rows: sa.FromClause | sa.CTE, is_due: sa.ColumnElement[bool]) -> sa.Subquery:
    """Give the due ones of these rows their turns: a subquery of `id` and `turn`, which raises the users' last turns.

    `rows` has id, user_id, queue and priority. The tasks of one user are placed in the order of their ids. The last
    turn of each user and line is locked until the commit, in one order for all transactions.
    """
    line = [rows.c[name] for name in LINE]
    placed = (
        sa.select(rows.c.id, *line, sa.func.row_number().over(partition_by=line, order_by=rows.c.id).label("nth"))
        .where(is_due)
        .cte("placed")
    )
    weight = sa.cast(sa.func.coalesce(sa.func.min(USERS.c.weight), 1), sa.Float).label("weight")
    of_line = [placed.c[name] for name in LINE]
    wanted = (
        sa.select(*of_line, sa.func.count().label("number"), weight)
        .select_from(placed.outerjoin(USERS, USERS.c.id == placed.c.user_id))
        .group_by(*of_line)
        .cte("wanted")
    )
    own = [wanted.c[name] for name in LINE]
    at = sa.select(*own, wanted.c.number, wanted.c.weight, _clock_of(wanted).label("clock")).cte("at")
    first = insert(USER_TURNS).from_select(
        [*LINE, "clock", "last"],
        sa.select(*(at.c[name] for name in LINE), at.c.clock, at.c.clock + at.c.number / at.c.weight).order_by(
            *(at.c[name] for name in LINE)
        ),  # of the locks
    )
    new = first.excluded
    given = (
        first.on_conflict_do_update(
            index_elements=[USER_TURNS.c[name] for name in LINE],
            set_={"last": sa.func.greatest(USER_TURNS.c.last, new.clock) + (new.last - new.clock), "clock": new.clock},
        )
        .returning(*(USER_TURNS.c[name] for name in LINE), USER_TURNS.c.last)
        .cte("given")
    )
    turn = given.c.last - (wanted.c.number - placed.c.nth) / wanted.c.weight
    same = [placed.c[name] == wanted.c[name] for name in LINE]
    also = [placed.c[name] == given.c[name] for name in LINE]
    return sa.select(placed.c.id, turn.label("turn")).where(*same, *also).subquery("turns")


_DUE = (TASKS.c.turn.is_(None), TASKS.c.due_at <= STATEMENT_TIME)
_UNPLACED = (TASKS.c.status == TaskStatus.PENDING.value, *_DUE)


def _place_statement(limit: int, *which: sa.ColumnElement[bool]) -> sa.Update:
    due = (
        sa.select(TASKS.c.id, *(TASKS.c[name] for name in LINE))
        .where(*which)
        .order_by(TASKS.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    turns = turns_of(due, due.c.id.is_not(None))
    return sa.update(TASKS).where(TASKS.c.id == turns.c.id).values(turn=turns.c.turn)


_PLACE = _place_statement(PLACE_BATCH, *_UNPLACED)
_PLACE_OF_USER = _place_statement(PLACE_BATCH, *_UNPLACED, TASKS.c.user_id == sa.bindparam("p_user_id"))
_PLACE_THESE = _place_statement(
    PLACE_BATCH,
    TASKS.c.id == sa.any_(sa.bindparam("p_task_ids", type_=ARRAY(sa.Uuid))),
    in_state(TaskStatus.PENDING),
    *_DUE,
).returning(TASKS.c.id)


def place_due(db: Session, user_id: UUID | None = None) -> int:
    """Give a batch of the pending tasks that have become due their turn, of all users or of this one.

    Returns how many. Raises OperationalError (`is_locked`) where another transaction holds the turns of one of the
    users.
    """
    # A process that froze in the middle of a submit holds the turns of its users until its connection ends.
    wait_briefly(db)
    if user_id is None:
        return changed_rows(db.execute(_PLACE))
    return changed_rows(db.execute(_PLACE_OF_USER, {"p_user_id": user_id}))


def place(db: Session | sa.Connection, task_ids: Sequence[UUID]) -> int:
    """Give those of these tasks their turns that are pending and due and have none. Returns how many.

    On a connection, which is in autocommit, each batch is committed: to plan it takes longer than to place one task.
    """
    batches = [task_ids[at : at + PLACE_BATCH] for at in range(0, len(task_ids), PLACE_BATCH)]
    return sum(len(rows_of(db, _PLACE_THESE, {"p_task_ids": batch})) for batch in batches)


def ready_queues(db: Session, queues: Sequence[str]) -> list[str]:
    """Return those of the queues in which a task could start now. One index lookup for each."""
    names = (
        sa.func.unnest(sa.bindparam("p_queues", type_=TextArray))
        .table_valued(sa.column("name", sa.Text), name="queue")
        .render_derived()
    )
    # In the order of the index: as a plain EXISTS, PostgreSQL would read all that is ready, or the whole table.
    first = (
        sa.select(TASKS.c.id)
        .where(
            TASKS.c.queue == names.c.name,
            TASKS.c.status == TaskStatus.PENDING.value,
            TASKS.c.turn.is_not(None),
            TASKS.c.held.is_(None),
        )
        .order_by(TASKS.c.priority, TASKS.c.turn, TASKS.c.id)
        .limit(1)
        .lateral("first")
    )
    ready = sa.select(names.c.name).select_from(names.join(first, sa.true()))
    return list(db.scalars(ready, {"p_queues": list(queues)}))
