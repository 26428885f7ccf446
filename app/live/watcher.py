"""Waiting for tasks to end, without a session or a thread for each who waits.

One loop in each API process asks the database, in one query for all, which of the awaited tasks have ended.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import UUID

from anyio import to_thread
from sqlalchemy import select

from app.db.outage import first_line, is_outage
from app.db.session import SessionLocal
from app.models.task import ACTIVE, Task

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 0.2


class Watcher:
    """Belongs to one event loop. `ended` may be awaited by any number of requests at once."""

    def __init__(self) -> None:
        self._waiting: dict[UUID, set[asyncio.Event]] = defaultdict(set)
        self._wanted = asyncio.Event()

    async def run(self) -> None:
        """Look until cancelled; idle while nobody waits."""
        while True:
            await self._wanted.wait()
            await self._look()
            await asyncio.sleep(INTERVAL_SECONDS)

    async def ended(self, task_id: UUID, seconds: float) -> None:
        """Return when the task has ended, or is gone, or the seconds are over."""
        event = asyncio.Event()
        self._waiting[task_id].add(event)
        self._wanted.set()
        try:
            await asyncio.wait_for(event.wait(), seconds)
        except TimeoutError:
            logger.debug("task %s has not ended within %s s", task_id, seconds)
        finally:
            self._forget(task_id, event)

    def _forget(self, task_id: UUID, event: asyncio.Event) -> None:
        self._waiting[task_id].discard(event)
        if not self._waiting[task_id]:
            del self._waiting[task_id]
        if not self._waiting:
            self._wanted.clear()

    async def _look(self) -> None:
        ids = list(self._waiting)
        try:
            active = await to_thread.run_sync(_still_active, ids)
        except Exception as error:
            # Whoever waits goes on waiting, at most until its seconds are over.
            if is_outage(error):
                logger.warning("watcher: the database is not reachable: %s", first_line(error))
            else:
                logger.exception("watcher")
            return
        for task_id in ids:
            if task_id not in active:
                for event in self._waiting.get(task_id, ()):
                    event.set()


def _still_active(ids: list[UUID]) -> set[UUID]:
    with SessionLocal() as db:
        return set(db.scalars(select(Task.id).where(Task.id.in_(ids), Task.status.in_(sorted(ACTIVE)))))


@asynccontextmanager
async def running_watcher() -> AsyncIterator[Watcher]:
    """The process's watcher, for as long as the application runs."""
    watcher = Watcher()
    looking = asyncio.create_task(watcher.run(), name="watcher")
    try:
        yield watcher
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
