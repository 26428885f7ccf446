"""Accepts tasks from async callers. Returns once the rows are committed; publishes outside the commit.

Tasks that are submitted together share one INSERT and one commit (docs/adr/0024). If that fails, each request is
inserted separately, so that no request fails because of another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from app.core.batcher import Batcher
from app.core.fair_threads import FairThreads
from app.core.json_text import SMALL_BYTES, json_size
from app.core.security import AccessClaims
from app.db.deadlocks import repeated
from app.db.session import SessionLocal, group_engine, transaction
from app.errors import InvalidInput, InvalidToken, QuotaExceeded, ServiceError
from app.schemas.task import TaskCreate, TaskRead
from app.services.accounts.login_queries import LiveSession, live_sessions_of_tokens
from app.services.tasks import task_creation, unique_keys
from app.services.tasks.idempotency import Accepted, AcceptedBatch, create_batch_once, create_once
from app.services.tasks.load import Load, sum_of
from app.services.tasks.permissions import check_may_create
from app.services.tasks.quotas import Reservation, quotas
from app.services.tasks.task_creation import NewTask

# Errors that the values of a row cause. Any other error concerns all rows.
_ROW_ERRORS = (IntegrityError, DataError)


@dataclass(frozen=True, slots=True)
class _Request:
    """The rows of one caller, which are inserted together or not at all."""

    user_id: UUID
    rows: list[NewTask]

    @property
    def is_limited(self) -> bool:
        return any(row.limit is not None for row in self.rows)

    @property
    def load(self) -> Load:
        return sum_of(row.load for row in self.rows)


@dataclass(frozen=True, slots=True)
class _TokenRequest:
    """A task whose caller's token is not yet verified against the database."""

    claims: AccessClaims
    wanted: TaskCreate


_Inserted = list[dict[str, Any]]


class Submitter:
    """Accepts tasks. One for each event loop. Large arguments are worked on in `threads`."""

    def __init__(self, threads: FairThreads) -> None:
        self._threads = threads
        self.batcher: Batcher[_Request | _TokenRequest, _Inserted] = Batcher(
            _identify_and_accept, "submitter", threads.prompt
        )

    async def submit(self, wanted: TaskCreate, user_id: UUID, idempotency_key: str | None = None) -> Accepted:
        """Return the committed task; with a key that already has a task, that task.

        Raises QuotaExceeded, UnknownTask, InvalidArguments, TooManyWaiting, Overloaded; with a key also
        IdempotencyKeyReused, IdempotencyKeyInFlight, IdempotentTaskDeleted; with a unique_key also UniqueKeyTaken.
        """
        if idempotency_key is not None or wanted.unique_key is not None:
            # Not in a batch: the key's lock is held until the commit, so two batches could deadlock. And a batch would
            # wait for another transaction that takes the same unique_key.
            return await self._threads.run(
                user_id, partial(repeated, partial(_accept_once, wanted, user_id, idempotency_key))
            )
        if json_size(wanted.args) + json_size(wanted.kwargs) <= SMALL_BYTES:
            rows = task_creation.rows_of([wanted], user_id)
            (row,) = await self.batcher.submit(_Request(user_id, rows), user_id)
            return Accepted(TaskRead.model_validate(row))
        rows = await self._threads.run(user_id, partial(task_creation.rows_of, [wanted], user_id))
        (row,) = await self.batcher.submit(_Request(user_id, rows), user_id)
        return Accepted(await self._threads.run(user_id, partial(TaskRead.model_validate, row)))

    async def submit_of_login(self, wanted: TaskCreate, claims: AccessClaims) -> Accepted:
        """Return the committed task of the user behind this token, for small arguments. Raises InvalidToken besides.

        Looks the login up in the batch that inserts the task, which saves one trip to a thread.
        """
        (row,) = await self.batcher.submit(_TokenRequest(claims, wanted), claims.user_id)
        return Accepted(TaskRead.model_validate(row))

    def submit_all(
        self, wanted: Sequence[TaskCreate], user_id: UUID, idempotency_key: str | None = None
    ) -> AcceptedBatch:
        """Return all committed tasks in the given order, or raise as `submit` does. For a thread.

        Then none is accepted; the location of an error names the index of its task.
        """
        return repeated(partial(_accept_all, wanted, user_id, idempotency_key))

    async def close(self) -> None:
        """Return when all accepted tasks are committed."""
        await self.batcher.close()


def _accept_once(wanted: TaskCreate, user_id: UUID, key: str | None) -> Accepted:
    with SessionLocal() as db:
        if key is not None:
            return create_once(db, wanted, user_id, key)
        rows = task_creation.rows_of([wanted], user_id)
        (placed,) = unique_keys.create(db, user_id, [wanted], rows, within_quota=True)
        return Accepted(TaskRead.model_validate(placed.task), is_new=placed.is_new)


def _accept_all(wanted: Sequence[TaskCreate], user_id: UUID, key: str | None) -> AcceptedBatch:
    rows = [_row_of(at, task, user_id) for at, task in enumerate(wanted)]
    if key is not None:
        with SessionLocal() as db:
            return create_batch_once(db, wanted, rows, user_id, key)
    if unique_keys.has_keys(wanted):
        with SessionLocal() as db:
            placed = unique_keys.create(db, user_id, wanted, rows, within_quota=True)
            return AcceptedBatch([TaskRead.model_validate(each.task) for each in placed])
    (outcome,) = _accept([_Request(user_id, rows)])
    if isinstance(outcome, Exception):
        raise outcome
    return AcceptedBatch([TaskRead.model_validate(row) for row in outcome])


def _row_of(at: int, task: TaskCreate, user_id: UUID) -> NewTask:
    try:
        (row,) = task_creation.rows_of([task], user_id)
    except InvalidInput as refusal:
        for error in refusal.errors:
            error["loc"] = ["tasks", at, *error["loc"]]
        raise
    return row


def _identify_and_accept(items: list[_Request | _TokenRequest]) -> list[_Inserted | Exception]:
    """Process a batch: look up the tokens, then accept the requests of valid ones and of known users."""
    known = _identified(items)
    accepted = iter(_accept([each for each in known if isinstance(each, _Request)]))
    return [next(accepted) if isinstance(each, _Request) else each for each in known]


def _identified(items: list[_Request | _TokenRequest]) -> list[_Request | Exception]:
    tokens = [item.claims for item in items if isinstance(item, _TokenRequest)]
    with group_engine().connect() as connection:
        sessions = iter(live_sessions_of_tokens(connection, tokens))
    return [item if isinstance(item, _Request) else _identified_request(item, next(sessions)) for item in items]


def _identified_request(item: _TokenRequest, session: LiveSession | None) -> _Request | Exception:
    if session is None:
        return InvalidToken()
    try:
        check_may_create([item.wanted], session.user_id, session.role, session.max_priority)
        return _Request(session.user_id, task_creation.rows_of([item.wanted], session.user_id))
    except Exception as problem:  # noqa: BLE001 (any error concerns this caller only)
        return problem


def _accept(requests: list[_Request]) -> list[_Inserted | Exception]:
    """Insert the requests within their quotas, in one statement if possible. Returns the rows or the error of each."""
    outcomes: dict[int, _Inserted | Exception] = {}
    reservations: dict[int, Reservation] = {}
    try:
        with SessionLocal() as db:
            for at, request in enumerate(requests):
                try:
                    reservations[at] = quotas.reserve(db, request.user_id, request.load)
                except QuotaExceeded as refusal:
                    outcomes[at] = refusal
        outcomes.update(zip(reservations, _insert([requests[at] for at in reservations]), strict=True))
    finally:
        for at, reservation in reservations.items():
            if isinstance(outcomes.get(at), list):
                reservation.commit()
            else:
                reservation.release()
    return [outcomes[at] for at in range(len(requests))]


def _insert(requests: list[_Request]) -> list[_Inserted | Exception]:
    """Insert in one statement, or each request alone if a row fails.

    Raises other errors; then no request is accepted.
    """
    limited = [request for request in requests if request.is_limited]
    if limited:
        plain = iter(_insert([request for request in requests if not request.is_limited]))
        return [_insert_limited(request) if request.is_limited else next(plain) for request in requests]
    if not requests:
        return []
    try:
        return _commit(requests)
    except _ROW_ERRORS as problem:
        if len(requests) == 1:
            return [problem]
        return [_insert_alone(request) for request in requests]


def _insert_alone(request: _Request) -> _Inserted | Exception:
    try:
        return _commit([request])[0]
    except SQLAlchemyError as problem:
        return problem


def _insert_limited(request: _Request) -> _Inserted | Exception:
    """In a transaction of its own, which may have to wait for the limit."""
    try:
        return repeated(partial(_in_a_transaction, request.rows))
    except (ServiceError, SQLAlchemyError) as problem:
        return problem


def _in_a_transaction(rows: Sequence[NewTask]) -> _Inserted:
    with SessionLocal() as db, transaction(db):
        return task_creation.accept(db, rows)


def _commit(requests: list[_Request]) -> list[_Inserted | Exception]:
    """Insert the rows of all requests in one statement, which is its own transaction.

    Returns the inserted rows of each request.
    """
    with group_engine().connect() as connection:
        rows = task_creation.accept(connection, [row for request in requests for row in request.rows])
    left = iter(rows)
    return [list(islice(left, len(request.rows))) for request in requests]
