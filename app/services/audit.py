"""The audit: its records, how much of it one user may cause, and how administrators read it.

A record is one INSERT in the transaction of the recorded change, so that both are committed or neither is. Records
never contain secrets or typed names: users type passwords where a name belongs.
"""

import hashlib
import hmac
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, insert, select
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.core.origin import Actor, address_block, current_actor, current_origin
from app.db.page import Behind, Page, TimePosition, page_of
from app.db.session import transaction
from app.db.statements import audit as statements
from app.errors import TooManyDeeds
from app.models.audit import AuditEvent, AuditOrigin, AuditRecord, RecordedEvent
from app.models.auth import ApiKeyEvent
from app.models.schedule import Schedule
from app.models.task import Task
from app.services.execution.attempts import current_attempt

MAX_NAME, MAX_OBJECT, MAX_ADDRESS, MAX_TEXT = 128, 128, 64, 200

_INSERT = insert(AuditRecord.__table__)  # type: ignore[arg-type]  # (a Table, declared as FromClause)


Detail = str | int | list[str]


class Subject(NamedTuple):
    """The object of a recorded action: `Subject("queue", name)`. Here are those that need more than their id."""

    kind: str
    id: str

    @classmethod
    def user(cls, user_id: UUID) -> "Subject":
        return cls("user", str(user_id))

    @classmethod
    def api_key(cls, key_id: UUID) -> "Subject":
        return cls("api_key", str(key_id))

    @classmethod
    def address(cls, address: str) -> "Subject":
        return cls("address", address)

    @classmethod
    def unknown_login(cls, typed: str, key: str) -> "Subject":
        """Return a keyed digest of an unknown name: equal names are equal, and the name cannot be looked up."""
        return cls("login", hmac.new(key.encode(), b"audit:" + typed.lower().encode(), hashlib.sha256).hexdigest()[:32])


def record(
    db: Session, event: RecordedEvent, subject: Subject, *, actor: Actor | None = None, **detail: Detail
) -> None:
    """Record an action on `subject` by `actor`, by default the user of the request. The caller commits.

    Outside HTTP there is no actor: the origin shows whether a task's body or other Python code acted. Raises
    TooManyDeeds if the user has caused too many records; then the caller's transaction is rolled back, and with it the
    action.
    """
    request, body = current_origin.get(), current_attempt.get()
    if request is None and body is not None:
        detail = {**detail, "by_task": str(body.task_id)}
    origin = AuditOrigin.HTTP if request else AuditOrigin.WORKER if body else AuditOrigin.PYTHON
    actor = actor or (request.actor if request else None)
    if request and actor and event not in NEVER_REFUSED:
        deed_limits.admit(str(actor.id))
    values: dict[str, Any] = {
        "id": new_id(),
        "event": event.value,
        "origin": origin.value,
        "actor_id": actor.id if actor else None,
        "actor_name": actor.name[:MAX_NAME] if actor else None,
        "object_kind": subject.kind,
        "object_id": subject.id[:MAX_OBJECT],
        "address": request.address[:MAX_ADDRESS] if request and request.address else None,
        "request_id": request.request_id if request else None,
        "detail": {name: _short(value) for name, value in detail.items()},
    }
    db.execute(_INSERT, values)


def record_task(db: Session, event: RecordedEvent, task: Task, **detail: Detail) -> None:
    """Record an action on a task, with the data that is lost when the task is deleted."""
    subject = Subject("task", str(task.id))
    detail = {"owner": str(task.user_id), "celery_task_name": task.celery_task_name, **detail}
    record(db, event, subject, actor=None, **detail)


def record_schedule(db: Session, event: RecordedEvent, schedule: Schedule, **detail: Detail) -> None:
    """Record an action on a schedule, with the data that is lost when the schedule is deleted."""
    about = {"owner": str(schedule.user_id), "celery_task_name": schedule.celery_task_name}
    record(db, event, Subject("schedule", str(schedule.id)), actor=None, **about, **detail)


def _short(value: Detail) -> Detail:
    if isinstance(value, list):
        return [each[:MAX_TEXT] for each in value[:20]]
    return value[:MAX_TEXT] if isinstance(value, str) else value


# -- How much of the audit one user may cause: so many recorded deeds a minute and a day -------------------------------
# The next one is refused. A record is never left out: what exceeds the limit is not done. Each process counts for
# itself, in memory, so N processes together admit up to N times the limits, and a restart begins anew. A deed counts
# when it is recorded, whether or not its transaction commits.

MINUTE_SECONDS, DAY_SECONDS = 60, 86_400
# The longest unused ones are forgotten first.
MAX_CALLERS = 10_000
# So much no caller does by hand and few programs do. A day's records of a user are some 150 MB, which only the
# operator prunes.
DEEDS_PER_MINUTE = 30_000
DEEDS_PER_DAY = 200_000
# Closed routes, asked without a login or key: the callers are address blocks, named with this in front.
ANONYMOUS, ANONYMOUS_PER_MINUTE = "address ", 120

# Recorded whatever was before: something else limits their number, and a refusal would do harm.
NEVER_REFUSED = frozenset(
    {
        # The throttle of logins limits these; they count a guess, and end what a thief may use.
        AuditEvent.LOGIN_FAILED,
        AuditEvent.LOGIN_THROTTLED,
        # Once for each login.
        AuditEvent.TOKEN_REPLAYED,
        AuditEvent.LOGOUT,
        AuditEvent.SESSION_ENDED,
        # Once for each key; its use, once a minute.
        ApiKeyEvent.REVOKED,
        ApiKeyEvent.USED,
        # Counted before the answer, which is sent before the record is written.
        AuditEvent.ACCESS_DENIED,
        # Once a window.
        AuditEvent.DEEDS_THROTTLED,
        AuditEvent.AUDIT_PRUNED,
    }
)


@dataclass(slots=True)
class _DeedWindow:
    """The deeds of one caller since the window began."""

    seconds: int
    name: str
    ends_at: float = 0.0
    deeds: int = 0
    refused: bool = False


class DeedLimits:
    """Admits deeds of callers within DEEDS_PER_MINUTE and DEEDS_PER_DAY. One for each process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # Apart: of blocks of addresses anybody may have many, and none of them may have a user's count forgotten.
        self._users: OrderedDict[str, tuple[_DeedWindow, _DeedWindow]] = OrderedDict()
        self._strangers: OrderedDict[str, tuple[_DeedWindow, _DeedWindow]] = OrderedDict()

    def admit(self, caller: str) -> None:
        """Count a deed of this caller: a user's id, or ANONYMOUS and an address block.

        Raises TooManyDeeds, and then counts nothing. The first refusal of a window is marked to be recorded.
        """
        minute = min(DEEDS_PER_MINUTE, ANONYMOUS_PER_MINUTE) if caller.startswith(ANONYMOUS) else DEEDS_PER_MINUTE
        with self._lock:
            now = self._clock()
            windows = self._windows(caller)
            for window, limit in zip(windows, (minute, DEEDS_PER_DAY), strict=True):
                if now >= window.ends_at:
                    window.ends_at, window.deeds, window.refused = now + window.seconds, 0, False
                if window.deeds >= limit:
                    raise self._refusal(window, limit, now)
            for window in windows:
                window.deeds += 1

    def _windows(self, caller: str) -> tuple[_DeedWindow, _DeedWindow]:
        callers = self._strangers if caller.startswith(ANONYMOUS) else self._users
        windows = callers.setdefault(
            caller, (_DeedWindow(MINUTE_SECONDS, "a minute"), _DeedWindow(DAY_SECONDS, "a day"))
        )
        callers.move_to_end(caller)
        if len(callers) > MAX_CALLERS:
            callers.popitem(last=False)
        return windows

    def _refusal(self, window: _DeedWindow, limit: int, now: float) -> TooManyDeeds:
        first, window.refused = not window.refused, True
        seconds = max(1, math.ceil(window.ends_at - now))
        return TooManyDeeds(f"{limit} recorded actions {window.name}", retry_after=seconds, limit=limit, first=first)


deed_limits = DeedLimits()


# -- The service: reading for administrators, records of denials (which have no transaction), and pruning --------------


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
        deed_limits.admit(str(actor.id) if actor else f"{ANONYMOUS}{block}")

    def may_record_forged(self) -> bool:
        """Count what another site had the caller's browser send. Returns False where that fills the audit.

        Apart from the caller's own deeds, none of which is to be refused for it.
        """
        actor = current_actor()
        try:
            deed_limits.admit(f"{ANONYMOUS}{actor and actor.id}")
        except TooManyDeeds:
            return False
        return True

    def record_denial(self, db: Session, route: str, code: str, ids: dict[str, str]) -> None:
        """Record that the caller was denied access (403) to `route`."""
        with transaction(db):
            record(db, AuditEvent.ACCESS_DENIED, Subject("route", route), actor=None, code=code, **ids)

    def record_throttle(self, db: Session, limit: int) -> None:
        """Record that the caller's deeds are refused from here on, because they reached `limit` in their window."""
        with transaction(db):
            actor = current_actor()
            assert actor is not None
            record(db, AuditEvent.DEEDS_THROTTLED, Subject.user(actor.id), deeds=limit)

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
                    record(db, AuditEvent.AUDIT_PRUNED, about, deleted=deleted, before=before.isoformat(), role=by)
            yield deleted
            if deleted < batch:
                return


audit_service = AuditService()
