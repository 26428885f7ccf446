"""What retention deletes, for tests that have made it old."""

from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.services import retention


def forget(db: Session, *tables: str) -> int:
    """Delete what the rules of these tables name. Returns how many rows."""
    return retention.forget(db, get_settings(), *tables).total()


def purge_finished(db: Session, days: float) -> int:
    """Delete the tasks that ended more than `days` ago. Returns how many."""
    return retention.forget(db, get_settings().model_copy(update={"retention_days": days}), "tasks")["tasks"]
