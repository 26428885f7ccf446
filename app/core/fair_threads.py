"""Threads that users share fairly: they take turns (`app/core/fair_order.py`).

Belongs to one event loop. Calls beyond the free threads wait; the next thread goes to the user whose turn it is, not to
the call that came first. A user who is alone holds all threads but one, which is free for the next user; beside others,
half of them. A *costly* call also waits until its user has no other costly call in progress, and until fewer than half
of the threads work on costly calls. So plain calls find a thread while costly ones run. Calls are costly when their
caller says so, and while the user's last call took COSTLY_SECONDS of a processor or more.

`PromptThreads` has a busy event loop give the interpreter to threads soon.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from app.core.fair_order import FairQueue
from app.errors import Overloaded, TooManyWaiting

Result = TypeVar("Result")

# Calls of all users that may wait.
MAX_WAITING = 1024
RETRY_SECONDS = 1
# How often a waiting call looks whether its caller is still there, and after which wait its rights are checked again.
LOOK_SECONDS = 1.0
# The event loop shares the interpreter's lock with the threads: several that compute hold it up.
COSTLY_SECONDS = 0.01


class CallerGone(Exception):
    """The caller left while its call waited for a thread. The call has not begun."""


class _User:
    """The calls of one user: how many run, plain and costly ones, and how many wait."""

    __slots__ = ("costly_running", "last_seconds", "name", "running", "waiting")

    def __init__(self, name: Hashable) -> None:
        self.name = name
        self.running = self.costly_running = self.waiting = 0
        self.last_seconds = 0.0

    def timed(self, function: Callable[[], Result]) -> Result:
        begun = time.thread_time()
        try:
            return function()
        finally:
            self.last_seconds = time.thread_time() - begun


async def _never() -> bool:
    return False


class FairThreads:
    """`threads` threads, and one more. At most `waiting_per_user` calls of one user wait for them."""

    def __init__(self, threads: int, waiting_per_user: int, max_waiting: int = MAX_WAITING) -> None:
        self.prompt = PromptThreads()
        self._limiter = CapacityLimiter(threads + 1)
        self._free = threads + 1
        self._alone, self._share = threads, max(1, (threads + 1) // 2)
        self._costly_free = max(1, threads // 2)
        self._waiting_per_user, self._max_waiting = waiting_per_user, max_waiting
        self._users: dict[Hashable, _User] = {}
        self._plain: FairQueue[_User, asyncio.Future[None]] = FairQueue()
        self._costly: FairQueue[_User, asyncio.Future[None]] = FairQueue()
        self._costly_is_next = False

    @property
    def waiting(self) -> int:
        """The number of calls that wait for a thread."""
        return len(self._plain) + len(self._costly)

    async def run(
        self,
        user: Hashable,
        function: Callable[[], Result],
        *,
        is_costly: bool = False,
        is_gone: Callable[[], Awaitable[bool]] = _never,
        check_again: Callable[[], Awaitable[None]] | None = None,
    ) -> Result:
        """Return what `function` returns, called in a thread, in the caller's context, when `user` has a turn.

        `is_gone` is asked each LOOK_SECONDS of the wait. `check_again` is called before the function if the wait was
        longer than that; its exceptions are passed on. Raises TooManyWaiting, Overloaded, CallerGone.
        """
        held = self._users.get(user)
        if held is None:
            held = self._users[user] = _User(user)
        is_costly = is_costly or held.last_seconds >= COSTLY_SECONDS
        waited_long = False
        if self._may_run(held, is_costly=is_costly):
            self._begin(held, is_costly=is_costly)
        else:
            waited_long = await self._wait(held, is_costly=is_costly, is_gone=is_gone)
        try:
            if waited_long and check_again is not None:
                await check_again()
            self.prompt.begin()
            try:
                return await to_thread.run_sync(held.timed, function, limiter=self._limiter)
            finally:
                self.prompt.end()
        finally:
            self._end(held, is_costly=is_costly)

    def _may_run(self, user: _User, *, is_costly: bool) -> bool:
        if not self._free or user.running >= (self._alone if len(self._users) == 1 else self._share):
            return False
        return not is_costly or (self._costly_free > 0 and not user.costly_running)

    def _begin(self, user: _User, *, is_costly: bool) -> None:
        self._free -= 1
        user.running += 1
        if is_costly:
            self._costly_free -= 1
            user.costly_running += 1

    def _end(self, user: _User, *, is_costly: bool) -> None:
        self._free += 1
        user.running -= 1
        if is_costly:
            self._costly_free += 1
            user.costly_running -= 1
        self._forget_if_idle(user)
        if self.waiting:
            self._begin_next()

    async def _wait(self, user: _User, *, is_costly: bool, is_gone: Callable[[], Awaitable[bool]]) -> bool:
        """Return when the call has its turn; True if that took LOOK_SECONDS or more."""
        if user.waiting >= self._waiting_per_user:
            raise TooManyWaiting(retry_after=RETRY_SECONDS)
        if self.waiting >= self._max_waiting:
            self._forget_if_idle(user)
            raise Overloaded(retry_after=RETRY_SECONDS)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        calls = self._costly if is_costly else self._plain
        calls.add(user, turn)
        user.waiting += 1
        waited_long = False
        try:
            while not turn.done():
                await asyncio.wait((turn,), timeout=LOOK_SECONDS)
                if not turn.done():
                    waited_long = True
                    if await is_gone():
                        raise CallerGone
        except BaseException:
            if turn.done():  # it was given a thread meanwhile
                self._end(user, is_costly=is_costly)
            else:
                calls.remove(user, turn)
                user.waiting -= 1
                self._forget_if_idle(user)
            raise
        return waited_long

    def _begin_next(self) -> None:
        """Begin waiting calls as long as there is a thread for one: plain and costly ones in alternation."""
        while self._free:
            first = self._costly_is_next
            self._costly_is_next = not first
            if not self._begin_one(is_costly=first) and not self._begin_one(is_costly=not first):
                return

    def _begin_one(self, *, is_costly: bool) -> bool:
        if is_costly and not self._costly_free:
            return False
        # Who may not have one has calls that run: there are no more of these users than threads.
        calls = self._costly if is_costly else self._plain
        found = calls.take(lambda user: self._may_run(user, is_costly=is_costly))
        if found is None:
            return False
        user, turn = found
        user.waiting -= 1
        self._begin(user, is_costly=is_costly)
        turn.set_result(None)
        return True

    def _forget_if_idle(self, user: _User) -> None:
        if user.running or user.waiting:
            return
        self._users.pop(user.name, None)


# -- How soon a thread gets the interpreter from a busy event loop (`sys.setswitchinterval`) ---------------------------
# A thread needs the interpreter again after each statement. A loop that is never idle gives it away after Python's
# 5 ms, or not even then if its turns are shorter: each system call of the loop lets the waiting thread begin its wait
# anew. One client that keeps the loop busy so takes the lists of others from 5 to 300 ms. A short interval for
# everything would make the groups of a busy process smaller, and a request dearer by a tenth. So it is short only while
# calls run that are not grouped, or are a group of one.

PROMPT_SECONDS = 0.0003


class PromptThreads:
    """Counts the calls in threads that should not wait long. For one event loop."""

    def __init__(self) -> None:
        self._calls = 0
        self._usual = sys.getswitchinterval()

    def begin(self) -> None:
        """Begin such a call. `end` must follow."""
        self._calls += 1
        if self._calls == 1:
            sys.setswitchinterval(PROMPT_SECONDS)

    def end(self) -> None:
        """End it: after the last one, the interval is what it was."""
        self._calls -= 1
        if not self._calls:
            sys.setswitchinterval(self._usual)
