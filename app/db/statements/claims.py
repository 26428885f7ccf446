"""The claim: the next rows of a worker's lines, in the order of their turns."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Integer, Select, Text, bindparam, func, literal_column, or_, select, union_all

from app.core.engines import MYSQL, SQLITE
from app.db.statements import claim_holds, limits
from app.db.statements.expressions import position_in
from app.db.statements.pending_rows import CLAIMED, MOST_ROWS, ROUTED, LinesToServe, TaskNames
from app.db.statements.tables import CLAIMED_TURNS, TASKS
from app.db.statements.task_moves import ENDS, Cause
from app.db.statements.transitions import IDS, change_statement, in_state, move_tasks
from app.db.statements.writes import engine_name, upsert, value_by
from app.db.transactions import Executor, Transaction, atomically
from app.ddl.clock import NOW
from app.ddl.columns import Double
from app.models.task import TaskStatus

# In one claim. Its first row costs as much as the next ten or more; on PostgreSQL it costs little.
MOST_AT_ONCE = 40
_BY_LINE = "FORCE INDEX (ix_tasks_ready)"
# Between names: one string for all of them costs less than a parameter for each.
_SEPARATOR = "\n"
# Below every turn: MySQL has no infinity.
_LOWEST = -1.0e300


@lru_cache(maxsize=16)
def _look(engine: str, lines: int) -> Any:
    """Return the highest turn of each line, with the place of the line, from 0; None where it has no row with a turn.

    The index of the lines tells it by one jump to each, whatever the engine thinks of the table. All conditions of a
    claim would take MySQL twenty times as long; and beside the lowest turn stand rows that were claimed and are not
    purged yet.
    """
    row = TASKS.c
    # In the words of SQLite's partial index. On MySQL a row that is not pending has no turn.
    indexed = [row.status == TaskStatus.PENDING.value, row.turn.is_not(None)] if engine == SQLITE else []
    looks: list[Select[*tuple[Any, ...]]] = [
        select(literal_column(str(place)).label("place"), func.max(row.turn).label("turn"))
        .with_hint(TASKS, _BY_LINE, MYSQL)
        .where(row.queue == bindparam(f"p_queue{place}"), row.priority == bindparam(f"p_priority{place}"))
        .where(row.held.is_(None), *indexed)
        for place in range(lines)
    ]
    return union_all(*looks)


def _occupied(db: Transaction, lines: LinesToServe) -> list[int]:
    """Return the places of the lines, from 0, that may have a ready row: so that a claim locks rows of these alone.

    Also of those whose rows this process does not know, or whose time is over.
    """
    values: dict[str, str] = {}
    for place, (queue, priority) in enumerate(zip(lines.queues, lines.priorities, strict=True)):
        values |= {f"p_queue{place}": queue, f"p_priority{place}": priority}
    highest = {row.place: row.turn for row in db.execute(_look(engine_name(db), len(lines.queues)), values)}
    floors = [floor for floor, _ in lines.floors]
    return [place for place, floor in enumerate(floors) if (turn := highest[place]) is not None and turn >= floor]


_FLOOR = bindparam("p_floor", type_=Double)
_KNOWN = bindparam("p_names", type_=Text)
# The rows of a line that may be claimed now. Those that are not pending have no turn.
_LOCK = (
    select(*CLAIMED, *ROUTED, TASKS.c.turn, TASKS.c.crashes, TASKS.c.rerun_lost)
    .where(
        TASKS.c.queue == bindparam("p_queue"),
        TASKS.c.priority == bindparam("p_priority"),
        in_state(TaskStatus.PENDING),
        TASKS.c.held.is_(None),
        TASKS.c.turn >= _FLOOR,
        or_(TASKS.c.turn > _FLOOR, TASKS.c.id >= bindparam("p_floor_id", type_=TASKS.c.id.type)),
        position_in(_KNOWN, _SEPARATOR + TASKS.c.celery_task_name + _SEPARATOR) > 0,
        or_(TASKS.c.expires_at.is_(None), TASKS.c.expires_at > NOW),
    )
    .order_by(TASKS.c.turn, TASKS.c.id)
    .limit(bindparam("p_limit", type_=Integer))
    # By another index MySQL would lock rows for a moment that it then leaves out.
    .with_hint(TASKS, _BY_LINE, MYSQL)
    .with_for_update(skip_locked=True)
)
_COLUMNS = len(CLAIMED) + len(ROUTED)
_CLAIM = change_statement(
    TaskStatus.RUNNING,
    TASKS.c.id.in_(IDS),
    in_state(TaskStatus.PENDING),
    values={
        "claim_id": bindparam("p_claim_id", type_=TASKS.c.claim_id.type),
        "worker": bindparam("p_worker"),
        "worker_id": bindparam("p_worker_id", type_=TASKS.c.worker_id.type),
        "worker_pid": bindparam("p_worker_pid"),
    },
)


def claim_next(
    db: Executor, limit: int, lines: LinesToServe, names: TaskNames, claim_id: UUID, worker: tuple[str, UUID, int]
) -> list[Any]:
    """Claim the first ready row of these lines, and those behind it, at most `limit`, as long as all are short.

    Each has the columns CLAIMED and ROUTED, the place of its line among `lines` (from 1), and its turn.
    """

    def claim(db: Transaction) -> list[Any]:
        found = _occupied(db, lines)
        if not found:
            return []
        refused = claim_holds.lock_for_claim(db, worker[1])
        picked = [] if refused is None else _pick(db, limit, lines, names, found, refused)
        picked = _with_places(db, picked, worker)
        if picked:
            _write(db, picked, claim_id, worker)
        return [(*_as_claimed(row), place + 1, row.turn) for place, row in picked]

    return atomically(db, claim)


def _pick(
    db: Transaction, limit: int, lines: LinesToServe, names: TaskNames, places: Sequence[int], paused: set[str]
) -> list[tuple[int, Any]]:
    """Return the rows to claim, locked, each with the place of its line.

    The first one, and those behind it as long as each is short. The others stay where they are. A claim beside this one
    passes over what a look has locked: so the first look is at MOST_ROWS, and another one follows if all are short.
    """
    picked: list[tuple[int, Any]] = []
    short, known = set(names.short), _SEPARATOR.join(["", *names.known, ""])
    for place in places:
        if lines.queues[place] in paused:
            continue
        line = {"p_queue": lines.queues[place], "p_priority": lines.priorities[place], "p_names": known}
        turn, task_id = lines.floors[place]
        while len(picked) < limit:
            floor = {"p_floor": max(turn, _LOWEST), "p_floor_id": task_id}
            most = min(limit, MOST_ROWS if len(picked) < MOST_ROWS else limit) - len(picked)
            rows = db.execute(_LOCK, {**line, **floor, "p_limit": most}).all()
            for row in rows:
                # One that has cost a process already, or may not run twice, is claimed alone.
                is_short = row.celery_task_name in short and not row.crashes and row.rerun_lost
                if picked and not is_short:
                    return picked
                picked.append((place, row))
                if not is_short:
                    return picked
            if len(rows) < most:
                break
            turn, task_id = rows[-1].turn, UUID(int=rows[-1].id.int + 1)  # behind the last one
    return picked


def _with_places(
    db: Transaction, picked: list[tuple[int, Any]], worker: tuple[str, UUID, int]
) -> list[tuple[int, Any]]:
    """Return those of the rows that need no place, and those whose places were there and are taken now."""
    limited = [(row.id, row.attempt + 1, row.limit, bool(row.user_limited)) for _, row in picked
               if row.limit is not None or row.user_limited]  # fmt: skip
    if not limited:
        return picked
    admitted = limits.take_places(db, limited, worker[1], worker[2])
    return [(place, row) for place, row in picked if (row.limit is None and not row.user_limited) or row.id in admitted]


def _write(db: Transaction, picked: list[tuple[int, Any]], claim_id: UUID, worker: tuple[str, UUID, int]) -> None:
    name, worker_id, pid = worker
    values = {"p_claim_id": claim_id, "p_worker": name, "p_worker_id": worker_id, "p_worker_pid": pid}
    db.execute(_CLAIM, {**values, "p_ids": [row.id for _, row in picked]})
    clocks: dict[tuple[str, str], float] = {}
    for _, row in picked:
        line = (row.queue, str(row.priority))
        clocks[line] = max(row.turn, clocks.get(line, row.turn))
    upsert(db, CLAIMED_TURNS, [{"queue": q, "priority": p, "turn": turn} for (q, p), turn in sorted(clocks.items())])


def _as_claimed(row: Any) -> tuple[Any, ...]:
    """Return the columns CLAIMED and ROUTED as they are after the claim."""
    task_id, attempt, *others = row[:_COLUMNS]
    return (task_id, attempt + 1, *others)


def give_back(db: Executor, rows: Sequence[tuple[UUID, int, float]]) -> None:
    """Make claimed tasks pending again that were not begun: each is a task's id, its attempt, and the turn it had."""
    given = {task_id: (attempt, turn) for task_id, attempt, turn in rows}
    if not given:
        return

    def write(db: Transaction) -> None:
        found = select(TASKS.c.id, TASKS.c.attempt)
        running = found.where(TASKS.c.id.in_(sorted(given)), in_state(TaskStatus.RUNNING)).order_by(TASKS.c.id)
        held = [row.id for row in db.execute(running.with_for_update()) if row.attempt == given[row.id][0]]
        for end in ENDS[Cause.NOT_BEGUN] if held else ():
            turn = value_by(TASKS.c.id, {task_id: given[task_id][1] for task_id in held})
            values = {**end.values, "turn": turn if end.to is TaskStatus.PENDING else None}
            guard = (TASKS.c.id.in_(held), *end.guard)
            move_tasks(db, end.to, *guard, sources=end.sources, values=values, ended=end.attempt)

    atomically(db, write)


def build_statements() -> None:
    """Nothing: SQLAlchemy compiles each statement at its first use."""
