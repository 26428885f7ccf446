"""Accepts tasks from async callers. Returns once the rows are committed; publishes outside the commit.

Tasks that are submitted together share one INSERT and one commit (docs/adr/0024). If that fails, the halves are
inserted until the one at fault stands alone, so that no request fails because of another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.batcher import Batcher
from app.core.fair_threads import FairThreads
from app.core.json_text import SMALL_BYTES, json_size
from app.core.security import AccessClaims
from app.db.session import SessionLocal, group_engine
from app.db.transactions import retry_deadlocks
from app.errors import IdempotentTaskDeleted, InvalidInput, InvalidToken, ReplayTooLarge, UnknownLimit
from app.schemas.task import TaskCreate, TaskRead
from app.services.accounts.auth_service import Principal
from app.services.accounts.sessions import LiveSession, live_sessions_of_tokens
from app.services.accounts.users import Rights
from app.services.tasks import new_rows, task_creation, task_queries, unique_keys
from app.services.tasks.idempotency import Accepted, Take, once
from app.services.tasks.new_rows import NewTask
from app.services.tasks.permissions import check_may_create


@dataclass(frozen=True, slots=True)
class _TokenRequest:
    """A task whose caller's token is not yet verified against the database."""

    claims: AccessClaims
    wanted: TaskCreate


# A new batch takes about as much as its request, and a kilobyte for each task. Its results may take a gigabyte.
MAX_REPLAY_BYTES = 8 * 1024 * 1024
# The tasks of a request, in its order.
AcceptedTasks = Accepted[list[TaskRead]]
# The rows of one caller, which are inserted together or not at all.
_Rows = list[NewTask]
_Inserted = list[dict[str, Any]]


class Submitter:
    """Accepts tasks. One for each event loop. Large arguments are worked on in `threads`."""

    def __init__(self, threads: FairThreads) -> None:
        self._threads = threads
        self.batcher: Batcher[_Rows | _TokenRequest, _Inserted] = Batcher(
            _identify_and_accept, "submitter", threads.prompt
        )

    async def submit(self, wanted: TaskCreate, user: Principal, idempotency_key: str | None = None) -> AcceptedTasks:
        """Return the committed task; with a key that already has a task, that task.

        Raises TaskNotAllowed, PriorityNotAllowed, InsufficientScope, QuotaExceeded, UnknownTask, InvalidArguments,
        TooManyWaiting, Overloaded; with a key also IdempotencyKeyReused, IdempotencyKeyInFlight, IdempotentTaskDeleted,
        ReplayTooLarge; with a unique_key also UniqueKeyTaken.
        """
        check_may_create([wanted], user.rights)
        user_id, followers = user.id, user.followers
        if idempotency_key is not None or wanted.unique_key is not None:
            # Not in a batch: the key's lock is held until the commit, so two batches could deadlock. And a batch would
            # wait for another transaction that takes the same unique_key.
            return await self._threads.run(
                user_id, partial(retry_deadlocks, partial(_accept_once, wanted, user_id, idempotency_key, followers))
            )
        if json_size(wanted.args) + json_size(wanted.kwargs) <= SMALL_BYTES:
            rows = new_rows.rows_of([wanted], user_id, followers)
            (row,) = await self.batcher.submit(rows, user_id)
            return Accepted([TaskRead.model_validate(row)])
        rows = await self._threads.run(user_id, partial(new_rows.rows_of, [wanted], user_id, followers))
        (row,) = await self.batcher.submit(rows, user_id)
        return Accepted([await self._threads.run(user_id, partial(TaskRead.model_validate, row))])

    async def submit_of_login(self, wanted: TaskCreate, claims: AccessClaims) -> AcceptedTasks:
        """Return the committed task of the user behind this token, for small arguments. Raises InvalidToken besides.

        Looks the login up in the batch that inserts the task, which saves one trip to a thread.
        """
        (row,) = await self.batcher.submit(_TokenRequest(claims, wanted), claims.user_id)
        return Accepted([TaskRead.model_validate(row)])

    def submit_all(
        self, wanted: Sequence[TaskCreate], user: Principal, idempotency_key: str | None = None
    ) -> AcceptedTasks:
        """Return all committed tasks in the given order, or raise as `submit` does. For a thread.

        Then none is accepted; the location of an error names the index of its task.
        """
        check_may_create(wanted, user.rights)
        return retry_deadlocks(partial(_accept_all, wanted, user.id, idempotency_key, user.followers))

    async def close(self) -> None:
        """Return when all accepted tasks are committed."""
        await self.batcher.close()


def _accept_once(wanted: TaskCreate, user_id: UUID, key: str | None, followers: int | None) -> AcceptedTasks:
    return _accept(new_rows.rows_of([wanted], user_id, followers), key, is_batch=False)


def _accept_all(wanted: Sequence[TaskCreate], user_id: UUID, key: str | None, followers: int | None) -> AcceptedTasks:
    rows = [_row_of(at, task, user_id, followers) for at, task in enumerate(wanted)]
    try:
        return _accept(rows, key, is_batch=True)
    except UnknownLimit as refusal:
        raise _place(rows, refusal) from None


def _accept(rows: _Rows, key: str | None, *, is_batch: bool) -> AcceptedTasks:
    if key is None and not unique_keys.has_keys(rows):
        (outcome,) = task_creation.create_groups([rows])
        if isinstance(outcome, Exception):
            raise outcome
        return Accepted([TaskRead.model_validate(row) for row in outcome])
    with SessionLocal() as db:
        return create_once(db, rows, key, is_batch=is_batch)


def create_once(db: Session, rows: _Rows, key: str | None, *, is_batch: bool = False) -> AcceptedTasks:
    """Create all tasks of a request, or none; or return those that its key already has. Raises as `submit`."""

    def make(take: Take) -> AcceptedTasks:
        with task_creation.creating(db, rows, within_quota=True, permitted=True) as created:
            take([each.id for each in created])
        tasks = [TaskRead.model_validate(each.task) for each in created]
        return Accepted(tasks, is_new=all(each.is_new for each in created))

    wanted = [row.wanted for row in rows] if is_batch else rows[0].wanted
    find = partial(_find_tasks, db)
    return once(db, rows[0].user_id, key, wanted, make=make, find=find, gone=IdempotentTaskDeleted)


def _find_tasks(db: Session, ids: list[UUID]) -> list[TaskRead] | None:
    """Return these tasks, None where one is gone. Raises ReplayTooLarge."""
    if len(ids) > 1 and task_queries.bytes_of(db, ids) > MAX_REPLAY_BYTES:
        raise ReplayTooLarge
    tasks = task_queries.find_all(db, ids)
    return [TaskRead.model_validate(task) for task in tasks] if len(tasks) == len(ids) else None


def _place(rows: _Rows, refusal: UnknownLimit) -> UnknownLimit:
    at = next((at for at, row in enumerate(rows) if row.limit == refusal.name), None)
    return refusal if at is None else refusal.of_batch(at)


def _row_of(at: int, task: TaskCreate, user_id: UUID, followers: int | None) -> NewTask:
    try:
        (row,) = new_rows.rows_of([task], user_id, followers)
    except InvalidInput as refusal:
        raise refusal.of_batch(at) from None
    return row


def _identify_and_accept(items: list[_Rows | _TokenRequest]) -> list[_Inserted | Exception]:
    """Process a batch: look up the tokens, then accept the requests of valid ones and of known users."""
    known = _identified(items)
    accepted = iter(task_creation.create_groups([each for each in known if isinstance(each, list)]))
    return [next(accepted) if isinstance(each, list) else each for each in known]


def _identified(items: list[_Rows | _TokenRequest]) -> list[_Rows | Exception]:
    tokens = [None if isinstance(item, list) else item.claims for item in items]
    with group_engine().connect() as connection:
        sessions = live_sessions_of_tokens(connection, tokens)
    return [
        item if isinstance(item, list) else _rows_of_login(item, session)
        for item, session in zip(items, sessions, strict=True)
    ]


def _rows_of_login(item: _TokenRequest, session: LiveSession | None) -> _Rows | Exception:
    if session is None:
        return InvalidToken()
    try:
        check_may_create([item.wanted], Rights(session.user_id, session.role, session.max_priority))
        return new_rows.rows_of([item.wanted], session.user_id, session.followers)
    except Exception as problem:  # noqa: BLE001 (any error concerns this caller only)
        return problem
