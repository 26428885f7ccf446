"""Group commit for one event loop: what is asked for at the same moment is done together, by one call in one thread.

While one batch is in flight the next one forms. There is no timer: a lone caller waits for nobody. Each caller gets a
result of its own, or an exception of its own.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from app.errors import Overloaded

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_BATCH = 128
# At a thousand requests a second these are answered within a second: whoever comes later had better come back.
MAX_WAITING = 1024
RETRY_SECONDS = 1


class Batcher(Generic[Item, Result]):
    """`work` takes the items of a batch and returns their outcomes in order; an exception is raised to its caller.

    What `work` itself raises is raised to every caller of that batch, and concerns no other one.
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
        self._max_batch, self._max_waiting = max_batch, max_waiting
        self._loop = asyncio.get_running_loop()
        # Its own thread: neither slow endpoints in the common pool nor other batchers hold it up.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._is_due = self._is_closed = False
        self._in_flight: asyncio.Future[Sequence[Result | Exception]] | None = None

    async def submit(self, item: Item) -> Result:
        """The outcome for this item. Raises Overloaded, and does nothing, when too many wait already.

        A caller that is cancelled is taken out of the queue; what is in flight goes on without it.
        """
        if self._is_closed or len(self._waiting) >= self._max_waiting:
            raise Overloaded(retry_after=RETRY_SECONDS)
        answer: asyncio.Future[Result] = self._loop.create_future()
        self._waiting.append((item, answer))
        if self._in_flight is None and not self._is_due:
            # Not at once: whoever has arrived in the same turn of the loop comes along.
            self._is_due = True
            self._loop.call_soon(self._start)
        return await answer

    async def close(self) -> None:
        """Take nothing more, and return when all that was taken is answered."""
        self._is_closed = True
        while self._in_flight is not None or self._waiting:
            if self._in_flight is None:
                self._start()
            else:
                await asyncio.wait([self._in_flight])
                await asyncio.sleep(0)  # `_finish` runs
        self._executor.shutdown()

    def _start(self) -> None:
        self._is_due = False
        if self._in_flight is not None:
            return
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < self._max_batch:
            item, answer = self._waiting.popleft()
            if not answer.done():  # cancelled meanwhile
                batch.append((item, answer))
        if not batch:
            return
        self._in_flight = self._loop.run_in_executor(self._executor, self._work, [item for item, _ in batch])
        self._in_flight.add_done_callback(lambda done: self._finish([answer for _, answer in batch], done))

    def _finish(
        self, answers: list["asyncio.Future[Result]"], done: "asyncio.Future[Sequence[Result | Exception]]"
    ) -> None:
        self._in_flight = None
        self._start()  # first, so that the thread works while these are answered
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
