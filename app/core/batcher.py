"""Group commit for one event loop: items submitted at the same time are processed together, by one call in one thread.

While one batch runs, the next one collects. There is no timer, so a lone caller never waits for others. Each caller
gets its own result or exception. Where more items wait than a batch holds, users take turns in filling it (round
robin). One user's items are at most half of those that may wait.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from app.errors import Overloaded, TooManyWaiting

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_BATCH = 128
# Above this, callers would wait too long and get Overloaded.
MAX_WAITING = 1024
RETRY_SECONDS = 1


class Batcher(Generic[Item, Result]):
    """Processes items in batches. `work` takes the items of a batch and returns their outcomes in the same order.

    An outcome that is an exception is raised to its caller. An exception that `work` raises is raised to every caller
    of that batch, and to no other.
    """

    def __init__(
        self,
        work: Callable[[list[Item]], Sequence[Result | Exception]],
        name: str,
        *,
        max_batch: int = MAX_BATCH,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._work = work
        self._max_batch, self.max_waiting = max_batch, max_waiting
        self._loop = asyncio.get_running_loop()
        # A thread of its own: slow endpoints in the shared pool and other batchers do not delay it.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        # By user, in the order of their turns. `waiting` counts the items of all of them.
        self._waiting: dict[Hashable, deque[tuple[Item, asyncio.Future[Result]]]] = {}
        self.waiting = 0
        self._is_due = self._is_closed = False
        self._in_flight: asyncio.Future[Sequence[Result | Exception]] | None = None

    async def submit(self, item: Item, user: Hashable = None) -> Result:
        """Return the outcome for this item of `user`; None stands for nobody in particular.

        Raises Overloaded without processing the item if too many items wait, or too many of this user. A cancelled
        caller leaves the queue; a batch in flight continues without it.
        """
        if self._is_closed or self.waiting >= self.max_waiting:
            raise Overloaded(retry_after=RETRY_SECONDS)
        mine = self._waiting.get(user)
        if mine is None:
            mine = self._waiting[user] = deque()
        elif user is not None and 2 * len(mine) >= self.max_waiting:
            raise TooManyWaiting(retry_after=RETRY_SECONDS)
        answer: asyncio.Future[Result] = self._loop.create_future()
        mine.append((item, answer))
        self.waiting += 1
        if self._in_flight is None and not self._is_due:
            # Starts in the next turn of the event loop, so that items of the same turn join the batch.
            self._is_due = True
            self._loop.call_soon(self._start)
        return await answer

    async def close(self) -> None:
        """Accept no more items, and return when every accepted item has its outcome."""
        self._is_closed = True
        while self._in_flight is not None or self.waiting:
            if self._in_flight is None:
                self._start()
            else:
                await asyncio.wait([self._in_flight])
                await asyncio.sleep(0)  # let `_finish` run
        self._executor.shutdown()

    def _start(self) -> None:
        self._is_due = False
        if self._in_flight is not None:
            return
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        while self.waiting and len(batch) < self._max_batch:
            item, answer = self._take()
            if not answer.done():  # cancelled while it waited
                batch.append((item, answer))
        if not batch:
            return
        self._in_flight = self._loop.run_in_executor(self._executor, self._work, [item for item, _ in batch])
        self._in_flight.add_done_callback(lambda done: self._finish([answer for _, answer in batch], done))

    def _take(self) -> "tuple[Item, asyncio.Future[Result]]":
        """The next item of the user whose turn it is; then it is the next user's."""
        user = next(iter(self._waiting))
        mine = self._waiting[user]
        taken = mine.popleft()
        self.waiting -= 1
        if len(self._waiting) > 1 or not mine:
            del self._waiting[user]
            if mine:
                self._waiting[user] = mine
        return taken

    def _finish(
        self, answers: list["asyncio.Future[Result]"], done: "asyncio.Future[Sequence[Result | Exception]]"
    ) -> None:
        self._in_flight = None
        self._start()  # first, so that the thread is busy while the outcomes are delivered
        if done.cancelled():
            outcomes: Sequence[Result | BaseException] = [Overloaded(retry_after=RETRY_SECONDS) for _ in answers]
        else:
            problem = done.exception()
            outcomes = done.result() if problem is None else [problem] * len(answers)
        if len(outcomes) != len(answers):
            outcomes = [RuntimeError(f"{len(outcomes)} outcomes for {len(answers)} items") for _ in answers]
        for answer, outcome in zip(answers, outcomes, strict=True):
            if answer.done():
                continue
            if isinstance(outcome, BaseException):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)
