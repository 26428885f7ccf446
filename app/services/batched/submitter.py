"""Accepting tasks from async callers: answered once the row is committed, published outside the commit.

What is submitted at the same moment, by whomever, is one INSERT and one commit (docs/adr/0024). Nobody's mistake is
another's: what cannot be inserted together is inserted one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any
from uuid import UUID

from anyio import to_thread
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from app.core.batcher import Batcher
from app.core.security import AccessClaims
from app.db.session import SessionLocal, group_engine
from app.errors import InvalidInput, InvalidToken, QuotaExceeded
from app.messaging import hints
from app.schemas.task import TaskCreate, TaskRead
from app.services.accounts.login_queries import LiveSession, live_sessions_of_tokens
from app.services.task_service import task_service
from app.services.tasks import task_creation
from app.services.tasks.idempotency import create_once
from app.services.tasks.quotas import Load, Room, quotas
from app.services.tasks.task_creation import NewTask

# What the values of a row bring about; anything else is as true of the rows beside it.
_OF_A_ROW = (IntegrityError, DataError)


@dataclass(frozen=True, slots=True)
class Submitted:
    """The answer to a request, and whether it was an earlier one that created the task."""

    task: TaskRead
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class _Request:
    """What one caller wants inserted, all of it or nothing."""

    user_id: UUID
    rows: list[NewTask]

    @property
    def load(self) -> Load:
        return Load(len(self.rows), sum(row.size for row in self.rows))


@dataclass(frozen=True, slots=True)
class _OfLogin:
    """The same of somebody whose token is yet to be looked up."""

    claims: AccessClaims
    wanted: TaskCreate


_Inserted = list[dict[str, Any]]


class Submitter:
    """One for each event loop."""

    def __init__(self) -> None:
        self._batcher: Batcher[_Request | _OfLogin, _Inserted] = Batcher(_identify_and_accept, "submitter")

    async def submit(self, wanted: TaskCreate, user_id: UUID, idempotency_key: str | None = None) -> Submitted:
        """The committed task; under a key, the one that it has if it has one.

        Raises QuotaExceeded, UnknownTask, InvalidArguments, Overloaded; with a key IdempotencyKeyReused,
        IdempotencyKeyInFlight, IdempotentTaskDeleted.
        """
        if idempotency_key is not None:
            # Not in the group: the key's lock is held until the commit, and two groups could wait for each other's.
            return await to_thread.run_sync(partial(_accept_once, wanted, user_id, idempotency_key))
        (row,) = await self._batcher.submit(_Request(user_id, task_creation.rows_of([wanted], user_id)))
        return Submitted(TaskRead.model_validate(row))

    async def submit_of_login(self, wanted: TaskCreate, claims: AccessClaims) -> Submitted:
        """The same for who presents this token, if its login stands. Raises InvalidToken too.

        One trip to the group's thread and back instead of two, which is a tenth of what a submit costs.
        """
        (row,) = await self._batcher.submit(_OfLogin(claims, wanted))
        return Submitted(TaskRead.model_validate(row))

    async def submit_all(self, wanted: Sequence[TaskCreate], user_id: UUID) -> list[TaskRead]:
        """All of them, in their order, or none. Raises as `submit`; the place of an error says whose it is."""
        return await to_thread.run_sync(partial(_accept_all, wanted, user_id))

    async def close(self) -> None:
        await self._batcher.close()


def _accept_once(wanted: TaskCreate, user_id: UUID, key: str) -> Submitted:
    with SessionLocal() as db:
        accepted = create_once(db, wanted, user_id, key)
        return Submitted(TaskRead.model_validate(accepted.task), accepted.replayed)


def _accept_all(wanted: Sequence[TaskCreate], user_id: UUID) -> list[TaskRead]:
    request = _Request(user_id, [_row_of(at, task, user_id) for at, task in enumerate(wanted)])
    (outcome,) = _accept([request])
    if isinstance(outcome, Exception):
        raise outcome
    return [TaskRead.model_validate(row) for row in outcome]


def _row_of(at: int, task: TaskCreate, user_id: UUID) -> NewTask:
    try:
        (row,) = task_creation.rows_of([task], user_id)
    except InvalidInput as refusal:
        for error in refusal.errors:
            error["loc"] = ["body", "tasks", at, *error["loc"][1:]]
        raise
    return row


def _identify_and_accept(items: list[_Request | _OfLogin]) -> list[_Inserted | Exception]:
    """The work of a group: whose token is good is accepted together with those who are known already."""
    known = _identified(items)
    accepted = iter(_accept([each for each in known if isinstance(each, _Request)]))
    return [next(accepted) if isinstance(each, _Request) else each for each in known]


def _identified(items: list[_Request | _OfLogin]) -> list[_Request | Exception]:
    tokens = [item.claims for item in items if isinstance(item, _OfLogin)]
    with group_engine().connect() as connection:
        sessions = iter(live_sessions_of_tokens(connection, tokens))
    return [item if isinstance(item, _Request) else _request_of(item, next(sessions)) for item in items]


def _request_of(item: _OfLogin, session: LiveSession | None) -> _Request | Exception:
    if session is None:
        return InvalidToken()
    try:
        return _Request(session.user_id, task_creation.rows_of([item.wanted], session.user_id))
    except Exception as problem:  # noqa: BLE001 (whatever it is, it is this caller's and not the group's)
        return problem


def _accept(requests: list[_Request]) -> list[_Inserted | Exception]:
    """Who has room is inserted, together if that is possible."""
    outcomes: dict[int, _Inserted | Exception] = {}
    rooms: dict[int, Room] = {}
    try:
        with SessionLocal() as db:
            for at, request in enumerate(requests):
                try:
                    rooms[at] = quotas.take(db, request.user_id, request.load)
                except QuotaExceeded as refusal:
                    outcomes[at] = refusal
        outcomes.update(zip(rooms, _insert([requests[at] for at in rooms]), strict=True))
    finally:
        for at, room in rooms.items():
            if isinstance(outcomes.get(at), list):
                room.keep()
            else:
                room.give_back()
    return [outcomes[at] for at in range(len(requests))]


def _insert(requests: list[_Request]) -> list[_Inserted | Exception]:
    """In one statement, else each in its own. Raises what is no row's fault: then none counts as accepted."""
    if not requests:
        return []
    try:
        return _commit(requests)
    except _OF_A_ROW as problem:
        if len(requests) == 1:
            return [problem]
        return [_insert_alone(request) for request in requests]


def _insert_alone(request: _Request) -> _Inserted | Exception:
    try:
        return _commit([request])[0]
    except SQLAlchemyError as problem:
        return problem


def _commit(requests: list[_Request]) -> list[_Inserted | Exception]:
    """One statement, its own transaction, in one round trip. What is due now is handed on once it is committed."""
    with group_engine().connect() as connection:
        rows = task_creation.insert_rows(connection, [row for request in requests for row in request.rows])
    task_service.send_committed(task_creation.rows_due_now(rows))
    hints.changed(*(row["id"] for row in rows))
    left = iter(rows)
    return [list(islice(left, len(request.rows))) for request in requests]
