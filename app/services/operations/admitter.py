"""Admits tasks to limits after a commit, off the path of whoever has committed: one background thread a process.

What comes while an admission is under way is done together. What is lost with the process, maintenance does.
"""

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from app.core.fork import PerProcess
from app.db.outage import first_line, is_passing
from app.db.session import SessionLocal
from app.db.sql import limits
from app.services.operations import admission
from app.services.operations.admission import Freed

logger = logging.getLogger(__name__)

IDLE_SECONDS = 30.0
# Between two rounds at most, while slots have tasks to claim that were admitted before: an admission costs some
# milliseconds. Less where the slots would have claimed more than this share of them by then.
PACE_SECONDS, CLAIMED_SHARE = 0.1, 0.5
FLUSH_SECONDS = 2.0

Attempt = tuple[UUID, int]


class Admitter:
    """What there is to do, and the thread that does it, started at the first of it."""

    def __init__(self) -> None:
        self._freed: Freed = {}
        self._ended: set[Attempt] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_busy = False
        self._looked_at = 0.0  # when the work of the round was taken (monotonic seconds)

    def enqueue(self, freed: Mapping[str, Iterable[str]], ended: Iterable[Attempt] = ()) -> None:
        """Free the places of attempts whose bodies have `ended`, and admit tasks to the limits. Never blocks."""
        with self._changed:
            self._ended.update(ended)
            for name, keys in freed.items():
                self._freed.setdefault(name, set()).update(keys)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="admitter", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until all is done, for at most `seconds`; True when it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._freed or self._ended or self._is_busy), seconds)

    def _run(self) -> None:
        while (work := self._next()) is not None:
            try:
                time.sleep(self._do(*work))
            except Exception as error:
                if is_passing(error):
                    logger.warning("admission to limits is left to maintenance: %s", first_line(error))
                else:
                    logger.exception("admission to limits is left to maintenance")

    def _next(self) -> tuple[Freed, list[Attempt]] | None:
        """What there is to do; None when nothing has come for a while: then the thread ends."""
        with self._changed:
            self._is_busy = False
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: bool(self._freed or self._ended), IDLE_SECONDS):
                self._thread = None
                return None
            freed, self._freed = self._freed, {}
            ended, self._ended = list(self._ended), set()
            self._is_busy = True
            return freed, ended

    def _do(self, freed: Freed, ended: Sequence[Attempt]) -> float:
        """Returns for how many seconds the next round may wait."""
        looked_at, self._looked_at = self._looked_at, time.monotonic()
        with SessionLocal() as db:
            if ended:
                with db.begin():
                    released = admission.release(db, limits.of_attempts(ended))
                for name, keys in released.items():
                    freed.setdefault(name, set()).update(keys)
            ahead = min((admission.admit(db, name, freed[name]) for name in sorted(freed)), default=0)
        ended_a_second = max(1, len(ended)) / (self._looked_at - looked_at)
        return min(PACE_SECONDS, CLAIMED_SHARE * ahead / ended_a_second)


_admitter = PerProcess(Admitter)


def admit_soon(freed: Mapping[str, Iterable[str]]) -> None:
    """Admit tasks to these limits, each with the keys of which places have become free. Never blocks, never raises."""
    if freed:
        _admitter().enqueue(freed)


def bodies_ended(ended: Sequence[Attempt]) -> None:
    """Free the places of these attempts, whose bodies have ended in this worker, and admit others.

    Never blocks, never raises. What is lost on the way, the worker's agent frees: no process runs them any more.
    """
    if ended:
        _admitter().enqueue({}, ended)


def flush(seconds: float = FLUSH_SECONDS) -> bool:
    """Wait for at most `seconds` until all is done that was asked for; True when it is."""
    return _admitter().flush(seconds)
