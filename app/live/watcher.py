"""Watches tasks for all open streams and waiting requests of this process, without a session or thread for each.

Three loops: one reads the rows that hints name, one compares versions in case a hint was lost, one checks each second
whether each stream may stay open. Without streams and waiting requests they are idle and hold no connection.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar
from uuid import UUID

from anyio import CapacityLimiter, to_thread

from app.db.outage import first_line, is_passing
from app.errors import NotFound, TooManyStreams
from app.live import queries
from app.live.piece_streams import Piece, PieceStream, WorkflowStream
from app.live.queries import LATE
from app.live.streams import HELD_BYTES, Credential, Feed, Frame, Reloaded, RowsStream, Stream, TaskStream, moment_of
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
# Open at a time on this process: a user's pages and programs, and what its memory has room for (HELD_BYTES each).
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
            self._drop_watch(task_id)

    async def follow(
        self, task_id: UUID, user_id: UUID, owner: UUID | None, credential: Credential, seen: int | None
    ) -> TaskStream | None:
        """Return a stream of the task's states, or None if the task has ended and `seen` is its final version.

        Raises TaskNotFound, TooManyStreams. The caller returns the stream with `leave`.
        """
        stream = TaskStream(user_id, credential, MAX_SECONDS, task_id)
        self._enter(stream)
        self.watches.task(task_id).streams.add(stream)
        try:
            found = await self._in_thread(queries.read, task_id, owner)
            if found.version == seen and found.ended:
                self.leave(stream)
                return None
            assert found.frame is not None
            stream.begin(found.frame, seen)
            self.watches.task(task_id).show(found)
        except BaseException:
            self.leave(stream)
            raise
        return stream

    async def follow_rows(
        self, task_ids: Collection[UUID], user_id: UUID, owner: UUID | None, credential: Credential
    ) -> RowsStream:
        """Return a stream of the states of those of the tasks that `owner` may see, beginning with the current ones.

        Raises TooManyStreams. The caller returns the stream with `leave`.
        """
        ids = await self._in_thread(queries.seen_by, owner, task_ids)
        reload = partial(self._reload, ids, ())
        stream = RowsStream(user_id, credential, MAX_SECONDS, ids, reload)
        self._enter(stream)
        for task_id in ids:
            self.watches.task(task_id).streams.add(stream)
        return stream

    async def follow_logs(
        self, task_id: UUID, user_id: UUID, owner: UUID | None, credential: Credential, wanted: LogFilter, after: int
    ) -> PieceStream | None:
        """Return a stream of the task's log lines after number `after`, or None if the task has ended without any.

        Raises TaskNotFound, TooManyStreams. The caller returns the stream with `leave`.
        """
        return await self._follow_pieces(
            task_id, user_id, credential, partial(queries.read_logs, task_id, owner, wanted), after
        )

    async def follow_output(
        self, task_id: UUID, user_id: UUID, owner: UUID | None, credential: Credential, name: str | None, after: int
    ) -> PieceStream | None:
        """Return a stream of the task's output after number `after`, or None if the task has ended without any.

        `name` is one of its streams, None for all. Raises TaskNotFound, TooManyStreams. The caller returns the stream
        with `leave`.
        """
        read = partial(queries.read_output, task_id, owner, name)
        return await self._follow_pieces(task_id, user_id, credential, read, after)

    async def _follow_pieces(
        self, task_id: UUID, user_id: UUID, credential: Credential, read: Callable[[int], Piece], after: int
    ) -> PieceStream | None:
        stream = PieceStream(user_id, credential, MAX_SECONDS, [task_id], partial(self._read_piece, read))
        return stream if await self._begin(stream, read, after) else None

    async def follow_workflow(
        self, workflow_id: UUID, user_id: UUID, owner: UUID | None, credential: Credential, seen: int | None
    ) -> WorkflowStream | None:
        """Return a stream of the workflow's states, or None if it has ended and `seen` is its final version.

        Raises WorkflowNotFound, TooManyStreams. The caller returns the stream with `leave`.
        """
        ids = await self._in_thread(queries.tasks_of_workflow, workflow_id, owner)
        read = partial(queries.read_workflow, workflow_id, owner)
        stream = WorkflowStream(user_id, credential, MAX_SECONDS, ids, partial(self._read_piece, read))
        return stream if await self._begin(stream, read, -1 if seen is None else seen) else None

    async def _begin(self, stream: PieceStream, read: Callable[[int], Piece], after: int) -> bool:
        """Enter the stream with its first piece. Returns False, without it, where nothing is to come."""
        self._enter(stream)
        for task_id in stream.task_ids:
            watch = self.watches.task(task_id)
            watch.workflows.add(stream) if isinstance(stream, WorkflowStream) else watch.logs.add(stream)
        try:
            first = await self._in_thread(read, after)
        except BaseException:
            self.leave(stream)
            raise
        if first.ended and not first.events:
            self.leave(stream)
            return False
        stream.begin(first)
        return True

    async def feed(self, user_id: UUID, credential: Credential, cursor: str | None) -> Feed:
        """Return a stream of the changes of the user's tasks, from the cursor on if there is one.

        Raises TooManyStreams. The caller returns the stream with `leave`.
        """
        now = await self._in_thread(queries.now)
        since = moment_of(cursor)
        since = None if since is None else min(since, now)
        user = self.watches.users.get(user_id) or UserWatch(now - LATE)
        reload = partial(self._reload, (), [user_id])
        stream = Feed(user_id, credential, MAX_SECONDS, reload, user.shown_until)
        self._enter(stream)
        self.watches.users[user_id] = user
        user.feeds.add(stream)
        try:
            missed: list[UUID] = []
            reset = since is not None and (now - since).total_seconds() > REPLAY_SECONDS
            if since is not None and not reset:
                missed = await self._in_thread(queries.changed_since, user_id, since, REPLAY_TASKS + 1)
                reset = len(missed) > REPLAY_TASKS
            if since is not None and not reset:
                stream.catch_up(missed, since)
            stream.open_with(since if since is not None and not reset else None, reset=reset)
        except BaseException:
            self.leave(stream)
            raise
        return stream

    def leave(self, stream: Stream) -> None:
        """Remove a stream that is over. May be called twice."""
        self.watches.leave(stream)
        if isinstance(stream, Feed):
            user = self.watches.users.get(stream.user_id)
            if user is not None:
                user.feeds.discard(stream)
                if not user.feeds:
                    del self.watches.users[stream.user_id]
            self._drop_watch(None)
        for task_id in stream.task_ids:
            if task_id in self.watches.tasks:
                self.watches.tasks[task_id].leave(stream)
            self._drop_watch(task_id)

    def close(self) -> None:
        """End all streams and waits, and refuse new ones. Call it in the event loop."""
        self.closing = True
        for stream in list(self.watches.streams):
            stream.close()
        for watch in self.watches.tasks.values():
            watch.release()

    def _enter(self, stream: Stream) -> None:
        if self.watches.stream_count(stream.user_id) >= STREAMS_PER_USER:
            raise TooManyStreams(f"You have {STREAMS_PER_USER} open event streams: close one first", retry_after=5)
        if len(self.watches.streams) >= STREAMS:
            raise TooManyStreams("This API process has too many open event streams: try again later", retry_after=5)
        if self.closing:
            stream.close()
        self.watches.enter(stream)
        self._start_listening()

    def _start_listening(self) -> None:
        """Wake the comparison, and subscribe to hints."""
        self._watched.set()
        if self._listener is None and not self.closing:
            self._listener = HintListener(self._on_hints, self._on_subscribed)
            self._listener.start()

    def _drop_watch(self, task_id: UUID | None) -> None:
        if task_id is not None:
            self.watches.drop_idle(task_id)
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
            found = await self._in_thread(queries.versions, batch)
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
        now = await self._in_thread(queries.now)
        since = min(user.shown_until for _, user in users)
        found = await self._in_thread(queries.recent, [user_id for user_id, _ in users], since)
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
            self.watches.tasks[each].tell_workflows()
        task_ids = [each for each in task_ids if each not in told]
        for at in range(0, len(task_ids), ROWS):
            if not await self._run_through_outage(self._read_batch, task_ids[at : at + ROWS]):
                return False
        return True

    async def _read_batch(self, batch: Sequence[UUID]) -> None:
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

    async def _reload(self, watched: Collection[UUID], users: Sequence[UUID], ids: list[UUID]) -> Reloaded | None:
        """Read tasks again for a stream that did not keep their states. Returns None if the database is unavailable."""
        frames: list[Frame] = []
        left: Sequence[UUID] = ()

        async def read() -> None:
            nonlocal left
            everything: queries.IsNews = lambda *_: True  # noqa: E731
            found, left = await self._in_thread(queries.read_rows, ids, watched, users, everything, HELD_BYTES)
            frames.extend(each.frame for each in found if each.frame is not None)

        return Reloaded(frames, len(ids) - len(left)) if await self._run_through_outage(read) else None

    async def _read_piece(self, read: Callable[[int], Piece], after: int) -> Piece | None:
        """Read what comes next for a stream. Returns None if the database is unavailable."""
        piece: Piece | None = None

        async def read_it() -> None:
            nonlocal piece
            try:
                piece = await self._in_thread(read, after)
            except NotFound:  # deleted, or no longer the reader's
                piece = Piece(b"", after, ended=True)

        await self._run_through_outage(read_it)
        return piece

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await to_thread.run_sync(function, *arguments, limiter=self._threads)

    async def _run_through_outage(self, action: Callable[..., Awaitable[None]], *arguments: object) -> bool:
        """Run an action. Returns False after an error, so that its loop continues through an outage of the database."""
        try:
            await action(*arguments)
        except Exception as error:
            if not is_passing(error):
                logger.exception("live events: unexpected error, retrying")
            elif not self._outage_logged:
                logger.warning("live events: database unavailable, retrying: %s", first_line(error))
            self._outage_logged = True
            await asyncio.sleep(OUTAGE_PAUSE_SECONDS)
            return False
        self._outage_logged = False
        return True

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
        standing = await self._in_thread(queries.standing, sessions, keys)
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
