"""Counts and pages of callers' own tasks, for async callers: what is asked together is read together.

Callers who ask the same get the same answer, which is read once, after all of them have asked. The logins of the
callers are looked up in the same batch, as for single tasks (`task_lookup.py`).
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from itertools import compress
from typing import NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import Connection

from app.core.batcher import Batcher
from app.core.fair_threads import FairThreads
from app.core.security import AccessClaims
from app.db.session import group_engine
from app.errors import InvalidToken
from app.models.task import TaskStatus
from app.services.accounts.sessions import live_sessions_of_tokens
from app.services.tasks import task_counts, task_queries
from app.services.tasks.task_queries import ShownPage

# Pages take milliseconds each: those who ask meanwhile wait for the whole batch.
MAX_BATCH = 16

Result = TypeVar("Result")
Counts = Mapping[str, int]


class RenderedPage(NamedTuple):
    """A page as JSON, and the id after which the next page starts."""

    body: bytes
    last: UUID | None


class NewestTasks(NamedTuple):
    """At most `limit` of a user's tasks, newest first, of this status and below this id, if they are given."""

    limit: int
    status: TaskStatus | None = None
    before: UUID | None = None


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
            for user_id, counts in _counts(connection, {each.user_id for each in known if each.page is None}):
                read[None, user_id] = counts
            for page, user_id in {(each.page, each.user_id) for each in known} - read.keys():
                assert page is not None
                read[page, user_id] = _attempt(partial(self._page, connection, page, user_id))
        return [
            read[each.page, each.user_id] if is_one else InvalidToken()
            for each, is_one in zip(asked, is_known, strict=True)
        ]

    def _page(self, connection: Connection, page: NewestTasks, user_id: UUID) -> _Read:
        found = task_queries.newest_page(connection, user_id, page.limit, status=page.status, before=page.before)
        return _Read() if found is None else _Read(page=self._render(found))


def _counts(connection: Connection, users: Collection[UUID]) -> Iterable[tuple[UUID, _Read | Exception]]:
    """Count in one statement, or for each user alone if that fails: one of them may have too many tasks."""
    if not users:
        return []
    found = _attempt(partial(task_counts.count_of_users, connection, users))
    if not isinstance(found, Exception):
        return [(user, _Read(counts=found[user])) for user in users]
    if len(users) == 1:
        return [(user, found) for user in users]
    return [each for user in users for each in _counts(connection, [user])]


def _attempt(read: Callable[[], Result]) -> Result | Exception:
    """What fails concerns those who asked for it, and no other caller of the batch."""
    try:
        return read()
    except Exception as problem:  # noqa: BLE001 (each caller gets its own answer, and what is wrong with it)
        return problem
