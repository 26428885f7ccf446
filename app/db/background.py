"""Work that follows a commit, off the path of whoever has committed: one background thread for each kind of it.

The thread starts at the first of it, and ends when nothing has come for IDLE_SECONDS. What it fails on is lost, and
something else has to find it, such as maintenance. What comes later is done, also where an error has ended the thread.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from app.core.task_bodies import ServiceThread
from app.db.outage import first_line, is_passing

T = TypeVar("T")

logger = logging.getLogger(__name__)

IDLE_SECONDS = 30.0


class Background(Generic[T]):
    """What there is to do, and the thread that does it.

    `do` gets all that has come while it was busy, in that order, and how often; it returns for how many seconds the
    next call is to wait. `close` lets go what `do` keeps open, as the thread ends. `lost` is the line of the log about
    what `do` has failed on.
    """

    def __init__(
        self, name: str, lost: str, do: Callable[[Counter[T]], float], close: Callable[[], None] = lambda: None
    ) -> None:
        self._lost, self._do, self._close = lost, do, close
        self._things = Counter[T]()
        self._changed = threading.Condition()
        self._thread = ServiceThread(self._run, name)
        self._is_busy = self._waits = False

    def enqueue(self, things: Iterable[T]) -> None:
        """Have these done. Never blocks."""
        with self._changed:
            self._things.update(things)
            if not self._waits:  # most often it does, and to find a thread among all costs as much as the rest
                self._thread.start()
            self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until all is done or given up, for at most `seconds`; True when it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._things or self._is_busy), seconds)

    def _run(self) -> None:
        while things := self._next():
            try:
                if pause := self._do(things):
                    time.sleep(pause)
            except BaseException as error:  # SystemExit would end the thread without a word
                if is_passing(error):
                    logger.warning("%s: %s", self._lost, first_line(error))
                else:
                    logger.exception(self._lost)

    def _next(self) -> Counter[T]:
        """Return what there is to do; nothing when nothing has come for a while: then the thread ends."""
        with self._changed:
            self._is_busy, self._waits = False, True
            self._changed.notify_all()
            self._changed.wait_for(lambda: bool(self._things), IDLE_SECONDS)
            self._waits = False
            things, self._things = self._things, Counter()
            self._is_busy = bool(things)
            if not things:
                self._close()
                self._thread.leave()
            return things
