"""What the audit says, straight from its table."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from app.db.session import SessionLocal
from app.models.audit import AuditRecord


def recorded(*events: str, **columns: Any) -> Sequence[AuditRecord]:
    """The records of these events (of all where none is named) with these columns, oldest first."""
    statement = select(AuditRecord).filter_by(**columns).order_by(AuditRecord.at, AuditRecord.id)
    if events:
        statement = statement.where(AuditRecord.event.in_(events))
    with SessionLocal() as db:
        return db.scalars(statement).all()


def events() -> list[str]:
    return [record.event for record in recorded()]
