"""The release of tasks whose parents have ended."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db.outage import is_locked
from app.db.postgresql.prepared import PreparedConnection, Statement, execute_prepared
from app.db.postgresql.turns import turns_of
from app.db.statements import released_children as portable
from app.db.statements.dependencies import IS_DEPENDENT, Child
from app.db.statements.pending_rows import LINE, PENDING, PLACE_BATCH
from app.db.statements.released_children import RELEASED, close_failed
from app.db.statements.tables import TASKS
from app.db.transactions import SET_LOCAL
from app.ddl.clock import NOW
from app.models.task import ACTIVE, TaskDependency, TaskStatus

__all__ = ["Child", "close_failed", "let_go_on"]

Executor = Session | sa.Connection | PreparedConnection

_D = cast("sa.Table", TaskDependency.__table__)
_IDS = ARRAY(sa.Uuid)


# One message, one transaction. Each statement has a snapshot of its own, as those of the portable form: what is behind
# the locks sees what another transaction has committed that had held them. One statement would see the edges as they
# were before its locks. What the first one finds is kept for the others in settings that end with the transaction.
WAITING, _LOCKED = "task_service.waiting_children", "task_service.locked_children"
_PARENTS = sa.any_(sa.bindparam("p_parents", type_=_IDS))
_IS_OPEN = (_D.c.parent_id == _PARENTS, _D.c.is_open)
# The plans find rows by their keys, however small the tables were when PostgreSQL made them. And nobody waits here for
# a transaction that is not over: the outbox has it done later.
SETTINGS = {**dict.fromkeys(("enable_seqscan", "enable_hashjoin", "enable_mergejoin"), "off"), "lock_timeout": "200ms"}


def _keep(name: str, ids: sa.ColumnElement[UUID], *where: sa.ColumnElement[bool]) -> sa.ColumnElement[str]:
    array = sa.func.coalesce(sa.func.array_agg(ids).filter(*where), sa.cast(sa.literal_column("'{}'"), _IDS))
    return sa.func.set_config(name, sa.select(sa.cast(array, sa.Text)).scalar_subquery(), sa.true())


def _kept(name: str) -> sa.Select[Any]:
    """The ids as rows: of an array, PostgreSQL would look through all ids for each of the edges."""
    return sa.select(sa.func.unnest(sa.cast(sa.func.current_setting(name), _IDS)))


def _lets_go_on() -> sa.ColumnElement[bool]:
    """Whether the edge holds its child no more."""
    parent = TASKS.alias("parent")
    has_ended = sa.and_(*(parent.c.status != each for each in sorted(ACTIVE)))
    has_fitting_end = sa.or_(parent.c.status == TaskStatus.SUCCEEDED.value, sa.and_(_D.c.goes_on, has_ended))
    # A value and no EXISTS, which PostgreSQL may answer from a hash table of all rows. Of a deleted parent it is NULL.
    of_parent = sa.select(has_fitting_end).where(parent.c.id == _D.c.parent_id).correlate(_D).scalar_subquery()
    return sa.func.coalesce(of_parent, _D.c.goes_on)


def _lock_statement() -> sa.Select[Any]:
    waiting = (
        sa.select(_D.c.child_id)
        .distinct()
        .where(*_IS_OPEN, _lets_go_on())
        .order_by(_D.c.child_id)
        .limit(PLACE_BATCH)
        .cte("waiting")
    )
    # Also those that have ended: a retry of theirs finds the edges as they are behind the lock.
    waits = sa.and_(PENDING, IS_DEPENDENT).label("waits")
    locked = (
        sa.select(TASKS.c.id, waits)
        .where(TASKS.c.id.in_(sa.select(waiting.c.child_id)))
        .order_by(TASKS.c.id)
        .with_for_update(key_share=True)
        .cte("locked")
    )
    kept: list[Any] = [_keep(WAITING, waiting.c.child_id), _keep(_LOCKED, locked.c.id, locked.c.waits)]
    return sa.select(*kept)


def _close_statement() -> sa.Update:
    # Within an expression it is a table that is looked up by hash, and no join: one by loops is quadratic, too.
    was_waiting = sa.func.coalesce(_D.c.child_id.in_(_kept(WAITING)), sa.false())
    return sa.update(_D).where(*_IS_OPEN, was_waiting, _lets_go_on()).values(is_open=sa.false())


def _release_statement() -> sa.Select[Any]:
    waits = sa.exists().where(_D.c.child_id == TASKS.c.id, _D.c.is_open)
    is_due = sa.or_(TASKS.c.run_at.is_(None), TASKS.c.run_at <= NOW).label("is_due")
    free = (
        sa.select(TASKS.c.id, *(TASKS.c[name] for name in LINE), is_due)
        .where(TASKS.c.id.in_(_kept(_LOCKED)), ~waits)
        .cte("free")
    )
    turns = turns_of(free, free.c.is_due)
    columns = [TASKS.c[name] for name in Child._fields[:-1]]
    placed = sa.update(TASKS).where(TASKS.c.id == turns.c.id).values(turn=turns.c.turn, **RELEASED)
    later = sa.select(free.c.id).where(~free.c.is_due)
    unplaced = sa.update(TASKS).where(TASKS.c.id.in_(later)).values(**RELEASED)
    with_turn = placed.returning(*columns, sa.true().label("is_placed")).cte("with_turn")
    without = unplaced.returning(*columns, sa.false().label("is_placed")).cte("without")
    return sa.select(sa.union_all(sa.select(with_turn), sa.select(without)).subquery())


LET_GO_ON: tuple[Statement, ...] = (
    _lock_statement().execution_options(**{SET_LOCAL: SETTINGS}),
    _close_statement(),
    _release_statement(),
)


def let_go_on(db: Executor, parents: Collection[UUID]) -> list[Child]:
    """As the portable form, in a message and a transaction for each batch of them. Those that are due have their turns.

    More of them would hold the turns of their user for long. Raises OperationalError (`is_locked`) where another
    transaction holds a child, or the turns of its user; behind a batch that is committed it returns that, and leaves
    the others to the outbox. In the transaction of a session it is the portable form.
    """
    if isinstance(db, Session):
        return portable.let_go_on(db, parents)
    children: list[Child] = []
    while True:
        try:
            batch = _let_go_on(db, {"p_parents": list(parents)})
        except OperationalError as error:
            if not (children and is_locked(error)):
                raise
            batch = []
        children += (Child(*row) for row in batch)
        if len(batch) < PLACE_BATCH:  # what is left nevertheless, the outbox has done later
            return sorted(children)


def _let_go_on(db: sa.Connection | PreparedConnection, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
    if isinstance(db, PreparedConnection):
        return db.execute(LET_GO_ON, values).all()
    return execute_prepared(db, LET_GO_ON, values)
