"""Lets requests that hash a password come by turns, a few at a time.

Argon2id takes about 30 ms of a core and 19 MiB. Without a bound of their own, logins would take all threads and all
cores of a process. A request that waits for its turn holds no thread and no connection to the database.
"""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from app.errors import Overloaded

# One core of a process: the event loop and other requests have the others. More logins need more processes.
AT_ONCE = 1
# Above these, callers would wait too long and get Overloaded.
MAX_WAITING, MAX_WAITING_OF_ONE = 2000, 300
RETRY_SECONDS = 5


class PasswordTurns:
    """Admits `at_once` callers at a time. Those who wait are admitted by turns of their keys, within a key in order.

    For one event loop.
    """

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = at_once
        # The keys in the order of their turns. No key has an empty queue.
        self._waiting: dict[str, deque[anyio.Event]] = {}

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """Wait for a turn and hold it. Raises Overloaded if too many callers wait."""
        await self._take(key)
        try:
            yield
        finally:
            self._pass_on()

    async def _take(self, key: str) -> None:
        if self._free:
            self._free -= 1
            return
        queue = self._waiting.get(key, deque())
        if len(queue) >= MAX_WAITING_OF_ONE or sum(map(len, self._waiting.values())) >= MAX_WAITING:
            raise Overloaded(retry_after=RETRY_SECONDS)
        admitted = anyio.Event()
        queue.append(admitted)
        self._waiting[key] = queue
        try:
            await admitted.wait()
        except BaseException:  # cancelled: the turn that was given meanwhile goes to the next one
            if admitted.is_set():
                self._pass_on()
            else:
                queue.remove(admitted)
                if not queue:
                    del self._waiting[key]
            raise

    def _pass_on(self) -> None:
        if not self._waiting:
            self._free += 1
            return
        key = next(iter(self._waiting))
        queue = self._waiting.pop(key)
        queue.popleft().set()
        if queue:
            self._waiting[key] = queue  # behind the other keys
