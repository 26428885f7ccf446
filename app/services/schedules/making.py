"""Makes the tasks of schedules in their transaction: together where that can be, and each refusal alone."""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from app.errors import LimitReached, PriorityNotAllowed, QuotaExceeded, ServiceError, UniqueKeyTaken
from app.models.schedule import SkipCode
from app.services.tasks import task_creation
from app.services.tasks.new_rows import Created, NewTask

Made = Created | ServiceError

_CODES: tuple[tuple[type[ServiceError], SkipCode], ...] = (
    (QuotaExceeded, SkipCode.QUOTA),
    (UniqueKeyTaken, SkipCode.UNIQUE_KEY_TAKEN),
    (LimitReached, SkipCode.LIMIT_REACHED),
    (PriorityNotAllowed, SkipCode.PRIORITY_NOT_ALLOWED),
)


def code_of(error: ServiceError) -> SkipCode:
    """Return the code of a time whose task was refused so."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), SkipCode.INVALID_ARGUMENTS)


def make(db: Session, rows: Sequence[NewTask]) -> list[Made]:
    """Create these tasks, each of them or the error that refuses it, within the quotas of their users.

    What has a `unique_key`, a limit or a file is created alone, as it may be refused for a reason of its own.
    """
    plain: dict[UUID, list[NewTask]] = {}
    for row in rows:
        if row.unique_key is None and row.limit is None and not row.files:
            plain.setdefault(row.user_id, []).append(row)
    groups = [*plain.values()]
    together = task_creation.create_together(db, groups) if len(groups) > 1 else [None] * len(groups)
    makers = defaultdict[UUID, _Maker](lambda: _Maker(db))
    made: dict[UUID, Made] = {}
    for its, created in zip(groups, together, strict=True):
        found: Sequence[Made] = created if created is not None else makers[its[0].user_id].make(its)
        made |= zip([row.id for row in its], found, strict=True)
    for row in rows:
        if row.id not in made:
            (made[row.id],) = makers[row.user_id].make([row])
    return [made[row.id] for row in rows]


class _Maker:
    """Of the tasks of one user."""

    def __init__(self, db: Session) -> None:
        self._db = db
        self._exhausted: QuotaExceeded | None = None

    def make(self, rows: Sequence[NewTask]) -> list[Made]:
        """Halve what is refused. Once a quota has refused one, it refuses the rest: else each would be tried."""
        if self._exhausted is not None or not rows:
            return [self._exhausted] * len(rows) if self._exhausted is not None else []
        try:
            with task_creation.creating(self._db, rows, commit=False, within_quota=True, permitted=True) as created:
                return list(created)
        except (ServiceError, IntegrityError, DataError) as error:
            if len(rows) > 1:
                half = len(rows) // 2
                return [*self.make(rows[:half]), *self.make(rows[half:])]
            if not isinstance(error, ServiceError):
                raise
            if isinstance(error, QuotaExceeded):
                self._exhausted = error
            return [error]
