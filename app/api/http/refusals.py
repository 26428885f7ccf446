"""Remembers refused logins, so that a flood of them takes no thread and no query."""

import hashlib
import math
import time
from collections.abc import Callable

from app.errors import TooManyRequests

MAX_KEPT = 10_000


class Refusals:
    """The logins that have to wait, by address block and name. Nothing ends a wait early, so none is asked for again.

    For one event loop. Names are kept as digests, because users type passwords as names.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[tuple[str, bytes], tuple[float, str]] = {}

    def check(self, block: str, name: str) -> None:
        """Raise TooManyRequests if this login was refused and its wait is not over."""
        until, detail = self._until.get(_key(block, name), (0.0, ""))
        left = until - self._clock()
        if left > 0:
            raise TooManyRequests(detail, retry_after=math.ceil(left))

    def note(self, block: str, name: str, refusal: TooManyRequests) -> None:
        """Remember a refusal."""
        key = _key(block, name)
        self._until.pop(key, None)
        self._until[key] = (self._clock() + (refusal.retry_after or 0), refusal.detail)
        while len(self._until) > MAX_KEPT:
            del self._until[next(iter(self._until))]

    def clear(self) -> None:
        self._until.clear()


def _key(block: str, name: str) -> tuple[str, bytes]:
    return block, hashlib.sha256(name.encode(errors="surrogatepass")).digest()
