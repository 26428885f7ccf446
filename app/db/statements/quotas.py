"""What a user has queued, has submitted lately and keeps, counted up to where a quota is full."""

from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Float, Integer, Label, Select, bindparam, func, literal, literal_column, select, true, union_all
from sqlalchemy.orm import Session

from app.db.statements.expressions import octet_length, seconds_between
from app.db.statements.tables import FILES, STEPS, TASKS
from app.ddl.clock import NOW, STATEMENT_TIME, seconds
from app.ddl.columns import Id
from app.ddl.sizes import task_bytes
from app.models.task import TaskStatus
from app.models.task_count import stored_bytes, task_count_changes
from app.models.webhook import WebhookDelivery

_WITHOUT_SUMS: tuple[Any, ...] = (WebhookDelivery.__table__.c.bytes, STEPS.c.bytes, FILES.c.size)
_USER = bindparam("user_id", type_=Id)
_WINDOW = seconds(bindparam("window", type_=Float))


class Look(NamedTuple):
    """What was found.

    Queued tasks, bytes of their arguments, all their bytes; tasks of the last window, seconds until the oldest of them
    leaves it; bytes of what else the user keeps.
    """

    tasks: int
    bytes: int
    stored: int
    recent: int
    recent_seconds: float
    ended: int


def _queued(status: TaskStatus) -> Select[*tuple[Any, ...]]:
    """By indexes that lead to this user's rows alone: at most `queued` rows of this status."""
    row = TASKS.c
    arguments = (octet_length(row.args) + octet_length(row.kwargs)).label("arguments")
    stored: Label[int] = literal_column(task_bytes(TASKS.name)).label("stored")
    found = select(arguments, stored).where(row.user_id == _USER, row.status == status.value)
    return select(found.order_by(row.id.desc()).limit(bindparam("queued", type_=Integer)).subquery())


def _recent() -> Select[*tuple[Any, ...]]:
    """No row of the last window has an id below `oldest`."""
    row = TASKS.c
    leaves_in = seconds_between(NOW, func.min(row.created_at) + _WINDOW)
    found = select(func.count().label("tasks"), func.coalesce(leaves_in, 0.0).label("seconds"))
    return found.where(
        row.user_id == _USER, row.id > bindparam("oldest", type_=Id), row.created_at > STATEMENT_TIME - _WINDOW
    )


def _look(recent: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    active = union_all(_queued(TaskStatus.PENDING), _queued(TaskStatus.RUNNING)).subquery()
    queued = select(
        func.count().label("tasks"),
        func.coalesce(func.sum(active.c.arguments), 0).label("bytes"),
        func.coalesce(func.sum(active.c.stored), 0).label("stored"),
    ).subquery()
    # What a user keeps besides: the sums of each kind, what is not added to them yet, and deliveries, steps and files,
    # which have no sums: few users have many, and an index has their bytes.
    kept = union_all(
        *(select(each.c.bytes).where(each.c.user_id == _USER) for each in (stored_bytes, task_count_changes)),
        *(select(each).where(each.table.c.user_id == _USER) for each in _WITHOUT_SUMS),
    )
    ended = select(func.coalesce(func.sum(kept.subquery().c.bytes), 0)).scalar_subquery()
    lately = recent.subquery()
    return select(*queued.c, *lately.c, ended).join_from(queued, lately, true())  # one row each


_RATED = _look(_recent())
_NOTHING = select(literal(0).label("tasks"), literal(0.0).label("seconds"))
_NOT_RATED = _look(_NOTHING)


def look(db: Session, *, user_id: UUID, queued: int, rated: bool, window: int, oldest: UUID) -> Look:
    """Read the user's load in one statement.

    `queued`: how many tasks of each unfinished status to read. `rated`: whether to count the tasks of the last `window`
    seconds, whose ids are above `oldest`.
    """
    values: dict[str, Any] = {"user_id": user_id, "queued": queued}
    if rated:
        values |= {"window": window, "oldest": oldest}
    tasks, arguments, stored, recent, recent_seconds, ended = db.execute(_RATED if rated else _NOT_RATED, values).one()
    # A sum is a Decimal, but on SQLite.
    return Look(tasks, int(arguments), int(stored), recent, float(recent_seconds), int(ended))
