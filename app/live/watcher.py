"""Watches tasks for all open streams and waiting requests of this process, without a session or thread for each.

Three loops: one reads the rows that hints name, one compares versions in case a hint was lost, one checks each second
whether each stream may stay open. Without streams and waiting requests they are idle and hold no connection.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TypeVar
from uuid import UUID

from anyio import CapacityLimiter, to_thread

from app.db.outage import first_line, is_passing
from app.errors import NotFound, Text, TooManyStreams
from app.live import queries
from app.live.feed import WAITING_BYTES, Feed, Reloaded
from app.live.queries import LATE, PAUSE_SECONDS
from app.live.streams import NEVER, Credential, News, Piece, Subscription, moment_of
from app.live.watches import UserWatch, Watches
from app.messaging.hints import HintListener
from app.services.tasks.task_history import LogFilter

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Rows that are read and rendered in one query, and versions that are compared in one.
ROWS = 50
VERSIONS = 1000
# Above this number, hints of tasks that only feeds watch are left to the comparison.
MAX_HINTS = 20_000
# Polling while workers may not yet know of the subscription, and while there is no subscription.
SETTLING_SECONDS = 3.0
SETTLING_POLL_SECONDS = 0.25
UNSUBSCRIBED_POLL_SECONDS = 0.5
OUTAGE_PAUSE_SECONDS = 0.5
TICK_SECONDS = 1.0
# The subscription outlives its last stream, so that the next stream finds workers that already send hints.
UNSUBSCRIBE_AFTER_SECONDS = 10.0
# Limits of the changes that a resumed feed sends: their age in seconds, and the number of tasks. Beyond, `reset`.
REPLAY_SECONDS = 300
REPLAY_TASKS = 1000
# Open at a time on this process: a user's pages and programs, and what its memory has room for (WAITING_BYTES each).
STREAMS_PER_USER = 50
STREAMS = 5000
# After so long without an event a stream sends a comment line: below the idle timeouts of proxies.
HEARTBEAT_SECONDS = 15.0
# Then a stream ends and its client reconnects: to another process too, where there are several.
MAX_SECONDS = 3600.0
# Between two comparisons of versions, which find what no hint told of: one query for VERSIONS tasks that are watched.
POLL_SECONDS = 3.0
# Threads, and thus connections, of the watcher. They are separate from those that requests use.
THREADS = 2


class Watcher:
    """Watches tasks on one event loop."""

    def __init__(self) -> None:
        self.watches = Watches()
        self._hinted: set[UUID] = set()
        self._some_hinted = asyncio.Event()
        self._watched = asyncio.Event()
        self._compare_now = asyncio.Event()
        self._reading = asyncio.Lock()
        self._threads = CapacityLimiter(THREADS)
        self._loop = asyncio.get_running_loop()
        self._listener: HintListener | None = None
        self._idle_since = 0.0
        self._outage_logged = False
        self.closing = False

    # -- watching ----------------------------------------------------------------------------------------------------

    async def wait_for_end(self, task_id: UUID, seconds: float) -> None:
        """Return when the task has ended or was deleted, after `seconds`, or on shutdown."""
        event = asyncio.Event()
        self.watches.task(task_id).waiting.add(event)
        self._start_listening()
        self._hint([task_id])  # the task may have ended before it was watched
        if self.closing:
            event.set()
        try:
            await asyncio.wait_for(event.wait(), seconds)
        except TimeoutError:
            logger.debug("task %s has not ended within %s s", task_id, seconds)
        finally:
            self.watches.tasks[task_id].waiting.discard(event)
            self.watches.drop_idle(task_id)
            self._note_idle()

    # Each of these raises TooManyStreams, and TaskNotFound or WorkflowNotFound where `credential` shows no such one.
    # The caller returns the stream with `leave`. It is None where all is over, and the client has the last of it.

    async def follow(self, task_id: UUID, credential: Credential, seen: int | None) -> Subscription | None:
        """Return a stream of the task's states, beginning with the current one unless its version was `seen`."""
        read = partial(queries.read_state, task_id, credential.owner)
        return await self._subscribe(credential, read, seen, [task_id], News.STATES)

    async def follow_logs(
        self, task_id: UUID, credential: Credential, wanted: LogFilter, after: int
    ) -> Subscription | None:
        """Return a stream of the task's log lines after number `after`."""
        read = partial(queries.read_logs, task_id, credential.owner, wanted)
        return await self._subscribe(credential, read, after, [task_id], News.LINES)

    async def follow_output(
        self, task_id: UUID, credential: Credential, name: str | None, after: int
    ) -> Subscription | None:
        """Return a stream of the task's output after number `after`; `name` is one of its streams, None for all."""
        read = partial(queries.read_output, task_id, credential.owner, name)
        return await self._subscribe(credential, read, after, [task_id], News.LINES)

    async def follow_workflow(self, workflow_id: UUID, credential: Credential, seen: int | None) -> Subscription | None:
        """Return a stream of the workflow's states, beginning with the current one unless its version was `seen`."""
        ids = await self._in_thread(queries.tasks_of_workflow, workflow_id, credential.owner)
        read = partial(queries.read_workflow, workflow_id, credential.owner)
        return await self._subscribe(credential, read, seen, ids, News.CHANGES, pause=PAUSE_SECONDS)

    async def _subscribe(
        self,
        credential: Credential,
        read: Callable[[int], Piece],
        after: int | None,
        task_ids: Collection[UUID],
        news: News,
        pause: float = 0.0,
    ) -> Subscription | None:
        """Return a stream of what `read` finds behind `after`, or None where that is nothing and nothing is to come."""
        again = partial(self._read_piece, read)
        stream = Subscription(credential, MAX_SECONDS, again, task_ids, news, pause)
        with self._entered(stream):
            first = await self._in_thread(read, -1 if after is None else after)
            if first.ended and not first.events:
                self.leave(stream)
                return None
            stream.begin(first)
            if first.state is not None:
                self.watches.task(first.state.task_id).show(first.state)
        return stream

    async def follow_rows(self, task_ids: Collection[UUID], credential: Credential) -> Feed:
        """Return a stream of the states of those of the tasks that may be seen, beginning with the current ones."""
        ids = await self._in_thread(queries.visible_tasks, credential.owner, task_ids)
        stream = Feed(credential, MAX_SECONDS, partial(self._reload, ids, ()), task_ids=ids)
        stream.open_with()
        stream.catch_up(ids, NEVER)
        with self._entered(stream):
            return stream

    async def feed(self, credential: Credential, cursor: str | None) -> Feed:
        """Return a stream of the changes of the user's tasks, from the cursor on if there is one."""
        now = await self._in_thread(queries.database_time)
        since = moment_of(cursor)
        since = None if since is None else min(since, now)
        user_id = credential.user_id
        user = self.watches.users.get(user_id) or UserWatch(now - LATE)
        reload = partial(self._reload, (), [user_id])
        stream = Feed(credential, MAX_SECONDS, reload, user.shown_until)
        with self._entered(stream):
            self.watches.users[user_id] = user
            user.feeds.add(stream)
            if since is not None and (now - since).total_seconds() <= REPLAY_SECONDS:
                missed = await self._in_thread(queries.changed_since, user_id, since, REPLAY_TASKS + 1)
                if len(missed) <= REPLAY_TASKS:
                    stream.catch_up(missed, since)
                    stream.open_with(since)
                    return stream
            stream.open_with(reset=since is not None)
        return stream

    def leave(self, stream: Subscription) -> None:
        """Remove a stream that is over. May be called twice."""
        self.watches.leave(stream)
        self._note_idle()

    def close(self) -> None:
        """End all streams and waits, and refuse new ones. Call it in the event loop."""
        self.closing = True
        for stream in list(self.watches.streams):
            stream.close()
        for watch in self.watches.tasks.values():
            watch.release()

    @contextmanager
    def _entered(self, stream: Subscription) -> Iterator[None]:
        """Count the stream among those that are open, unless the block fails. Raises TooManyStreams."""
        if self.watches.stream_count(stream.credential.user_id) >= STREAMS_PER_USER:
            detail = Text("You have {} open event streams: close one first", STREAMS_PER_USER)
            raise TooManyStreams(detail, retry_after=5)
        if len(self.watches.streams) >= STREAMS:
            raise TooManyStreams("This API process has too many open event streams: try again later", retry_after=5)
        if self.closing:
            stream.close()
        self.watches.enter(stream)
        self._start_listening()
        try:
            yield
        except BaseException:
            self.leave(stream)
            raise

    def _start_listening(self) -> None:
        """Wake the comparison, and subscribe to hints."""
        self._watched.set()
        if self._listener is None and not self.closing:
            self._listener = HintListener(self._on_hints, self._on_subscribed)
            self._listener.start()

    def _note_idle(self) -> None:
        if not self.watches:
            self._watched.clear()
            self._idle_since = time.monotonic()

    # -- hints -------------------------------------------------------------------------------------------------------

    def _on_hints(self, task_ids: list[UUID]) -> None:
        """Receive hints. Called from the listener's thread."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._hint, task_ids)

    def _on_subscribed(self) -> None:
        """Compare at once, because earlier hints were missed. Called from the listener's thread."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._compare_now.set)

    def _hint(self, task_ids: Iterable[UUID]) -> None:
        by_user = bool(self.watches.users) and len(self._hinted) < MAX_HINTS
        self._hinted.update(each for each in task_ids if by_user or each in self.watches.tasks)
        if self._hinted:
            self._some_hinted.set()

    async def read_hints(self) -> None:
        """Read the tasks that hints name, in batches, and for at most half of the time."""
        while True:
            await self._some_hinted.wait()
            self._some_hinted.clear()
            begun = time.monotonic()
            taken, self._hinted = list(self._hinted), set()
            if not await self._read_and_show(taken):
                self._hint(taken)
                await asyncio.sleep(OUTAGE_PAUSE_SECONDS)
            await asyncio.sleep(min(OUTAGE_PAUSE_SECONDS, time.monotonic() - begun))

    # -- comparing ---------------------------------------------------------------------------------------------------

    async def compare(self) -> None:
        """Find changes without a hint, every few seconds; more often while hints are unreliable."""
        while True:
            await self._watched.wait()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._compare_now.wait(), self._pause())
            self._compare_now.clear()
            await self._run_through_outage(self._compare_tasks)
            await self._run_through_outage(self._compare_users)

    def _pause(self) -> float:
        since = None if self._listener is None else self._listener.since
        if since is None:
            return UNSUBSCRIBED_POLL_SECONDS
        if time.monotonic() - since < SETTLING_SECONDS:
            return SETTLING_POLL_SECONDS
        return POLL_SECONDS

    async def _compare_tasks(self) -> None:
        shown = self.watches.shown()
        ids = list(shown)
        for at in range(0, len(ids), VERSIONS):
            batch = ids[at : at + VERSIONS]
            found = await self._in_thread(queries.read_versions, batch)
            for task_id, (_, attached_bytes) in found.items():
                if task_id in self.watches.tasks:
                    self.watches.tasks[task_id].compare_bytes(attached_bytes)
            news = [each for each in batch if found.get(each, (None,))[0] != shown[each]]
            for each in news:
                if not self.watches.needs_row(each):
                    self.watches.tasks[each].version = found.get(each, (0,))[0]
            await self._read_and_show(news)

    async def _compare_users(self) -> None:
        users = list(self.watches.users.items())
        if not users:
            return
        now = await self._in_thread(queries.database_time)
        since = min(user.shown_until for _, user in users)
        found = await self._in_thread(queries.recent_tasks, [user_id for user_id, _ in users], since)
        news = [task_id for task_id, (owner, version) in found.items() if self._is_new_for(owner, task_id, version)]
        if await self._read_and_show(news):
            for _, user in users:
                user.advance(now - LATE)

    def _is_new_for(self, user_id: UUID, task_id: UUID, version: int) -> bool:
        user = self.watches.users.get(user_id)
        return user is not None and user.is_new(task_id, version)

    # -- reading -----------------------------------------------------------------------------------------------------

    async def _read_and_show(self, task_ids: Sequence[UUID]) -> bool:
        """Read these rows and pass them to the watches. Returns False if the database is unavailable."""
        told = {each for each in task_ids if not self.watches.needs_row(each)}
        for each in told:
            self.watches.tasks[each].tell(News.CHANGES)
        task_ids = [each for each in task_ids if each not in told]
        for at in range(0, len(task_ids), ROWS):
            if not await self._run_through_outage(self._read_batch, task_ids[at : at + ROWS]):
                return False
        return True

    async def _read_batch(self, batch: Sequence[UUID]) -> bool:
        async with self._reading:  # one at a time, so that states are passed on in the order of reading
            watched = [task_id for task_id in batch if task_id in self.watches.tasks]
            missing, left = set(batch), batch
            while left:  # more than once where the rows are large
                arguments = (left, watched, list(self.watches.users), self.watches.is_new)
                found, left = await self._in_thread(queries.read_rows, *arguments)
                for each in found:
                    self.watches.show(each)
                missing -= {each.task_id for each in found}
            self.watches.forget(missing, gone=missing & set(watched))
        return True

    async def _reload(self, watched: Sequence[UUID], users: Sequence[UUID], ids: Sequence[UUID]) -> Reloaded | None:
        """Read tasks again for a stream that did not keep their states. Returns None if the database is unavailable."""
        everything: queries.IsNews = lambda *_: True  # noqa: E731
        read = partial(queries.read_rows, ids, watched, users, everything, WAITING_BYTES)
        return await self._run_through_outage(self._in_thread, read)

    async def _read_piece(self, read: Callable[[int], Piece], after: int) -> Piece | None:
        """Read what comes next for a stream. Returns None if the database is unavailable."""

        async def read_it() -> Piece:
            try:
                return await self._in_thread(read, after)
            except NotFound:  # deleted, or no longer the reader's
                return Piece(b"", after, ended=True)

        return await self._run_through_outage(read_it)

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await to_thread.run_sync(function, *arguments, limiter=self._threads)

    async def _run_through_outage(self, action: Callable[..., Awaitable[T]], *arguments: object) -> T | None:
        """Return the action's result; None after an error, so that its loop continues through an outage."""
        try:
            found = await action(*arguments)
        except Exception as error:
            if not is_passing(error):
                logger.exception("live events: unexpected error, retrying")
            elif not self._outage_logged:
                logger.warning("live events: database unavailable, retrying: %s", first_line(error))
            self._outage_logged = True
            await asyncio.sleep(OUTAGE_PAUSE_SECONDS)
            return None
        self._outage_logged = False
        return found

    # -- checking streams --------------------------------------------------------------------------------------------

    async def check_streams(self) -> None:
        """Once a second: send heartbeats, and end streams that are old, stuck or no longer authorised."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for stream in list(self.watches.streams):
                stream.tick(self._loop.time(), HEARTBEAT_SECONDS)
            await self._run_through_outage(self._check_credentials)
            self._stop_idle_listener()

    async def _check_credentials(self) -> None:
        """Check the credentials of all streams in one query."""
        held = {stream.credential for stream in self.watches.streams}
        if not held:
            return
        sessions = {each.id for each in held if not each.is_key}
        keys = {each.id for each in held if each.is_key}
        standing = await self._in_thread(queries.read_standing, sessions, keys)
        for stream in list(self.watches.streams):
            credential = stream.credential
            expired = credential.expires_at is not None and credential.expires_at <= standing.now
            # A stream opened during the query was checked by its own request.
            if credential in held and (expired or standing.roles.get(credential.id) != credential.role):
                stream.close()

    def _stop_idle_listener(self) -> None:
        if (
            self._listener is not None
            and not self.watches
            and time.monotonic() - self._idle_since > UNSUBSCRIBE_AFTER_SECONDS
        ):
            self._listener.stop()
            self._listener = None

    async def stop(self) -> None:
        """End all streams and waits, and stop the listener."""
        self.close()
        if self._listener is not None:
            self._listener.stop()
            await to_thread.run_sync(self._listener.join)


@asynccontextmanager
async def running_watcher() -> AsyncIterator[Watcher]:
    """Run the watcher of this process while the application runs."""
    watcher = Watcher()
    loops = [
        asyncio.create_task(loop(), name=f"watcher: {loop.__name__}")
        for loop in (watcher.read_hints, watcher.compare, watcher.check_streams)
    ]
    try:
        yield watcher
    finally:
        await watcher.stop()
        for each in loops:
            each.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
