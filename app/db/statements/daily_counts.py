"""Daily counts: a row that is inserted where it is missing, and counts only within a limit."""

from datetime import UTC
from uuid import UUID

from sqlalchemy import select, update

from app.db.rows import changed_rows
from app.db.statements.executing import Executor, Transaction, atomically
from app.db.statements.tables import DAILY_COUNTS
from app.db.statements.upserting import upsert
from app.ddl.clock import NOW
from app.models.task import Task


def count_for_owner(db: Executor, task_id: UUID, what: str, amount: int, limit: int) -> bool:
    """Add `amount` to what the task's owner has used today. Returns False, and adds nothing, beyond the limit."""

    def count(db: Transaction) -> bool:
        owner = db.execute(select(Task.user_id, NOW).where(Task.id == task_id)).one_or_none()
        if owner is None or amount > limit:
            return False
        key = {"user_id": owner[0], "what": what, "day": owner[1].astimezone(UTC).date()}
        upsert(db, DAILY_COUNTS, [{**key, "used": 0}])
        used = DAILY_COUNTS.c.used + amount
        within = [DAILY_COUNTS.c[name] == value for name, value in key.items()]
        return changed_rows(db.execute(update(DAILY_COUNTS).where(*within, used <= limit).values(used=used))) > 0

    return atomically(db, count)
