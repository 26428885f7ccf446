"""Daily counts: one statement that counts only within a limit (ON CONFLICT with a condition, RETURNING)."""

from uuid import UUID

from sqlalchemy import BigInteger, Connection, Date, Text, Uuid, bindparam, cast, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.postgresql.prepared import PreparedConnection
from app.db.statements.tables import DAILY_COUNTS
from app.ddl.clock import NOW
from app.models.task import Task

Executor = Session | Connection | PreparedConnection
_AMOUNT = bindparam("amount", type_=BigInteger)
_LIMIT = bindparam("limit", type_=BigInteger)
_TODAY = cast(func.timezone("UTC", NOW), Date)
_FIRST = select(Task.user_id, bindparam("what", type_=Text), _TODAY, cast(_AMOUNT, BigInteger)).where(
    Task.id == bindparam("task_id", type_=Uuid), _AMOUNT <= _LIMIT
)
_INSERT = insert(DAILY_COUNTS).from_select(["user_id", "what", "day", "used"], _FIRST)
_COUNT = _INSERT.on_conflict_do_update(
    index_elements=[DAILY_COUNTS.c.user_id, DAILY_COUNTS.c.what, DAILY_COUNTS.c.day],
    set_={"used": DAILY_COUNTS.c.used + _INSERT.excluded.used},
    where=DAILY_COUNTS.c.used + _INSERT.excluded.used <= _LIMIT,
).returning(DAILY_COUNTS.c.used)


def count_for_owner(db: Executor, task_id: UUID, what: str, amount: int, limit: int) -> bool:
    """Add `amount` to what the task's owner has used today. Returns False, and adds nothing, beyond the limit."""
    values = {"task_id": task_id, "what": what, "amount": amount, "limit": limit}
    return db.execute(_COUNT, values).one_or_none() is not None
