"""Work that follows a commit, off the path of whoever has committed: one background thread for each kind of it."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from app.core.task_bodies import ServiceThread
from app.db.outage import first_line, is_passing

T = TypeVar("T")

logger = logging.getLogger(__name__)

IDLE_SECONDS = 30.0


class Background(Generic[T]):
    """What there is to do, each thing once, and the thread that does it, started at the first of it.

    `do` gets all that has come while it was busy, and returns for how many seconds the next call may wait. What it
    fails on is lost: maintenance has to find it. `what` names it in the log.
    """

    def __init__(self, name: str, what: str, do: Callable[[set[T]], float]) -> None:
        self._what, self._do = what, do
        self._things = set[T]()
        self._changed = threading.Condition()
        self._thread = ServiceThread(self._run, name)
        self._is_busy = False

    def enqueue(self, things: Iterable[T]) -> None:
        """Have these done. Never blocks."""
        with self._changed:
            self._things.update(things)
            self._thread.start()
            self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until all is done, for at most `seconds`; True when it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._things or self._is_busy), seconds)

    def _run(self) -> None:
        while (things := self._next()) is not None:
            try:
                time.sleep(self._do(things))
            except BaseException as error:  # SystemExit would end the thread without a word
                if is_passing(error):
                    logger.warning("%s is left to maintenance: %s", self._what, first_line(error))
                else:
                    logger.exception("%s is left to maintenance", self._what)

    def _next(self) -> set[T] | None:
        """What there is to do; None when nothing has come for a while: then the thread ends."""
        with self._changed:
            self._is_busy = False
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: bool(self._things), IDLE_SECONDS):
                self._thread.leave()
                return None
            things, self._things = self._things, set()
            self._is_busy = True
            return things
