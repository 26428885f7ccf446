"""Rows that no claim may take: those that wait for a place of a limit, and those that no live worker knows.

They stand apart in the indexes, so that a claim reads none of them, however many there are. Instead of PostgreSQL's
LATERAL, one statement tells which lines have rows (`have_rows`), and each of these is read by another one. Rows are
locked by their ids alone.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, Select, bindparam, case, exists, literal_column, or_, select
from sqlalchemy.orm import Session

from app.db.statements.expressions import greatest
from app.db.statements.limit_places import TAKEN, UNCLAIMED, has_place_of, kind_of, of_limit
from app.db.statements.limits import forget_places
from app.db.statements.pending_rows import (
    FRONT_ROWS,
    HAS_PLACE,
    LOOK_SIZES,
    NEEDS_A_SLOT,
    PENDING,
    AdmittedRow,
    HeldRow,
    Lines,
    batches_of,
    change_found,
    change_tasks,
    clock_of,
    is_held,
    lock_tasks,
    waiting_values,
    waits_for,
)
from app.db.statements.tables import PLACES, TASKS
from app.db.statements.task_moves import HELD_ANEW
from app.ddl.clock import NOW
from app.ddl.terms import USER_LIMIT
from app.models.limit import Limit
from app.models.task import Held

# How many lines one statement looks into.
_LOOKS = 40


# -- Looks into lines --------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _looks(held: Held, columns: tuple[str, ...], number: int) -> Any:
    def look(at: int) -> ColumnElement[bool]:
        return exists().where(*waits_for(held), *(TASKS.c[name] == bindparam(f"p_{name}_{at}") for name in columns))

    return select(*(look(at) for at in range(number)))


def _first_of(held: Held, *which: ColumnElement[bool]) -> ColumnElement[Any]:
    """Of each limit, a row that waits: by one index lookup, since LIMIT keeps the subquery from becoming a join."""
    row = select(TASKS.c.id).where(TASKS.c.limit == Limit.name, *waits_for(held), *which)
    return row.limit(literal_column("1", Integer)).scalar_subquery()


_WITH_WAITING = (
    select(Limit.name)
    .where(
        or_(_first_of(Held.LIMIT).is_not(None), _first_of(Held.LIMIT_KEY, TASKS.c.limit_key.is_not(None)).is_not(None))
    )
    .order_by(Limit.name)
)


def have_rows(db: Session, held: Held, wanted: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Whether rows wait that are held by this and have these values: one index lookup for each."""
    found: list[bool] = []
    for at in range(0, len(wanted), _LOOKS):
        batch = wanted[at : at + _LOOKS]
        values = {f"p_{name}_{nth}": value for nth, each in enumerate(batch) for name, value in each.items()}
        found += map(bool, db.execute(_looks(held, tuple(batch[0]), len(batch)), values).one())
    return found


def lines_with_rows(db: Session, lines: Lines, held: Held, owners: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """For each of these owners, who are named by columns: the places of the lines in which rows of theirs wait."""
    in_order = list(zip(lines.queues, lines.priorities, strict=True))
    wanted = [{**owner, "queue": queue, "priority": priority} for owner in owners for queue, priority in in_order]
    found = iter(have_rows(db, held, wanted))
    return [[place for place, _ in enumerate(in_order, 1) if next(found)] for _ in owners]


@lru_cache(maxsize=16)
def _next_statement(held: Held, columns: tuple[str, ...]) -> Select[Any]:
    return (
        select(TASKS.c.id)
        .where(
            *waits_for(held),
            *(TASKS.c[name] == bindparam(f"p_{name}") for name in (*columns, "queue", "priority")),
            or_(TASKS.c.expires_at.is_(None), TASKS.c.expires_at > NOW),
        )
        .order_by(TASKS.c.turn, TASKS.c.id)
        .limit(bindparam("p_number", type_=Integer))
    )


def next_rows(
    db: Session, lines: Lines, held: Held, owner: Mapping[str, Any], places: Sequence[int], number: int
) -> list[HeldRow]:
    """The next rows of this owner in these of the lines, in their order, locked: at most `number`.

    Fewer where others have locked some of them. A read that looks for rows would lock rows of others, too.
    """
    found: dict[UUID, int] = {}
    for place in places:
        if len(found) == number:
            break
        line = {**owner, "queue": lines.queues[place - 1], "priority": lines.priorities[place - 1]}
        values = {f"p_{name}": value for name, value in line.items()} | {"p_number": number - len(found)}
        found |= dict.fromkeys(db.scalars(_next_statement(held, tuple(owner)), values), place)
    if not found:
        return []
    columns = [TASKS.c[name] for name in ("id", "queue", "celery_task_name", "limit", "limit_key", "turn")]
    of_owner = (TASKS.c[name] == value for name, value in owner.items())
    locked = {row.id: row for row in lock_tasks(db, columns, list(found), *waits_for(held), *of_owner)}
    return [
        HeldRow(row.id, row.queue, row.celery_task_name, row.limit, row.limit_key, place, row.turn)
        for task_id, place in found.items()
        if (row := locked.get(task_id)) is not None
    ]


# -- Rows that wait for a limit ----------------------------------------------------------------------------------------


def next_of_limit(db: Session, name: str, lines: Lines, number: int) -> list[HeldRow]:
    """The next rows that wait for a place of this limit, in their order, locked: about `number` of them."""
    owner = {"limit": name}
    (places,) = lines_with_rows(db, lines, Held.LIMIT, [owner])
    size = next((size for size in LOOK_SIZES if size >= number), LOOK_SIZES[-1])
    return next_rows(db, lines, Held.LIMIT, owner, places, size)


def next_of_keys(db: Session, name: str, lines: Lines, rooms: Mapping[str, int]) -> list[HeldRow]:
    """The next rows of each of these keys that wait for the key, locked: as many as the key has room for."""
    held, of_users = kind_of(name).held_by_key, name == USER_LIMIT
    owners = {key: {"user_id": UUID(key)} if of_users else {"limit": name, "limit_key": key} for key in rooms}
    # One look for a key of which no row waits, and not one in each line.
    some = [key for key, waits in zip(owners, have_rows(db, held, list(owners.values())), strict=True) if waits]
    looks = zip(some, lines_with_rows(db, lines, held, [owners[key] for key in some]), strict=True)
    return [
        row._replace(key=key)
        for key, places in looks
        for row in next_rows(db, lines, held, owners[key], places, min(rooms[key], LOOK_SIZES[-1]))
    ]


def hold_tasks(db: Session, ids: Collection[UUID], held: Held) -> None:
    """Have these pending rows wait for this from now on, which this transaction has locked."""
    if ids:
        change_tasks(db, list(ids), {"held": held.value})


def waiting_keys(db: Session, name: str) -> list[str]:
    """The keys of which rows wait for their key alone, and none for the limit: one index lookup for each key."""
    keys = waiting_values(db, TASKS.c.limit_key, Held.LIMIT_KEY, TASKS.c.limit == name)
    ask = have_rows(db, Held.LIMIT, [{"limit": name, "limit_key": key} for key in keys])
    return [key for key, asks in zip(keys, ask, strict=True) if not asks]


def limits_waited_for(db: Session) -> list[str]:
    """The limits for which rows wait that are due."""
    return list(db.scalars(_WITH_WAITING))


def admitted_tasks(db: Session, name: str, of_keys: Collection[str] | None = None) -> list[AdmittedRow]:
    """Return the tasks with a place of this limit, or of these keys of it, that have not been claimed."""
    found = db.execute(select(PLACES.c.task_id, PLACES.c.limit_key).where(of_limit(name, of_keys), UNCLAIMED, TAKEN))
    keys = {row.task_id: row.limit_key for row in found}
    columns = [TASKS.c[name] for name in AdmittedRow._fields[:-1]]
    return [
        AdmittedRow(row.id, row.queue, row.priority, keys[row.id])
        for batch in batches_of(keys)
        for row in db.execute(select(*columns).where(TASKS.c.id.in_(batch), PENDING, kind_of(name).has_place))
    ]


def take_places_back(db: Session, name: str, ids: Collection[UUID]) -> None:
    """Have these tasks wait for a place of this limit again, as far as they are not claimed. Limit or users are locked.

    Without the place of its user a task has none of a limit. Those that others have locked are left as they are.
    """
    kind = kind_of(name)
    places = [] if name == USER_LIMIT else [of_limit(name)]
    for batch in batches_of(ids):
        taken = [row.id for row in lock_tasks(db, [TASKS.c.id], batch, PENDING, kind.has_place)]
        if taken:
            hold_tasks(db, taken, kind.held)
            forget_places(db, PLACES.c.task_id.in_(taken), *places, UNCLAIMED)


def hold_without_place(db: Session, name: str) -> int:
    """Have the tasks of this limit wait for a place that neither wait nor have one. Returns how many.

    Those that others have locked are left as they are.
    """
    lacking = (TASKS.c.limit == name, PENDING, HAS_PLACE, ~has_place_of(name))
    # In this order, by which SQLite takes the index of those that are not held.
    ids = db.scalars(select(TASKS.c.id).where(*lacking).order_by(TASKS.c.id)).all()
    return change_found(db, ids, {"held": Held.LIMIT.value}, *lacking)


# -- Tasks that no live worker knows -----------------------------------------------------------------------------------


def hold_unknown(db: Session, lines: Lines, names: Collection[str]) -> int:
    """Have the rows at the front of these lines wait whose task is none of these. Returns how many."""
    number = 0
    for queue, priority in zip(*lines, strict=True):
        line = (TASKS.c.queue == queue, TASKS.c.priority == priority)
        front = select(TASKS.c.id, TASKS.c.celery_task_name).where(*line, *NEEDS_A_SLOT)
        rows = front.order_by(TASKS.c.turn, TASKS.c.id).limit(FRONT_ROWS).subquery("front")
        unknown = db.scalars(select(rows.c.id).where(rows.c.celery_task_name.not_in(names))).all()
        number += change_found(db, unknown, {"held": Held.NAME.value}, *NEEDS_A_SLOT)
    return number


def release_known(db: Session, queues: Collection[str], names: Collection[str] | None, number: int) -> int:
    """Let a batch of the tasks of these queues go on that waited for a worker which knows them. Returns how many.

    `names` are what the workers of the queues know, or None for everything.
    """
    waits = (PENDING, is_held(Held.NAME))
    if not db.scalar(select(exists().where(*waits))):
        return 0
    known = () if names is None else (TASKS.c.celery_task_name.in_(names),)
    ids = db.scalars(select(TASKS.c.id).where(*waits, TASKS.c.queue.in_(queues), *known).limit(number)).all()
    turn = case((TASKS.c.turn.is_not(None), greatest(TASKS.c.turn, clock_of(TASKS))))
    return change_found(db, ids, {"held": HELD_ANEW, "turn": turn}, *waits)
