"""The claim: the next rows of a worker's lines, in the order of their turns."""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from app.db.postgresql.attempts import Executor
from app.db.postgresql.prepared import build
from app.db.postgresql.transitions import transition
from app.db.statements.pending_rows import CLAIMED, MOST_ROWS, ROUTED, LinesToServe, TaskNames
from app.db.statements.tables import CLAIMED_TURNS, TASKS
from app.db.statements.task_moves import ENDS, Cause
from app.ddl.clock import NOW
from app.models.queue import ClaimHold, HoldKind
from app.models.task import Task, TaskStatus

# In one claim: its statement has this limit in its text, or 1.
MOST_AT_ONCE = MOST_ROWS
PICKED = ("id", "turn", "queue", "priority", "place")


@lru_cache(maxsize=8)
def claim_statement(limit: int) -> sa.Select[Any] | sa.Update:
    """Return the claim of at most `limit` rows; build it once.

    The limit stands in the text: PostgreSQL's generic plan for a parameter expects a tenth of the table, and reads the
    primary key. The rows of a line are read only if those of the lines before did not suffice.
    """
    lines = (
        sa.func.unnest(
            sa.cast(sa.bindparam("p_queues"), ARRAY(sa.Text)),
            sa.cast(sa.bindparam("p_priorities"), ARRAY(sa.Text)),
            sa.cast(sa.bindparam("p_floors"), ARRAY(sa.Float)),
            sa.cast(sa.bindparam("p_floor_ids"), ARRAY(sa.Uuid)),
        )
        .table_valued(
            sa.column("queue", sa.Text),
            sa.column("priority", sa.Text),
            sa.column("floor", sa.Float),
            sa.column("floor_id", sa.Uuid),
            with_ordinality="place",
            name="line",
        )
        .render_derived()
    )
    most: sa.ColumnElement[int] = sa.literal_column(str(limit))
    row = TASKS.alias("row")
    # One that has cost a process already, or may not run twice, is claimed alone.
    is_short = (
        (row.c.celery_task_name == sa.any_(sa.cast(sa.bindparam("p_short"), ARRAY(sa.Text))))
        & (row.c.crashes == 0)
        & row.c.rerun_lost
    )
    # Once for each line. The trigger `tasks_held` refuses what is picked while the pause is being committed.
    is_paused = (
        sa.exists().where(ClaimHold.kind == HoldKind.QUEUE.value, ClaimHold.name == lines.c.queue).correlate(lines)
    )
    next_rows = (
        sa.select(row.c.id, row.c.turn, is_short.label("is_short"))
        .where(
            row.c.queue == lines.c.queue,
            row.c.priority == lines.c.priority,
            row.c.status == TaskStatus.PENDING.value,
            row.c.turn.is_not(None),
            row.c.held.is_(None),
            sa.tuple_(row.c.turn, row.c.id) >= sa.tuple_(lines.c.floor, lines.c.floor_id),
            ~is_paused,
            row.c.celery_task_name == sa.any_(sa.cast(sa.bindparam("p_names"), ARRAY(sa.Text))),
            sa.func.coalesce(row.c.expires_at, "infinity") > NOW,
        )
        .order_by(row.c.turn, row.c.id)
        .limit(most)
        .with_for_update(skip_locked=True)
        .lateral("next_rows")
    )
    found = (
        sa.select(next_rows, lines.c.queue, lines.c.priority, lines.c.place)
        .select_from(lines.join(next_rows, sa.true()))
        .limit(most)
        .cte("found")
    )
    # The first one, and those behind it as long as each is short. The others stay where they are.
    in_order = (found.c.place, found.c.turn, found.c.id)
    number = sa.func.row_number().over(order_by=in_order)
    all_short = sa.func.bool_and(found.c.is_short).over(order_by=in_order, rows=(None, 0))
    ranked = sa.select(found, number.label("number"), all_short.label("all_short")).subquery("ranked")
    kept = (ranked.c.number == 1) | ranked.c.all_short
    picked = sa.select(*(ranked.c[name] for name in PICKED)).where(kept).cte("picked")
    claim = transition(
        TaskStatus.RUNNING,
        TASKS.c.id == picked.c.id,
        sources=[TaskStatus.PENDING],
        values={
            "claim_id": sa.bindparam("p_claim_id"),
            "worker": sa.bindparam("p_worker"),
            "worker_id": sa.bindparam("p_worker_id"),
            "worker_pid": sa.bindparam("p_worker_pid"),
        },
        returning=(*CLAIMED, *ROUTED, picked.c.place, picked.c.turn),
    )
    return claim.add_cte(_ticked(picked))


def _ticked(picked: Any) -> Any:
    """Put the clocks of the lines on."""
    of_line = (picked.c.queue, picked.c.priority)
    top = sa.select(*of_line, sa.func.max(picked.c.turn)).group_by(*of_line)
    new = insert(CLAIMED_TURNS).from_select(["queue", "priority", "turn"], top)
    return new.on_conflict_do_nothing().cte("ticked")


def claim_next(
    db: Executor, limit: int, lines: LinesToServe, names: TaskNames, claim_id: UUID, worker: tuple[str, UUID, int]
) -> list[Any]:
    """Claim the first ready row of these lines, and those behind it, at most `limit`, as long as all are short.

    Each has the columns CLAIMED and ROUTED, the place of its line among `lines` (from 1), and its turn.
    """
    worker_name, worker_id, worker_pid = worker
    values = {
        "p_queues": lines.queues,
        "p_priorities": lines.priorities,
        "p_floors": [turn for turn, _ in lines.floors],
        "p_floor_ids": [task_id for _, task_id in lines.floors],
        "p_names": names.known,
        "p_short": names.short,
        "p_claim_id": claim_id,
        "p_worker": worker_name,
        "p_worker_id": worker_id,
        "p_worker_pid": worker_pid,
    }
    rows = db.execute(claim_statement(limit), values).all()
    return sorted(rows, key=lambda row: (row[-2], row[-1], row[0]))


_GIVEN_BACK = (
    sa.func.json_to_recordset(sa.cast(sa.bindparam("p_rows", type_=sa.Text), sa.JSON))
    .table_valued(sa.column("task_id", sa.Uuid), sa.column("attempt", sa.Integer), sa.column("turn", sa.Float))
    .render_derived(name="given_back", with_types=True)
)
_OF_ROW = (Task.id == _GIVEN_BACK.c.task_id, Task.attempt == _GIVEN_BACK.c.attempt)
GIVE_BACK = tuple(
    transition(
        end.to,
        *_OF_ROW,
        *end.guard,
        sources=end.sources,
        values={**end.values, "turn": _GIVEN_BACK.c.turn} if end.to is TaskStatus.PENDING else dict(end.values),
        ended=end.attempt,
    )
    for end in ENDS[Cause.NOT_BEGUN]
)


def give_back(db: Executor, rows: Sequence[tuple[UUID, int, float]]) -> None:
    """Make claimed tasks pending again that were not begun: each is a task's id, its attempt, and the turn it had."""
    given = [{"task_id": str(task_id), "attempt": attempt, "turn": turn} for task_id, attempt, turn in rows]
    for statement in GIVE_BACK:
        db.execute(statement, {"p_rows": json.dumps(given)})


def build_statements() -> None:
    """Compile what every pool child needs, before the fork."""
    build(claim_statement(1), claim_statement(MOST_AT_ONCE))
