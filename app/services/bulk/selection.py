"""Which tasks a bulk deed is for: a list of ids, or all tasks that match a filter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, func, insert, select
from sqlalchemy.orm import Session

from app.core.json_text import json_size
from app.db.statements import bulk, task_filter
from app.errors import AdminOnly
from app.models.bulk import BATCH, BulkBatch, pack_ids
from app.models.task import Task
from app.models.task_filter import TaskFilter
from app.services.bulk.token import Token
from app.services.operations.worker_service import look_at_workers
from app.services.tasks import task_counts, task_queries

SAMPLE = 10
# Of the filter, in one record of the audit.
MAX_TOLD, MAX_TOLD_BYTES = 20, 2000
_FILTER = TypeAdapter(TaskFilter)


class Collected(NamedTuple):
    """How many tasks match, and how many of them the deed leaves out."""

    matched: int
    left_out: int = 0


@dataclass(frozen=True)
class Selection:
    """Exactly one of the two is set. The user of a filter is the owner of the tasks; None is everyone."""

    wanted: TaskFilter | None = None
    ids: tuple[UUID, ...] | None = None

    @classmethod
    def of(cls, wanted: TaskFilter | None, ids: Sequence[UUID] | None) -> "Selection | None":
        """The selection of a request; None if it names nothing. An id that stands twice counts once."""
        if wanted is None and ids is None:
            return None
        return cls(wanted, None if ids is None else tuple(dict.fromkeys(ids)))

    @classmethod
    def of_token(cls, token: Token) -> "Selection":
        """The selection that a token binds."""
        if token.ids is not None:
            return cls(ids=tuple(token.ids))
        return cls(_FILTER.validate_python(token.filter))

    @property
    def canonical(self) -> dict[str, Any] | None:
        """The filter as JSON: equal filters are equal, in whatever order their values were named."""
        if self.wanted is None:
            return None
        named = _FILTER.dump_python(self.wanted, mode="json")
        return {name: _sorted(value) for name, value in named.items() if value not in (None, [])}

    @property
    def packed(self) -> bytes | None:
        """The list of ids as the row of a deed keeps it."""
        return None if self.ids is None else pack_ids(self.ids)

    def check_owner(self, user_id: UUID, *, as_admin: bool) -> None:
        """Raise AdminOnly for a filter over the tasks of others, unless an administrator asks."""
        if self.wanted is not None and self.wanted.user_id != user_id and not as_admin:
            raise AdminOnly("Only administrators can change the tasks of others")

    def reads_many(self) -> bool:
        """Whether counting these tasks or finding some of them reads many rows."""
        return self.wanted is not None and (
            task_counts.reads_many(self.wanted) or task_queries.page_reads_many(self.wanted)
        )

    def count(self, db: Session, owner: UUID | None) -> int:
        """How many tasks there are. `owner` limits a list of ids to that user's."""
        if self.wanted is not None:
            return task_counts.count(db, self.wanted)["total"]
        return db.scalars(select(func.count()).select_from(Task).where(*self._of_ids(owner))).one()

    def sample(self, db: Session, owner: UUID | None) -> list[dict[str, Any]]:
        """Some of the tasks, as `TaskRead` takes them: the newest, and of a list of ids the first."""
        if self.wanted is None:
            found = set(db.scalars(select(Task.id).where(*self._of_ids(owner))))
            return task_queries.shown_tasks(db, [each for each in self.ids or () if each in found][:SAMPLE])
        page = task_queries.shown_page(db, self.wanted, SAMPLE)
        while not page.items and page.last is not None:  # few of the rows match
            page = task_queries.shown_page(db, self.wanted, SAMPLE, before=page.last)
        return page.items

    def collect(
        self, db: Session, deed_id: UUID, owner: UUID | None, until: ColumnElement[bool] | None,
        without: ColumnElement[bool] | None = None,
    ) -> Collected:  # fmt: skip
        """Write the batches of the deed, without the tasks that match `without`.

        `until` limits a filter. A list of ids is written with those that name no task, which are skipped.
        """
        if self.wanted is not None:
            if self.wanted.waiting_for is not None:
                look_at_workers(db)
            conditions = [*task_filter.conditions(self.wanted), *([] if until is None else [until])]
            if without is None:
                return Collected(bulk.collect(db, deed_id, conditions))
            left_out = db.scalars(select(func.count()).select_from(Task).where(*conditions, without)).one()
            return Collected(bulk.collect(db, deed_id, [*conditions, ~without]) + left_out, left_out)
        denied = (
            set[UUID]() if without is None else set(db.scalars(select(Task.id).where(*self._of_ids(owner), without)))
        )
        ids = [each for each in self.ids or () if each not in denied]
        batches = [
            {"deed_id": deed_id, "number": number, "task_ids": pack_ids(ids[at : at + BATCH])}
            for number, at in enumerate(range(0, len(ids), BATCH))
        ]
        if batches:
            db.execute(insert(BulkBatch), batches)
        return Collected(self.count(db, owner), len(denied))

    def told(self) -> dict[str, Any]:
        """What the audit tells of it."""
        if self.ids is not None:
            return {"ids": len(self.ids)}
        told: list[str] = []
        for name, value in {"user_id": "all", **(self.canonical or {})}.items():
            told += [f"{name}={each}" for each in (value if isinstance(value, list) else [value])]
        while len(told) > MAX_TOLD or json_size(told) > MAX_TOLD_BYTES:
            told = [*told[: len(told) // 2], "…"]
        return {"filter": told}

    def _of_ids(self, owner: UUID | None) -> list[ColumnElement[bool]]:
        return [Task.id.in_(self.ids or ()), *([] if owner is None else [Task.user_id == owner])]


def _sorted(value: Any) -> Any:
    return sorted(set(value)) if isinstance(value, list | tuple) else value
