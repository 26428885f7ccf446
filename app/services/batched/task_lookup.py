"""Reads single tasks for async callers: tasks that are requested together are read in one statement.

The logins of the callers are looked up in the same batch, which saves each of them one trip to a thread.
Large tasks are read alone, in a thread of their user's share, so that no other request waits for them.
"""

from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from app.core.batcher import Batcher
from app.core.fair_threads import FairThreads
from app.core.security import AccessClaims
from app.db.session import group_engine
from app.errors import InvalidToken
from app.schemas.task import TaskRead
from app.services.accounts.auth_service import Principal
from app.services.accounts.sessions import LiveSession, live_sessions_of_tokens
from app.services.tasks import task_queries


class ReadTask(NamedTuple):
    """A task, and its JSON where a thread has rendered it already."""

    task: TaskRead
    json: bytes | None = None


class _Found(NamedTuple):
    """The row of a task, and the login of the caller, each None if there is none that counts."""

    row: dict[str, Any] | None
    session: LiveSession | None


class _Wanted(NamedTuple):
    """A task, and the token of its caller unless that is authenticated already."""

    task_id: UUID
    claims: AccessClaims | None = None


class TaskLookup:
    """Reads single tasks. One for each event loop."""

    def __init__(self, threads: FairThreads) -> None:
        self._threads = threads
        self.batcher: Batcher[_Wanted, _Found] = Batcher(_look_up, "task-lookup", threads.prompt)

    async def read(self, task_id: UUID, user: Principal) -> ReadTask:
        """Return the committed task, if the user may see it. Raises TaskNotFound, TooManyWaiting, Overloaded."""
        found = await self.batcher.submit(_Wanted(task_id), user.id)
        return await self._shown(task_id, user, found.row)

    async def read_of_login(self, task_id: UUID, claims: AccessClaims) -> ReadTask:
        """Return the committed task, if the user behind this token may see it. Raises InvalidToken besides."""
        found = await self.batcher.submit(_Wanted(task_id, claims), claims.user_id)
        if found.session is None:
            raise InvalidToken
        return await self._shown(task_id, Principal.of_session(found.session, claims.session_id), found.row)

    async def _shown(self, task_id: UUID, user: Principal, row: dict[str, Any] | None) -> ReadTask:
        if row is None or (user.owner is not None and row["user_id"] != user.owner):
            # Large or not there. Another user's task takes the same way as none: the time tells nothing.
            return await self._threads.run(user.id, partial(_read_alone, task_id, user.owner))
        return ReadTask(TaskRead.model_validate(row))

    async def close(self) -> None:
        """Return when all accepted reads are done."""
        await self.batcher.close()


def _look_up(wanted: list[_Wanted]) -> list[_Found]:
    with group_engine().connect() as connection:
        sessions = live_sessions_of_tokens(connection, [each.claims for each in wanted])
        rows = task_queries.snapshots(connection, {each.task_id for each in wanted})
    return [_Found(rows.get(each.task_id), session) for each, session in zip(wanted, sessions, strict=True)]


def _read_alone(task_id: UUID, owner: UUID | None) -> ReadTask:
    with group_engine().connect() as connection:
        row = task_queries.snapshot(connection, task_id, owner)
    task = TaskRead.model_validate(row)
    return ReadTask(task, task.__pydantic_serializer__.to_json(task))
