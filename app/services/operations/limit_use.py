"""What of each limit is in use, by which keys, and what waits for it: as the page of limits shows it."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.db.statements import reads
from app.db.statements.held_rows import PENDING, is_held
from app.db.statements.limit_places import TAKEN, UNCLAIMED, starts_within_period
from app.db.statements.tables import PLACES, TASKS
from app.ddl.trigger_terms import USER_LIMIT
from app.models.limit import Limit
from app.models.task import Held

# So many waiting tasks are counted, and so many running ones are looked at for their keys.
MOST_WAITING, MOST_PLACES = 10_000, 10_000
KEYS, TASKS_OF_KEY = 5, 3


@dataclass
class KeyUse:
    """The running tasks of one key of a limit: how many, and the first of them as rows of task_id and name."""

    key: str
    running: int
    tasks: Sequence[Any]


@dataclass
class LimitUse:
    """`waiting`: tasks whose time has come and that have no place. `starts`: those that its rate counts now."""

    waiting: int = 0
    starts: int = 0
    keys: list[KeyUse] = field(default_factory=list)


@dataclass(frozen=True)
class LimitUses:
    """By the limit's name. `is_cut`: more may wait than were counted."""

    of: dict[str, LimitUse]
    is_cut: bool


def limit_uses(db: Session, *, owner: UUID | None = None) -> LimitUses:
    """Return what is in use of the limits. With `owner` only that user's waiting tasks are counted, and no key is told.

    Has DATABASE_COSTLY_READ_SECONDS.
    """
    reads.limit_read(db, get_settings().costly_read_seconds)
    uses: dict[str, LimitUse] = defaultdict(LimitUse)
    waiting, is_cut = _waiting(db, owner)
    for name, number in waiting.items():
        uses[name].waiting = number
    for name, number in _starts(db).items():
        uses[name].starts = number
    if owner is None:
        for name, keys in _keys(db).items():
            uses[name].keys = keys
    return LimitUses(dict(uses), is_cut)


def _waiting(db: Session, owner: UUID | None) -> tuple[Counter[str], bool]:
    """How many tasks of each limit wait, and whether there may be more: MOST_WAITING of one kind are counted."""
    of_owner = [] if owner is None else [TASKS.c.user_id == owner]
    found, is_cut = Counter[str](), False
    for held, more in ((Held.LIMIT, []), (Held.LIMIT_KEY, [TASKS.c.limit_key.is_not(None)])):
        # As the partial indexes of held tasks have them: no task that has a place is read.
        waits = (PENDING, TASKS.c.limit.is_not(None), TASKS.c.turn.is_not(None), is_held(held), *more, *of_owner)
        rows = select(TASKS.c.limit).where(*waits).limit(MOST_WAITING).subquery()
        numbers = Counter({
            name: int(number)
            for name, number in db.execute(select(rows.c.limit, func.count()).group_by(rows.c.limit))
        })  # fmt: skip
        is_cut = is_cut or numbers.total() == MOST_WAITING
        found += numbers
    return found, is_cut


def _starts(db: Session) -> dict[str, int]:
    """How many starts the rate of each limit counts now."""
    place = PLACES.c
    rated = select(place.limit_name, func.count()).join(Limit, Limit.name == place.limit_name)
    counted = rated.where(Limit.rate_count.is_not(None), starts_within_period()).group_by(place.limit_name)
    return {name: int(number) for name, number in db.execute(counted)}


def _keys(db: Session) -> dict[str, list[KeyUse]]:
    """The fullest keys of each limit."""
    place = PLACES.c
    running = select(place.limit_name, place.limit_key, place.task_id, TASKS.c.name).where(
        TAKEN, ~UNCLAIMED, place.limit_key.is_not(None), place.limit_name != USER_LIMIT
    )
    # The task may have been deleted while its body runs.
    rows = running.outerjoin(TASKS, TASKS.c.id == place.task_id).order_by(place.started_at).limit(MOST_PLACES)
    found: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for row in db.execute(rows):
        found[row.limit_name][row.limit_key].append(row)
    return {
        name: sorted(
            (KeyUse(key, len(of_key), of_key[:TASKS_OF_KEY]) for key, of_key in keys.items()),
            key=lambda use: (-use.running, use.key),
        )[:KEYS]
        for name, keys in found.items()
    }
