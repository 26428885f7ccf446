"""Group commit for one event loop: items submitted at the same time are processed together, by one call in one thread.

While one batch runs, the next one collects. There is no timer, so a lone caller never waits for others. Each caller
gets its own result or exception. Where more items wait than a batch holds, users take turns in filling it (round
robin), and one user's items are at most half of those that may wait. Otherwise a batch costs nothing for its users.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from typing import Generic, TypeVar

from app.core.fair_order import by_turns
from app.core.fair_threads import PromptThreads
from app.errors import Overloaded, TooManyWaiting

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_BATCH = 128
# Above this, callers would wait too long and get Overloaded.
MAX_WAITING = 1024
RETRY_SECONDS = 1


# The user, the item, and the future of its outcome.
_Waiting = tuple[Hashable, Item, "asyncio.Future[Result]"]


class Batcher(Generic[Item, Result]):
    """Processes items in batches. `work` takes the items of a batch and returns their outcomes in the same order.

    An outcome that is an exception is raised to its caller. An exception that `work` raises is raised to every caller
    of that batch, and to no other.
    """

    def __init__(
        self,
        work: Callable[[list[Item]], Sequence[Result | Exception]],
        name: str,
        prompt: PromptThreads | None = None,
        *,
        max_batch: int = MAX_BATCH,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._work, self._prompt = work, prompt or PromptThreads()
        self._max_batch, self.max_waiting = max_batch, max_waiting
        self._loop = asyncio.get_running_loop()
        # A thread of its own: slow endpoints in the shared pool and other batchers do not delay it.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._waiting: list[_Waiting[Item, Result]] = []
        self._of_users: Counter[Hashable] | None = None  # how many of them, counted while half of the places are taken
        self._is_due = self._is_in_flight = self._is_prompt = self._is_closed = False
        self._all_done: asyncio.Future[None] | None = None

    @property
    def waiting(self) -> int:
        """The number of items that wait for a batch."""
        return len(self._waiting)

    async def submit(self, item: Item, user: Hashable = None) -> Result:
        """Return the outcome for this item of `user`; None stands for nobody in particular.

        Raises Overloaded without processing the item if too many items wait, or too many of this user. A cancelled
        caller leaves the queue; a batch in flight continues without it.
        """
        waiting = len(self._waiting)
        if self._is_closed or waiting >= self.max_waiting:
            raise Overloaded(retry_after=RETRY_SECONDS)
        if 2 * waiting >= self.max_waiting:
            self._count(user)
        answer: asyncio.Future[Result] = self._loop.create_future()
        self._waiting.append((user, item, answer))
        if not (self._is_in_flight or self._is_due):
            # Starts in the next turn of the event loop, so that items of the same turn join the batch.
            self._is_due = True
            self._loop.call_soon(self._start)
        return await answer

    async def close(self) -> None:
        """Accept no more items, and return when every accepted item has its outcome."""
        self._is_closed = True
        self._start()
        if self._is_in_flight:
            self._all_done = self._loop.create_future()
            await self._all_done
        self._executor.shutdown()

    def _start(self) -> None:
        self._is_due = False
        if self._is_in_flight:
            return
        waiting = [each for each in self._waiting if not each[2].done()]  # the others were cancelled meanwhile
        if len(waiting) > self._max_batch:
            waiting = by_turns(waiting, itemgetter(0))
        batch, self._waiting, self._of_users = waiting[: self._max_batch], waiting[self._max_batch :], None
        if not batch:
            return
        self._is_in_flight, self._is_prompt = True, len(batch) == 1
        if self._is_prompt:
            self._prompt.begin()
        self._executor.submit(self._run, [item for _, item, _ in batch], [answer for *_, answer in batch])

    def _run(self, items: list[Item], answers: "list[asyncio.Future[Result]]") -> None:
        """Process a batch, in the thread. asyncio's own future would cost the callers one more turn of the loop."""
        try:
            outcomes: Sequence[Result | BaseException] = self._work(items)
        except BaseException as problem:  # noqa: BLE001 (it is raised to the callers)
            outcomes = [problem] * len(items)
        self._loop.call_soon_threadsafe(self._finish, answers, outcomes)

    def _count(self, user: Hashable) -> None:
        """Count one more item of a user. Raises TooManyWaiting where half of the places are that user's."""
        if self._of_users is None:
            self._of_users = Counter(user for user, _, _ in self._waiting)
        if user is not None and 2 * self._of_users[user] >= self.max_waiting:
            raise TooManyWaiting(retry_after=RETRY_SECONDS)
        self._of_users[user] += 1

    def _finish(self, answers: "list[asyncio.Future[Result]]", outcomes: Sequence[Result | BaseException]) -> None:
        self._is_in_flight = False
        if self._is_prompt:
            self._prompt.end()
        self._start()  # first, so that the thread is busy while the outcomes are delivered
        if len(outcomes) != len(answers):
            outcomes = [RuntimeError(f"{len(outcomes)} outcomes for {len(answers)} items") for _ in answers]
        for answer, outcome in zip(answers, outcomes, strict=True):
            if answer.done():
                continue
            if isinstance(outcome, BaseException):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)
        if self._all_done is not None and not self._is_in_flight:
            self._all_done.set_result(None)
