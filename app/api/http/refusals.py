"""Remembers refused logins, so that a flood of them takes no thread and no query."""

import hashlib
import math
import time
from collections.abc import Callable

from app.errors import TooManyRequests

MAX_KEPT = 10_000
# A wait that is longer is asked for again: a reset of the password ends it, which the other processes do not hear of.
LONGEST_SECONDS = 10


class Refusals:
    """The logins that have to wait, by address block and name, for LONGEST_SECONDS at most.

    For one event loop. Names are kept as digests, because users type passwords as names.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Until when it is remembered and until when it waits, and the refusal's detail.
        self._known: dict[tuple[str, bytes], tuple[float, float, str]] = {}

    def check(self, block: str, name: str) -> None:
        """Raise TooManyRequests if this login was refused and its wait is not over."""
        forgotten_at, until, detail = self._known.get(_key(block, name), (0.0, 0.0, ""))
        now = self._clock()
        if now < forgotten_at:
            raise TooManyRequests(detail, retry_after=math.ceil(until - now))

    def note(self, block: str, name: str, refusal: TooManyRequests) -> None:
        """Remember a refusal."""
        key, now, wait = _key(block, name), self._clock(), refusal.retry_after or 0
        self._known.pop(key, None)
        self._known[key] = (now + min(wait, LONGEST_SECONDS), now + wait, refusal.detail)
        while len(self._known) > MAX_KEPT:
            del self._known[next(iter(self._known))]

    def clear(self) -> None:
        self._known.clear()


def _key(block: str, name: str) -> tuple[str, bytes]:
    return block, hashlib.sha256(name.encode(errors="surrogatepass")).digest()
