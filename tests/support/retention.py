"""What retention deletes, for tests that have made it old."""

from typing import Any

from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.services import retention


def forget(db: Session, *tables: str) -> int:
    """Delete what the rules of these tables name. Returns how many rows."""
    return retention.forget(db, get_settings(), *tables).total()


def forget_in_twos(db: Session, table: str, **settings: Any) -> list[int]:
    """Delete, two rows at a time, what the one rule of this table names. Returns how many rows, up to none."""
    (rule,) = (rule for rule in retention.FORGET if rule.table == table)
    with_these = get_settings().model_copy(update=settings)
    numbers = [rule.delete(db, with_these, 2)]
    while numbers[-1]:
        numbers.append(rule.delete(db, with_these, 2))
    return numbers


def purge_finished(db: Session, days: float) -> int:
    """Delete the tasks that ended more than `days` ago. Returns how many."""
    return retention.forget(db, get_settings().model_copy(update={"retention_days": days}), "tasks")["tasks"]
