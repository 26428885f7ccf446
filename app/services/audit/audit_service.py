"""Reads the audit for administrators, records denials, which have no transaction of their own, and prunes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.origin import address_block, current_actor, current_origin
from app.db.page import Behind, Page, TimePosition, page_of
from app.db.session import transaction
from app.db.statements import audit as statements
from app.errors import TooManyDeeds
from app.models.audit import AuditEvent, AuditRecord
from app.services.audit import recording as audit
from app.services.audit.deeds import ANONYMOUS, deed_limits
from app.services.audit.recording import Subject


@dataclass(frozen=True)
class AuditFilter:
    """The filter of a list of audit records. None and empty match everything."""

    event: Sequence[StrEnum] = ()
    actor_id: UUID | None = None
    object_id: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the filter as SQL conditions."""
        found: list[ColumnElement[bool]] = []
        if self.event:
            found.append(AuditRecord.event.in_(sorted({event.value for event in self.event})))
        if self.actor_id is not None:
            found.append(AuditRecord.actor_id == self.actor_id)
        if self.object_id is not None:
            found.append(AuditRecord.object_id == self.object_id)
        if self.created_after is not None:
            found.append(AuditRecord.at > self.created_after)
        if self.created_before is not None:
            found.append(AuditRecord.at < self.created_before)
        return found


class AuditService:
    """Reads the audit, and records denials."""

    def list_page(
        self, db: Session, wanted: AuditFilter, limit: int = 50, cursor: str | None = None
    ) -> Page[AuditRecord, TimePosition]:
        """Return a page of records, newest first. Raises InvalidCursor."""
        statement = select(AuditRecord).where(*wanted.conditions())
        if cursor is not None:
            statement = statement.where(Behind((AuditRecord.at, AuditRecord.id), TimePosition.parse(cursor)))
        statement = statement.order_by(AuditRecord.at.desc(), AuditRecord.id.desc())
        with transaction(db):
            found = list(db.scalars(statement.limit(limit + 1)))
        return page_of(found, limit, lambda record: TimePosition(record.at, record.id))

    def find_newest(self, db: Session, event: AuditEvent, object_id: str, since: datetime) -> AuditRecord | None:
        """Return the newest record of this event and object that is not older than `since`, or None."""
        found = select(AuditRecord).where(*AuditFilter([event], object_id=object_id).conditions())
        newest = found.where(AuditRecord.at >= since).order_by(AuditRecord.at.desc(), AuditRecord.id.desc())
        with transaction(db):
            return db.scalars(newest.limit(1)).one_or_none()

    def count_denial(self, *, by_address: bool = False) -> None:
        """Count a denied request (403) of the caller, or of an address block without a login. Raises TooManyDeeds.

        `by_address`: of the block in any case, since it was not the caller who sent it.
        """
        actor, origin = None if by_address else current_actor(), current_origin.get()
        block = address_block((origin and origin.address) or "unknown")
        deed_limits.admit(str(actor.id) if actor else f"{ANONYMOUS}{block}", get_settings())

    def may_record_forged(self) -> bool:
        """Count what another site had the caller's browser send. Returns False where that fills the audit.

        Apart from the caller's own deeds, none of which is to be refused for it.
        """
        actor = current_actor()
        try:
            deed_limits.admit(f"{ANONYMOUS}{actor and actor.id}", get_settings())
        except TooManyDeeds:
            return False
        return True

    def record_denial(self, db: Session, route: str, code: str, ids: dict[str, str]) -> None:
        """Record that the caller was denied access (403) to `route`."""
        with transaction(db):
            audit.record(db, AuditEvent.ACCESS_DENIED, Subject("route", route), actor=None, code=code, **ids)

    def record_throttle(self, db: Session, limit: int) -> None:
        """Record that the caller's deeds are refused from here on, because they reached `limit` in their window."""
        with transaction(db):
            actor = current_actor()
            assert actor is not None
            audit.record(db, AuditEvent.DEEDS_THROTTLED, Subject.user(actor.id), deeds=limit)

    def count_older(self, db: Session, age: timedelta) -> tuple[int, datetime]:
        """Return how many records are older than `age`, and the time before which they were written."""
        with transaction(db):
            before = statements.moment(db, age)
            return statements.count_before(db, before), before

    def prune(self, db: Session, before: datetime, batch: int) -> Iterator[int]:
        """Delete the records before this time, the oldest first, and yield the number of each batch.

        A batch is one transaction, which records what it deleted. Only the role that owns the tables may: else raises
        ProgrammingError, and deletes nothing.
        """
        while True:
            with transaction(db):
                deleted = statements.delete_before(db, before, batch)
                if deleted:
                    by = statements.role(db)
                    about = Subject("audit", "audit_events")
                    audit.record(
                        db, AuditEvent.AUDIT_PRUNED, about, deleted=deleted, before=before.isoformat(), role=by
                    )
            yield deleted
            if deleted < batch:
                return


audit_service = AuditService()
