"""Bulk deeds: which tasks, previewed with a token, accepted, read and aborted. `steps.py` does them.

The token of a preview binds the user, the deed, the selection and the time. It is stored nowhere. The service encrypts
it with SECRET_KEY, so that nobody can make or change one. Whoever sends it twice names the same deed, because its id is
in it.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Row, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import errors
from app.core.config import get_settings
from app.core.ids import new_id
from app.core.json_text import dump_json, json_size
from app.core.security import Undecryptable, decrypt, encrypt
from app.db.listing import Listing, Page
from app.db.statements import bulk, files, reads, task_filter
from app.db.statements.reads import find_owned
from app.db.statements.writes import changed_rows
from app.ddl.clock import NOW
from app.errors import Text
from app.models.bulk import BATCH, BulkBatch, BulkDeed, BulkEvent, Deed, DeedState, pack_ids, unpack_ids
from app.models.task import Task
from app.models.task_filter import TaskFilter
from app.services import audit
from app.services.audit import Subject
from app.services.operations.worker_service import look_at_workers
from app.services.tasks import task_counts, task_queries
from app.services.tasks.permissions import names_that_always_read, names_that_take_files

TOKEN_LIFETIME = timedelta(minutes=10)


@dataclass(frozen=True)
class Token:
    """What a preview has shown: one of `filter` and `ids`, at the database's time `at`. `id` is that of the deed."""

    id: UUID
    deed: Deed
    at: datetime
    filter: dict[str, Any] | None
    ids: Sequence[UUID] | None


def seal_token(token: Token, user_id: UUID, keys: Sequence[str]) -> str:
    """Return the token as text. The first of the keys encrypts it."""
    ids = None if token.ids is None else base64.b64encode(pack_ids(token.ids)).decode()
    content = dump_json([str(token.id), token.deed.value, token.at.isoformat(), token.filter, ids])
    return base64.urlsafe_b64encode(encrypt(content.encode(), keys, _context_of_token(user_id))).decode().rstrip("=")


def unseal_token(text: str, user_id: UUID, keys: Sequence[str], now: datetime) -> Token:
    """Return the token of such a text. Raises TokenExpired if it is too old, or was not made for this user."""
    try:
        sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        content = json.loads(decrypt(sealed, keys, _context_of_token(user_id)).plain)
    except (Undecryptable, binascii.Error, ValueError):
        raise errors.TokenExpired from None
    deed_id, deed, at, wanted, ids = content
    token = Token(
        UUID(deed_id),
        Deed(deed),
        datetime.fromisoformat(at),
        wanted,
        None if ids is None else unpack_ids(base64.b64decode(ids)),
    )
    if now - token.at > TOKEN_LIFETIME:
        raise errors.TokenExpired
    return token


def _context_of_token(user_id: UUID) -> str:
    return f"token of a bulk deed of user {user_id}"


# -- Which tasks a bulk deed is for: a list of ids, or all tasks that match a filter -----------------------------------

SAMPLE_TASKS = 10
# Of the filter, in one record of the audit.
MAX_TOLD_VALUES, MAX_TOLD_BYTES = 20, 2000
_FILTER_ADAPTER = TypeAdapter(TaskFilter)


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
        """Return the selection of a request; None if it names nothing. An id that stands twice counts once."""
        if wanted is None and ids is None:
            return None
        return cls(wanted, None if ids is None else tuple(dict.fromkeys(ids)))

    @classmethod
    def of_token(cls, token: Token) -> "Selection":
        """Return the selection that a token binds."""
        if token.ids is not None:
            return cls(ids=tuple(token.ids))
        return cls(_FILTER_ADAPTER.validate_python(token.filter))

    @property
    def canonical(self) -> dict[str, Any] | None:
        """The filter as JSON: equal filters are equal, in whatever order their values were named."""
        if self.wanted is None:
            return None
        named = _FILTER_ADAPTER.dump_python(self.wanted, mode="json")
        return {name: _sorted_values(value) for name, value in named.items() if value not in (None, [])}

    @property
    def packed(self) -> bytes | None:
        """The list of ids as the row of a deed keeps it."""
        return None if self.ids is None else pack_ids(self.ids)

    def check_owner(self, user_id: UUID, *, as_admin: bool) -> None:
        """Raise AdminOnly for a filter over the tasks of others, unless an administrator asks."""
        if self.wanted is not None and self.wanted.user_id != user_id and not as_admin:
            raise errors.AdminOnly("Only administrators can change the tasks of others")

    def reads_many(self) -> bool:
        """Return whether counting these tasks or finding some of them reads many rows."""
        return self.wanted is not None and (
            task_counts.reads_many(self.wanted) or task_queries.page_reads_many(self.wanted)
        )

    def count(self, db: Session, owner: UUID | None) -> int:
        """Return how many tasks there are. `owner` limits a list of ids to that user's."""
        if self.wanted is not None:
            return task_counts.count(db, self.wanted)["total"]
        return db.scalars(select(func.count()).select_from(Task).where(*self._of_ids(owner))).one()

    def sample(self, db: Session, owner: UUID | None) -> list[dict[str, Any]]:
        """Return some of the tasks, as `TaskRead` takes them: the newest, and of a list of ids the first."""
        if self.wanted is None:
            found = set(db.scalars(select(Task.id).where(*self._of_ids(owner))))
            return task_queries.shown_tasks(db, [each for each in self.ids or () if each in found][:SAMPLE_TASKS])
        page = task_queries.shown_page(db, self.wanted, SAMPLE_TASKS)
        while not page.items and page.last is not None:  # few of the rows match
            page = task_queries.shown_page(db, self.wanted, SAMPLE_TASKS, cursor=page.last)
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
        """Return what the audit tells of it."""
        if self.ids is not None:
            return {"ids": len(self.ids)}
        told: list[str] = []
        for name, value in {"user_id": "all", **(self.canonical or {})}.items():
            told += [f"{name}={each}" for each in (value if isinstance(value, list) else [value])]
        while len(told) > MAX_TOLD_VALUES or json_size(told) > MAX_TOLD_BYTES:
            told = [*told[: len(told) // 2], "…"]
        return {"filter": told}

    def _of_ids(self, owner: UUID | None) -> list[ColumnElement[bool]]:
        return [Task.id.in_(self.ids or ()), *([] if owner is None else [Task.user_id == owner])]


def _sorted_values(value: Any) -> Any:
    return sorted(set(value)) if isinstance(value, list | tuple) else value


# -- The deeds: previewed, accepted, read and aborted ------------------------------------------------------------------

RETRY_SECONDS = 5


@dataclass(frozen=True)
class Preview:
    """What a deed would be done to: the number of tasks, a few of them as `TaskRead` takes them, and the token."""

    matched: int
    sample: list[dict[str, Any]]
    token: str


# The newest first, by their ids, whose time is that of the preview or the request.
DEEDS = Listing(BulkDeed, BulkDeed.id)


class SelectedTask(NamedTuple):
    """A task of a list of ids: its id, name, status, cancel_requested_at and created_at. None: it is not there."""

    id: UUID
    row: Row[*tuple[Any, ...]] | None


@dataclass(frozen=True)
class Caller:
    """Who asks for a deed, and with which rights."""

    user_id: UUID
    as_admin: bool = False
    within_quota: bool = False
    may_read: bool = True

    @property
    def owner(self) -> UUID | None:
        return None if self.as_admin else self.user_id


def preview(db: Session, deed: Deed, caller: Caller, selection: Selection, *, with_sample: bool) -> Preview:
    """Count the tasks, and show a few `with_sample`. Tasks that are created from now on will not be touched.

    Raises AdminOnly.
    """
    selection.check_owner(caller.user_id, as_admin=caller.as_admin)
    if selection.reads_many():
        reads.limit_read(db, get_settings().costly_read_seconds)
    token = Token(new_id(), deed, _now(db), selection.canonical, selection.ids)
    text = seal_token(token, caller.user_id, get_settings().accepted_keys)
    matched = selection.count(db, caller.owner)
    # With nothing to find, the search for a sample would read all tasks again.
    return Preview(matched, selection.sample(db, caller.owner) if matched and with_sample else [], text)


def start(db: Session, deed: Deed, caller: Caller, selection: Selection | None, text: str | None) -> BulkDeed:
    """Accept a deed: from the commit on, it will be done to the tasks that match now. The caller commits.

    The token `text` needs no selection, or the same. A token that was accepted before returns its deed. Reads all
    matching tasks, within DATABASE_COSTLY_READ_SECONDS. Raises TokenExpired, TokenMismatch, AdminOnly,
    TooManyBulkDeeds.
    """
    settings = get_settings()
    most = settings.quota_bulk_deeds if caller.within_quota else 0
    reads.limit_read(db, settings.costly_read_seconds)
    if text is None:
        if selection is None:
            raise errors.InvalidInput("Name tasks by their ids, or by a filter")
        return _accept(db, new_id(), deed, caller, selection, most)
    token = unseal_token(text, caller.user_id, settings.accepted_keys, _now(db))
    shown = Selection.of_token(token)
    if token.deed is not deed or (
        selection is not None and (selection.canonical, selection.ids) != (shown.canonical, shown.ids)
    ):
        raise errors.TokenMismatch
    known = db.get(BulkDeed, token.id, populate_existing=True)
    return known or _accept(db, token.id, deed, caller, shown, most, Task.created_at <= token.at)


def _accept(
    db: Session, deed_id: UUID, deed: Deed, caller: Caller, selection: Selection, most: int,
    until: ColumnElement[bool] | None = None,
) -> BulkDeed:  # fmt: skip
    selection.check_owner(caller.user_id, as_admin=caller.as_admin)
    _check_number(db, caller.user_id, most)
    rights = {"user_id": caller.user_id, "as_admin": caller.as_admin, "within_quota": caller.within_quota}
    try:
        with db.begin_nested():
            which = {"filter": selection.canonical, "selected": selection.packed}
            db.execute(insert(BulkDeed), {"id": deed_id, "deed": deed.value, **which, **rights})
    except IntegrityError:  # the same token at the same time, whose transaction was faster
        known = db.get(BulkDeed, deed_id, populate_existing=True)
        if known is None:
            raise
        return known
    without = None if caller.may_read or deed is not Deed.RETRY else _may_read()
    collected = selection.collect(db, deed_id, caller.owner, until, without)
    skipped = {errors.InsufficientScope.code: collected.left_out} if collected.left_out else {}
    matched = collected.matched
    db.execute(_update(BulkDeed.id == deed_id).values(matched=matched, skipped=skipped))
    about = Subject("bulk_deed", str(deed_id))
    audit.record(db, BulkEvent.STARTED, about, deed=deed.value, matched=matched, **selection.told())
    return _read(db, deed_id)


def _may_read() -> ColumnElement[bool]:
    """The condition that a task reads tasks or files of its user; a reference in a workflow may become a file."""
    may_name = or_(Task.workflow_id.is_not(None), files.names_files(Task.__table__.c.id))
    takes_files = Task.celery_task_name.in_(names_that_take_files())
    return or_(Task.celery_task_name.in_(names_that_always_read()), and_(takes_files, may_name))


def _check_number(db: Session, user_id: UUID, most: int) -> None:
    """Raise TooManyBulkDeeds. Requests at the same time may exceed the number by theirs."""
    running = select(func.count()).select_from(BulkDeed)
    running = running.where(BulkDeed.state == DeedState.RUNNING.value, BulkDeed.user_id == user_id)
    if most and db.scalars(running).one() >= most:
        raise errors.TooManyBulkDeeds(Text("{} running bulk operations", most), retry_after=RETRY_SECONDS)


def read(db: Session, deed_id: UUID, owner: UUID | None) -> BulkDeed:
    """Return the deed as it is committed. `owner` limits it to that user's. Raises BulkDeedNotFound."""
    return find_owned(db, BulkDeed, deed_id, owner, errors.BulkDeedNotFound)


def selected_tasks(db: Session, deed: BulkDeed, owner: UUID | None, limit: int, skip: int) -> Page[SelectedTask]:
    """Return a page of the tasks that were selected one by one; of a deed with a filter none.

    `skip` is how many of them come before, and `last` that of the next page.
    """
    # Read only where there may be some: the page of a running deed asks each second.
    ids = unpack_ids(deed.selected or b"") if deed.filter is None else []
    if not ids:
        return Page([], None)
    page, following = ids[skip : skip + limit], str(skip + limit) if skip + limit < len(ids) else None
    which = [Task.id.in_(page), *([] if owner is None else [Task.user_id == owner])]
    columns = (Task.id, Task.name, Task.status, Task.cancel_requested_at, Task.created_at)
    found = {row.id: row for row in db.execute(select(*columns).where(*which))}
    return Page([SelectedTask(each, found.get(each)) for each in page], following)


def abort(db: Session, deed_id: UUID, owner: UUID | None) -> BulkDeed:
    """End the deed: what is done stays done. Waits for the batch under way. Raises BulkDeedNotFound, BulkDeedOver."""
    deed = read(db, deed_id, owner)
    if end(db, deed_id, DeedState.ABORTED):
        deed = _read(db, deed_id)
        audit.record(db, BulkEvent.ABORTED, Subject("bulk_deed", str(deed_id)), **counts(deed))
        return deed
    deed = read(db, deed_id, owner)
    if deed.state == DeedState.FINISHED:
        raise errors.BulkDeedOver
    return deed


def end(db: Session, deed_id: UUID, state: DeedState) -> bool:
    """End a running deed, and forget what is left to do. False if it does not run."""
    running = _update(BulkDeed.id == deed_id, BulkDeed.state == DeedState.RUNNING.value)
    if not changed_rows(db.execute(running.values(state=state.value, finished_at=NOW))):
        return False
    rest = delete(BulkBatch).where(BulkBatch.deed_id == deed_id)
    db.execute(rest.execution_options(synchronize_session=False))
    return True


def counts(deed: BulkDeed) -> dict[str, Any]:
    """Return what the audit tells of the deed's course."""
    skipped = [f"{code}={number}" for code, number in sorted(deed.skipped.items())]
    return {"deed": deed.deed, "matched": deed.matched, "done": deed.done, "failed": deed.failed, "skipped": skipped}


def _read(db: Session, deed_id: UUID) -> BulkDeed:
    return db.get_one(BulkDeed, deed_id, populate_existing=True)


def _update(*which: ColumnElement[bool]) -> Any:
    return update(BulkDeed).where(*which).execution_options(synchronize_session=False)


def _now(db: Session) -> datetime:
    moment: datetime = db.execute(select(NOW)).scalar_one()
    return moment
