"""What passwords may cost one process: they are hashed by turns, and refused logins are remembered.

Argon2id takes about 30 ms of a core and 19 MiB. Without a bound of their own, logins would take all threads and all
cores of a process. A request that waits for its turn holds no thread and no connection to the database.
"""

import hashlib
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

from app.core.fair_order import FairQueue
from app.errors import Overloaded, TooManyRequests

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
        self._waiting: FairQueue[str, anyio.Event] = FairQueue()

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
        if self._waiting.number_of(key) >= MAX_WAITING_OF_ONE or len(self._waiting) >= MAX_WAITING:
            raise Overloaded(retry_after=RETRY_SECONDS)
        admitted = anyio.Event()
        self._waiting.add(key, admitted)
        try:
            await admitted.wait()
        except BaseException:  # cancelled: the turn that was given meanwhile goes to the next one
            if admitted.is_set():
                self._pass_on()
            else:
                self._waiting.remove(key, admitted)
            raise

    def _pass_on(self) -> None:
        found = self._waiting.take()
        if found is None:
            self._free += 1
        else:
            found[1].set()


# -- Refused logins, which are remembered so that a flood of them takes no thread and no query -------------------------

MAX_REFUSALS = 10_000
# A wait that is longer is asked for again: a reset of the password ends it, which the other processes do not hear of.
LONGEST_REFUSAL_SECONDS = 10


class Refusals:
    """The logins that have to wait, by address block and name, for LONGEST_REFUSAL_SECONDS at most.

    For one event loop. Names are kept as digests, because users type passwords as names.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Until when it is remembered and until when it waits, and the refusal's detail.
        self._known: dict[tuple[str, bytes], tuple[float, float, str]] = {}

    def check(self, block: str, name: str) -> None:
        """Raise TooManyRequests if this login was refused and its wait is not over."""
        forgotten_at, until, detail = self._known.get(_key_of_login(block, name), (0.0, 0.0, ""))
        now = self._clock()
        if now < forgotten_at:
            raise TooManyRequests(detail, retry_after=math.ceil(until - now))

    def note(self, block: str, name: str, refusal: TooManyRequests) -> None:
        """Remember a refusal."""
        key, now, wait = _key_of_login(block, name), self._clock(), refusal.retry_after or 0
        self._known.pop(key, None)
        self._known[key] = (now + min(wait, LONGEST_REFUSAL_SECONDS), now + wait, refusal.detail)
        while len(self._known) > MAX_REFUSALS:
            del self._known[next(iter(self._known))]

    def clear(self) -> None:
        self._known.clear()


def _key_of_login(block: str, name: str) -> tuple[str, bytes]:
    return block, hashlib.sha256(name.encode(errors="surrogatepass")).digest()
