"""Celery's `rate_limit` of tasks, for rows: memory that the processes of one worker share, made before they fork.

As Celery has it: for each worker, and one start at a time, each a period after the one before (a token bucket that
holds one). A process takes a token before it claims, leaves the names out that have none, and gives back what its claim
did not need. So rows of other tasks never wait for one of these.
"""

import math
import mmap
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

if sys.platform != "win32":  # where no pool forks
    import fcntl

_TIME = struct.Struct("=d")


class Token(NamedTuple):
    """When its name had one, and when it has the next one, which was written as this one was taken."""

    at: float
    next_at: float


@dataclass(frozen=True)
class Taken:
    """The tokens that a process holds for one claim; `missing` are the names that have none until `next_at`."""

    tokens: dict[str, Token] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()
    next_at: float = math.inf
    """Monotonic seconds."""


NOTHING = Taken()


class RateLimits:
    """`periods` are the seconds between two starts, by the name of the task."""

    def __init__(self, periods: Mapping[str, float]) -> None:
        self._periods = dict(periods)
        self._offsets = {name: place * _TIME.size for place, name in enumerate(self._periods)}
        self._times = mmap.mmap(-1, max(1, len(self._periods)) * _TIME.size)  # when each name has its next token
        # For the lock, as long as the worker lives.
        self._file = tempfile.TemporaryFile() if periods else None  # noqa: SIM115
        self._lock = threading.Lock()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._periods)

    def take(self) -> Taken:
        """Take a token of each name that has one now."""
        if not self._periods:
            return NOTHING
        tokens, missing, now = {}, {}, time.monotonic()
        with self._alone():
            for name, offset in self._offsets.items():
                (at,) = _TIME.unpack_from(self._times, offset)
                if now < at:
                    missing[name] = at
                    continue
                tokens[name] = Token(at, now + self._periods[name])
                _TIME.pack_into(self._times, offset, tokens[name].next_at)
        return Taken(tokens, frozenset(missing), min(missing.values(), default=math.inf))

    def give_back(self, taken: Taken, used: str | None) -> None:
        """Give back all but the token of this name, and but those after which another process has taken one.

        A claim may last longer than a period: that process has started a task, and the next start is a period later.
        """
        left = {name: token for name, token in taken.tokens.items() if name != used}
        if left:
            with self._alone():
                for name, token in left.items():
                    offset = self._offsets[name]
                    if _TIME.unpack_from(self._times, offset) == (token.next_at,):
                        _TIME.pack_into(self._times, offset, token.at)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold a record lock of POSIX, which ends with its process."""
        with self._lock:
            if sys.platform == "win32" or self._file is None:
                yield
                return
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)
