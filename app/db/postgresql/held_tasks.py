"""Rows that no claim may take: those that wait for a place of a limit, and those that no live worker knows.

They stand in indexes of their own, so that a claim reads none of them, however many there are.
"""

from collections.abc import Collection
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    Integer,
    Select,
    Text,
    bindparam,
    case,
    column,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.orm import Session

from app.db.clock import NOW
from app.db.postgresql.conditions import is_one_of
from app.db.postgresql.schema.types import TextList
from app.db.postgresql.turns import PENDING, clock_of
from app.db.rows import changed_rows
from app.db.statements.held_rows import FRONT, HAS_PLACE, SIZES, AdmittedRow, HeldRow, Lines, is_held
from app.db.statements.limit_places import TAKEN, UNCLAIMED, of_limit
from app.db.statements.tables import PLACES, TASKS
from app.db.statements.task_moves import HELD_ANEW
from app.models.limit import Limit
from app.models.task import Held

_OF_LIMIT = TASKS.c.limit == bindparam("p_limit")


def in_lines() -> Any:
    """The rows of `p_queues` and `p_priorities`, numbered."""
    return (
        func.unnest(bindparam("p_queues", type_=TextList), bindparam("p_priorities", type_=TextList))
        .table_valued(column("queue", Text), column("priority", Text), with_ordinality="place", name="line")
        .render_derived()
    )


def next_of_line(lines: Any, held: Held, number: int, *which: ColumnElement[bool]) -> Any:
    """Beside each of these lines: the first rows of it that are held by this, locked, at most `number`."""
    rows = (
        select(TASKS.c.id, TASKS.c.celery_task_name, TASKS.c.limit_key, TASKS.c.turn)
        .where(
            *which,
            PENDING,
            is_held(held),
            TASKS.c.turn.is_not(None),
            TASKS.c.queue == lines.c.queue,
            TASKS.c.priority == lines.c.priority,
            func.coalesce(TASKS.c.expires_at, "infinity") > NOW,
        )
        .order_by(TASKS.c.turn, TASKS.c.id)
        .limit(literal_column(str(number), Integer))
        .with_for_update(skip_locked=True)
    )
    return rows.correlate_except(TASKS).lateral("next")


@lru_cache(maxsize=len(SIZES) + 1)
def _next_statement(number: int) -> Select[Any]:
    lines = in_lines()
    rows = next_of_line(lines, Held.LIMIT, number, _OF_LIMIT)
    columns = (rows.c.id, lines.c.queue, rows.c.celery_task_name, rows.c.limit_key, lines.c.place, rows.c.turn)
    return select(*columns).select_from(lines.join(rows, true())).limit(literal_column(str(number), Integer))


def next_held(db: Session, name: str, lines: Lines, number: int) -> list[HeldRow]:
    """The next rows that wait for a place of this limit, in their order, locked: about `number` of them."""
    size = next((size for size in SIZES if size >= number), SIZES[-1])
    values = {"p_limit": name, "p_queues": lines.queues, "p_priorities": lines.priorities}
    rows = [HeldRow(*row) for row in db.execute(_next_statement(size), values)]
    return sorted(rows, key=lambda row: (row.place, row.turn, row.id))


@lru_cache(maxsize=1)
def _next_of_keys() -> Select[Any]:
    keys = (
        func.unnest(bindparam("p_keys", type_=TextList)).table_valued(column("key", Text), name="of").render_derived()
    )
    lines = in_lines()
    row = next_of_line(lines, Held.LIMIT_KEY, 1, _OF_LIMIT, TASKS.c.limit_key == keys.c.key)
    first = select(row.c.id, lines.c.place).select_from(lines.join(row, true())).limit(literal_column("1", Integer))
    found = first.lateral("first")
    # One look for a key of which no row waits, and not one in each line.
    waits = exists().where(
        _OF_LIMIT, TASKS.c.limit_key == keys.c.key, is_held(Held.LIMIT_KEY), PENDING, TASKS.c.turn.is_not(None)
    )
    return select(keys.c.key, found.c.id, found.c.place).select_from(keys.join(found, true())).where(waits)


def next_of_keys(db: Session, name: str, lines: Lines, keys: Collection[str]) -> dict[str, tuple[UUID, int]]:
    """The next row of each of these keys that waits for its key, and the place of its line; locked."""
    values = {"p_limit": name, "p_queues": lines.queues, "p_priorities": lines.priorities, "p_keys": list(keys)}
    return {key: (task_id, place) for key, task_id, place in db.execute(_next_of_keys(), values)}


def hold(db: Session, ids: Collection[UUID], held: Held) -> None:
    """Have these pending rows wait for this from now on."""
    if ids:
        statement = update(TASKS).where(is_one_of(TASKS.c.id, "p_ids"), PENDING).values(held=held.value)
        db.execute(statement, {"p_ids": list(ids)})


def waiting_values(of: Any, held: Held, *which: ColumnElement[bool]) -> CTE:
    """The values of this column, as `value`, of the due rows that are held by this: one index lookup for each."""

    def first(*after: ColumnElement[bool]) -> Any:
        rows = select(of).where(*which, PENDING, TASKS.c.turn.is_not(None), is_held(held), *after)
        return rows.order_by(of).limit(literal_column("1", Integer))

    values = select(first().scalar_subquery().label("value")).cte("waiting", recursive=True)
    following = first(of > values.c.value).correlate(values).scalar_subquery()
    return values.union_all(select(following).where(values.c.value.is_not(None)))


def waiting_keys(db: Session, name: str) -> list[str]:
    """The keys of which rows wait for their key alone, and none for the limit: one index lookup for each key."""
    of_limit = TASKS.c.limit == name
    keys = waiting_values(TASKS.c.limit_key, Held.LIMIT_KEY, of_limit, TASKS.c.limit_key.is_not(None))
    asks = exists().where(
        of_limit, PENDING, TASKS.c.turn.is_not(None), is_held(Held.LIMIT), TASKS.c.limit_key == keys.c.value
    )
    return list(db.scalars(select(keys.c.value).where(keys.c.value.is_not(None), ~asks)))


def with_waiting(db: Session) -> list[str]:
    """The limits for which rows wait that are due."""

    def first(held: Held, *which: ColumnElement[bool]) -> Any:
        # One look into an index for each limit, also where the planner's statistics know nothing of rows that wait.
        waits = (TASKS.c.limit == Limit.name, PENDING, TASKS.c.turn.is_not(None), *which)
        row = select(TASKS.c.id).where(*waits, is_held(held)).limit(literal_column("1", Integer))
        return row.correlate(Limit).lateral(f"first_{held.value}")

    of_limit, of_key = first(Held.LIMIT), first(Held.LIMIT_KEY, TASKS.c.limit_key.is_not(None))
    found = select(Limit.name).outerjoin(of_limit, true()).outerjoin(of_key, true())
    return list(db.scalars(found.where(or_(of_limit.c.id.is_not(None), of_key.c.id.is_not(None))).order_by(Limit.name)))


def admitted(db: Session, places: ColumnElement[bool], has_place: ColumnElement[bool] = HAS_PLACE) -> list[AdmittedRow]:
    """The tasks that have one of these places and have not been claimed. `has_place`: what their rows say then."""
    columns = [TASKS.c[name] for name in AdmittedRow._fields[:-1]]
    pending = select(*columns).where(TASKS.c.id == PLACES.c.task_id, PENDING, has_place)
    # With a limit, which the planner cannot turn into a join that reads all tasks.
    task = pending.limit(literal_column("1", Integer)).correlate(PLACES).lateral("task")
    found = select(task, PLACES.c.limit_key).select_from(PLACES.join(task, true()))
    return [AdmittedRow(*row) for row in db.execute(found.where(places, UNCLAIMED, TAKEN))]


def take_back(
    db: Session,
    ids: Collection[UUID],
    places: ColumnElement[bool],
    held: Held = Held.LIMIT,
    has_place: ColumnElement[bool] = HAS_PLACE,
) -> None:
    """Have these tasks wait for such places again, as far as they are not claimed. Limit or users are locked."""
    moved = update(TASKS).where(is_one_of(TASKS.c.id, "p_ids"), PENDING, has_place).values(held=held.value)
    taken = list(db.scalars(moved.returning(TASKS.c.id), {"p_ids": list(ids)}))
    # A statement of its own: it sees a place that another transaction gave while the first one waited for the row.
    gone = delete(PLACES).where(is_one_of(PLACES.c.task_id, "p_ids"), places, UNCLAIMED)
    db.execute(gone, {"p_ids": taken})


def hold_without_place(db: Session, name: str) -> int:
    """Have the tasks of this limit wait for a place that neither wait nor have one. Returns how many."""
    attempt = (PLACES.c.task_id == TASKS.c.id, PLACES.c.attempt == TASKS.c.attempt + 1)
    place = exists().where(*attempt, of_limit(name), TAKEN)
    lacking = (TASKS.c.limit == name, PENDING, HAS_PLACE, ~place)
    return changed_rows(db.execute(update(TASKS).where(*lacking).values(held=Held.LIMIT.value)))


# -- tasks that no live worker knows -----------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _unknown_statement() -> Any:
    lines = in_lines()
    front = (
        select(TASKS.c.id, TASKS.c.celery_task_name)
        .where(
            TASKS.c.queue == lines.c.queue,
            TASKS.c.priority == lines.c.priority,
            PENDING,
            TASKS.c.turn.is_not(None),
            TASKS.c.held.is_(None),
        )
        .order_by(TASKS.c.turn, TASKS.c.id)
        .limit(literal_column(str(FRONT), Integer))
        .lateral("front")
    )
    unknown = (
        select(front.c.id)
        .select_from(lines.join(front, true()))
        .where(~is_one_of(front.c.celery_task_name, "p_names"))
        .cte("unknown")
    )
    taken = (
        select(TASKS.c.id)
        .where(TASKS.c.id == unknown.c.id, PENDING, TASKS.c.held.is_(None))
        .with_for_update(of=TASKS, skip_locked=True)
        .cte("taken")
    )
    return update(TASKS).where(TASKS.c.id == taken.c.id).values(held=Held.NAME.value)


def hold_unknown(db: Session, lines: Lines, names: Collection[str]) -> int:
    """Have the rows at the front of these lines wait whose task is none of these. Returns how many."""
    values = {"p_queues": lines.queues, "p_priorities": lines.priorities, "p_names": list(names)}
    return changed_rows(db.execute(_unknown_statement(), values))


def release_known(db: Session, queues: Collection[str], names: Collection[str] | None, number: int) -> int:
    """Let a batch of the tasks of these queues go on that waited for a worker which knows them. Returns how many.

    `names` are what the workers of the queues know, or None for everything.
    """
    if not db.scalar(select(exists().where(PENDING, is_held(Held.NAME)))):
        return 0
    known = [] if names is None else [is_one_of(TASKS.c.celery_task_name, "p_names")]
    rows = (
        select(TASKS.c.id)
        .where(PENDING, is_held(Held.NAME), is_one_of(TASKS.c.queue, "p_queues"), *known)
        .limit(number)
        .with_for_update(skip_locked=True)
        .cte("known")
    )
    values = {
        "held": HELD_ANEW,
        "turn": case((TASKS.c.turn.is_not(None), func.greatest(TASKS.c.turn, clock_of(TASKS)))),
    }
    given = {"p_queues": list(queues)} | ({} if names is None else {"p_names": list(names)})
    return changed_rows(db.execute(update(TASKS).where(TASKS.c.id == rows.c.id).values(values), given))
