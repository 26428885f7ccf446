"""Celery's beat with its memory in the database: any number of beats may run, and each period fires once.

The database's clock says what is due, and the beat that moves the entry's row sends it. One that could not send moves
the row back. One that is told to stop after it has moved a row sends that entry first. Celery's own schedule file is
written as ever and not relied on. `start_beside_beat` begins what a beat process runs beside its schedule.
"""

import gc
import logging
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

from celery.beat import PersistentScheduler, SchedulingError, Service
from celery.schedules import schedstate
from sqlalchemy.exc import SQLAlchemyError

from app.beat import periods
from app.core.config import get_settings, warn_of_settings
from app.db.outage import first_line
from app.db.session import SessionLocal, end_idle_transactions
from app.maintenance.loop import Maintenance
from app.messaging.hints import hint_sender

logger = logging.getLogger(__name__)

# After an outage of database or broker, and when another beat was quicker.
RETRY_SECONDS = 5.0


@dataclass(frozen=True)
class DatabaseClock:
    """The database's time: this machine's, plus the difference of a moment ago. Celery pickles it."""

    ahead: timedelta

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class OncePerPeriod(PersistentScheduler):
    """`beat_scheduler` of the application."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # What each entry's row said when it was taken, and what it said before.
        self._taken: dict[str, tuple[datetime, datetime]] = {}
        self._not_before = 0.0
        self._signals = HeldSignals()
        self.at_close: list[Callable[[], None]] = []
        super().__init__(*args, **kwargs)

    def install_default_entries(self, data: Any) -> None:
        """Celery clears its result backend each night. Without one, workers would drop that task's message."""
        if self.app.conf.result_backend:
            super().install_default_entries(data)

    def populate_heap(self, *args: Any, **kwargs: Any) -> None:
        """Do as Celery, after a look at what has fired while this beat was away."""
        for entry in self.schedule.values():
            self._remember(entry)
        super().populate_heap(*args, **kwargs)

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        """Do as Celery. A signal to stop waits from the moment an entry is taken until it is sent or given back."""
        try:
            return super().tick(*args, **kwargs)
        finally:
            self._signals.release()

    def close(self) -> None:
        """Do as Celery, which closes it as beat stops, and call what `at_close` has."""
        try:
            super().close()
        finally:  # its file may be on a full disk
            while self.at_close:
                self.at_close.pop()()

    def is_due(self, entry: Any) -> Any:
        """Return whether this process has to send the entry now."""
        wait = self._not_before - time.monotonic()
        if wait > 0 or not self._remember(entry):
            return schedstate(is_due=False, next=max(wait, RETRY_SECONDS))
        state = entry.is_due()
        if not state.is_due:
            return state
        fired_at = entry.last_run_at
        if not self._connected():
            return schedstate(is_due=False, next=RETRY_SECONDS)
        self._signals.hold()
        try:
            with SessionLocal() as db:
                taken_at = periods.take(db, entry.name, fired_at)
        except SQLAlchemyError as error:
            logger.warning("beat: the database is not reachable: %s", first_line(error))
            taken_at = None
        if taken_at is None:
            return schedstate(is_due=False, next=RETRY_SECONDS)
        self._taken[entry.name] = taken_at, fired_at
        return state

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send it; an entry that cannot be sent is due again, for every beat."""
        logger.info("beat: sending %s (%s)", entry.name, entry.task)
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            logger.warning("beat: %s not sent, it stays due: %s", entry.name, first_line(error))
            self._give_back(entry)

    def _connected(self) -> bool:
        """Return whether the broker can be used.

        Celery waits without end for the first connection. It is made here, where a signal still stops this beat.
        """
        try:
            _ = self.producer
        except Exception as error:  # noqa: BLE001 (of whichever transport)
            logger.warning("beat: the broker cannot be used: %s", first_line(error))
            return False
        return True

    def _give_back(self, entry: Any) -> None:
        try:
            with SessionLocal() as db:
                periods.give_back(db, entry.name, *self._taken[entry.name])
        except SQLAlchemyError:
            logger.exception("beat: %s has missed a period: neither broker nor database is reachable", entry.name)
        self._not_before = time.monotonic() + RETRY_SECONDS
        self.populate_heap()  # it was put off by a period when it was taken

    def _remember(self, entry: Any) -> bool:
        """Have the entry count from what the database says, by the database's clock; False without a database."""
        try:
            with SessionLocal() as db:
                entry.last_run_at, now = periods.last_fired(db, entry.name)
        except SQLAlchemyError as error:
            logger.warning("beat: the database is not reachable: %s", first_line(error))
            return False
        entry.schedule.nowfun = DatabaseClock(now - datetime.now(UTC))
        return True


# -- Holds SIGTERM and SIGINT back until what has begun is done --------------------------------------------------------
# Python runs their handlers in the main thread alone, so nothing is held in another one. A signal mask would not do:
# another thread would take the signal, and the handler would interrupt the main thread all the same.

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class HeldSignals:
    """Delays SIGTERM and SIGINT of this process between `hold` and `release`."""

    def __init__(self) -> None:
        self._handlers: dict[signal.Signals, Any] = {}
        self._arrived: list[int] = []

    def hold(self) -> None:
        """Note what arrives from now on, until `release`."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._handlers[number] = signal.signal(number, self._note)

    def release(self) -> None:
        """Restore the handlers, and raise the first signal that has arrived meanwhile."""
        handlers, self._handlers = self._handlers, {}
        for number in reversed(handlers):  # SIGTERM last: the handler of one that arrives now may raise
            signal.signal(number, handlers[number])
        arrived, self._arrived = self._arrived, []
        if arrived:
            signal.raise_signal(arrived[0])

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._arrived.append(number)


# -- What a beat process runs beside its schedule ----------------------------------------------------------------------


def start_beside_beat(beat: Service) -> None:
    """Start maintenance, which leads from here, and the sending of hints, in threads that end with the process.

    Maintenance is stopped as the beat stops, so that another process leads at once.
    """
    settings = get_settings()
    warn_of_settings(settings)
    end_idle_transactions()
    # What was imported stays: where this process leads, each full collection would hold maintenance up by 100 ms.
    gc.collect()
    gc.freeze()
    maintenance = Maintenance(settings, as_beat=True)
    maintenance.start()
    hint_sender().start()
    # Last: a signal would interrupt the start of a thread above, and `stop` starts one.
    if isinstance(beat.scheduler, OncePerPeriod):
        beat.scheduler.at_close.append(maintenance.stop)
