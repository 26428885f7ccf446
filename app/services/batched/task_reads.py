"""Reads tasks for async callers: what is asked together is read together.

Callers who ask the same counts or page get the same answer, which is read once, after all of them have asked. The
logins of the callers are looked up in the same batch.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import compress
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import Connection

from app.core.batcher import Batcher
from app.core.fair_threads import FairThreads
from app.core.security import AccessClaims
from app.db.session import group_engine
from app.db.together import together
from app.errors import InvalidToken
from app.models.task import TaskStatus
from app.schemas.task import TaskRead
from app.services.accounts.auth_service import Principal
from app.services.accounts.sessions import LiveSession, live_sessions_of_tokens
from app.services.tasks import task_counts, task_queries
from app.services.tasks.task_queries import ShownPage

# -- Counts and pages --------------------------------------------------------------------------------------------------

# Pages take milliseconds each: those who ask meanwhile wait for the whole batch.
MAX_BATCH = 16

Result = TypeVar("Result")
Counts = Mapping[str, int]


# A page as JSON, and the cursor of the next page.
RenderedPage = tuple[bytes, str | None]


class NewestTasks(NamedTuple):
    """At most `limit` of a user's tasks, newest first, of this status and below this id, if they are given."""

    limit: int
    status: TaskStatus | None = None
    cursor: str | None = None


class _Asked(NamedTuple):
    """A page, or the counts where there is none; of this user, or of the one behind the token."""

    page: NewestTasks | None
    user_id: UUID
    claims: AccessClaims | None = None


class _Read(NamedTuple):
    """The answer to one of them. Neither is there for a page with large tasks."""

    counts: Counts | None = None
    page: RenderedPage | None = None


class TaskLists:
    """Reads counts and pages. One for each event loop. `render` makes JSON of a page."""

    def __init__(self, threads: FairThreads, render: Callable[[ShownPage], RenderedPage]) -> None:
        self._render = render
        self.batcher: Batcher[_Asked, _Read] = Batcher(
            self._read_all, "task-lists", threads.prompt, max_batch=MAX_BATCH
        )

    async def count(self, user_id: UUID, claims: AccessClaims | None = None) -> Counts:
        """Return how many tasks this user has of each status.

        With the claims of a token, its login is looked up too. Raises InvalidToken, TooManyWaiting, Overloaded.
        """
        read = await self.batcher.submit(_Asked(None, user_id, claims), user_id)
        assert read.counts is not None
        return read.counts

    async def list_newest(
        self, page: NewestTasks, user_id: UUID, claims: AccessClaims | None = None
    ) -> RenderedPage | None:
        """Return the page, or None if a large task is on it, which is to be read alone. Raises as `count` does."""
        return (await self.batcher.submit(_Asked(page, user_id, claims), user_id)).page

    async def close(self) -> None:
        """Return when all accepted reads are done."""
        await self.batcher.close()

    def _read_all(self, asked: list[_Asked]) -> list[_Read | Exception]:
        with group_engine().connect() as connection:
            sessions = live_sessions_of_tokens(connection, [each.claims for each in asked])
            is_known = [each.claims is None or session for each, session in zip(asked, sessions, strict=True)]
            known = list(compress(asked, is_known))
            read: dict[tuple[NewestTasks | None, UUID], _Read | Exception] = {}
            counting = {each.user_id for each in known if each.page is None}
            for user_id, counts in _counts_of_users(connection, counting).items():
                read[None, user_id] = counts
            for page, user_id in {(each.page, each.user_id) for each in known} - read.keys():
                assert page is not None
                read[page, user_id] = _answer_or_error(partial(self._page, connection, page, user_id))
        return [
            read[each.page, each.user_id] if is_one else InvalidToken()
            for each, is_one in zip(asked, is_known, strict=True)
        ]

    def _page(self, connection: Connection, page: NewestTasks, user_id: UUID) -> _Read:
        found = task_queries.newest_page(connection, user_id, page.limit, status=page.status, cursor=page.cursor)
        return _Read() if found is None else _Read(page=self._render(found))


def _counts_of_users(connection: Connection, users: Collection[UUID]) -> dict[UUID, _Read | Exception]:
    """Count in one statement if possible: one of these users may have too many tasks."""

    def count(part: Sequence[UUID]) -> Mapping[UUID, _Read | Exception]:
        return {user: _Read(counts=each) for user, each in task_counts.count_of_users(connection, part).items()}

    parts = together("counts", [*users], count, lambda user, error: {user: error})
    return {user: read for part in parts for user, read in part.items()}


def _answer_or_error(read: Callable[[], Result]) -> Result | Exception:
    """What fails concerns those who asked for it, and no other caller of the batch."""
    try:
        return read()
    except Exception as problem:  # noqa: BLE001 (each caller gets its own answer, and what is wrong with it)
        return problem


# -- Single tasks: those that are requested together are read in one statement -----------------------------------------
# The look-up of the logins in the same batch saves each caller one trip to a thread. Large tasks are read alone, in a
# thread of their user's share, so that no other request waits for them.


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
