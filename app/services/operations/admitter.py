"""Admits tasks to limits after a commit, off the path of whoever has committed: one background thread a process.

What comes while an admission is under way is done together. What is lost with the process, maintenance does.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from app.core.fork import PerProcess
from app.db.session import SessionLocal
from app.db.sql import limits
from app.services.operations import admission
from app.services.operations.admission import Freed
from app.services.operations.background import Background

# Between two rounds at most, while slots have tasks to claim that were admitted before: an admission costs some
# milliseconds. Less where the slots would have claimed more than this share of them by then.
PACE_SECONDS, CLAIMED_SHARE = 0.1, 0.5
FLUSH_SECONDS = 2.0

Attempt = tuple[UUID, int]


class _Room(NamedTuple):
    """A limit has room, or this key of it."""

    name: str
    key: str | None = None


class _Ended(NamedTuple):
    """The body of an attempt has ended, and its places are free."""

    attempt: Attempt


class _Rounds:
    """Admits in rounds; `looked_at` is when the last one began (monotonic seconds)."""

    def __init__(self) -> None:
        self._looked_at = 0.0

    def admit(self, things: set[_Room | _Ended]) -> float:
        looked_at, self._looked_at = self._looked_at, time.monotonic()
        ended = [each.attempt for each in things if isinstance(each, _Ended)]
        freed: Freed = {}
        for each in things:
            if isinstance(each, _Room):
                freed.setdefault(each.name, set()).update([] if each.key is None else [each.key])
        with SessionLocal() as db:
            if ended:
                with db.begin():
                    released = admission.release(db, limits.of_attempts(ended))
                for name, keys in released.items():
                    freed.setdefault(name, set()).update(keys)
            ahead = min((admission.admit(db, name, freed[name]) for name in sorted(freed)), default=0)
        ended_a_second = max(1, len(ended)) / (self._looked_at - looked_at)
        return min(PACE_SECONDS, CLAIMED_SHARE * ahead / ended_a_second)


def _make() -> Background[_Room | _Ended]:
    return Background("admitter", "admission to limits", _Rounds().admit)


_admitter = PerProcess(_make)


def admit_soon(freed: Mapping[str, Iterable[str]]) -> None:
    """Admit tasks to these limits, each with the keys of which places have become free. Never blocks, never raises."""
    if freed:
        _admitter().enqueue(_Room(name, key) for name, keys in freed.items() for key in [None, *keys])


def bodies_ended(ended: Sequence[Attempt]) -> None:
    """Free the places of these attempts, whose bodies have ended in this worker, and admit others.

    Never blocks, never raises. What is lost on the way, the worker's agent frees: no process runs them any more.
    """
    if ended:
        _admitter().enqueue(map(_Ended, ended))


def flush(seconds: float = FLUSH_SECONDS) -> bool:
    """Wait for at most `seconds` until all is done that was asked for; True when it is."""
    return _admitter().flush(seconds)
