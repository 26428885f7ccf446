"""The audit as administrators read it, and denials, which belong to no transaction of anybody's."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, select, tuple_
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.errors import FieldError, InvalidCursor
from app.models.audit import AuditEvent, AuditRecord
from app.services.audit import recording as audit
from app.services.audit.recording import Subject

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Microseconds since the epoch, then the id.
_CURSOR = re.compile(r"([0-9a-f]{16})([0-9a-f]{32})")


@dataclass(frozen=True)
class AuditFilter:
    """What to list; None and empty mean «any»."""

    event: Sequence[AuditEvent] = ()
    actor_id: UUID | None = None
    object_id: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
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


class Place(NamedTuple):
    """A record's place in the list: the database's time, which decides, and its id among equals."""

    at: datetime
    id: UUID

    def __str__(self) -> str:
        return f"{(self.at - _EPOCH) // _MICROSECOND:016x}{self.id.hex}"

    @classmethod
    def parse(cls, cursor: str) -> "Place":
        """Raises InvalidCursor."""
        try:
            if (found := _CURSOR.fullmatch(cursor)) is None:
                raise ValueError
            return cls(_EPOCH + int(found[1], 16) * _MICROSECOND, UUID(hex=found[2]))
        except (ValueError, OverflowError):
            refused: FieldError = {"loc": ["query", "cursor"], "msg": "Take it from the Link header", "type": "cursor"}
            raise InvalidCursor(errors=[refused]) from None


@dataclass(frozen=True, slots=True)
class AuditPage:
    records: list[AuditRecord]
    next_cursor: str | None


class AuditService:
    def list_page(self, db: Session, wanted: AuditFilter, limit: int = 50, cursor: str | None = None) -> AuditPage:
        """Newest first. Raises InvalidCursor."""
        statement = select(AuditRecord).where(*wanted.conditions())
        if cursor is not None:
            statement = statement.where(tuple_(AuditRecord.at, AuditRecord.id) < tuple_(*Place.parse(cursor)))
        statement = statement.order_by(AuditRecord.at.desc(), AuditRecord.id.desc())
        with transaction(db):
            # One more than asked for tells whether there is a next page.
            found = list(db.scalars(statement.limit(limit + 1)))
        last = found[limit - 1] if len(found) > limit else None
        return AuditPage(found[:limit], None if last is None else str(Place(last.at, last.id)))

    def record_denial(self, db: Session, route: str, code: str, ids: dict[str, str], left_out: int) -> None:
        """Somebody was refused (403) what they asked of `route`; `left_out` more of theirs were not recorded."""
        more = {"left_out": left_out} if left_out else {}
        with transaction(db):
            audit.record(db, AuditEvent.ACCESS_DENIED, Subject("route", route), actor=None, code=code, **ids, **more)


audit_service = AuditService()
