"""The maintenance thread: stand by, lead, make one pass after another."""

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.core.ids import new_id
from app.db.outage import first_line, is_outage
from app.db.session import SessionLocal
from app.maintenance import lease, limits, passes, running_quota
from app.maintenance.bulk import BulkRunner
from app.maintenance.lease import Lease
from app.messaging.sending import BrokerLink
from app.messaging.wakeups import wake
from app.models.task_count import FORGET_BATCH
from app.services.bulk import steps
from app.services.operations import error_adding, stats_adding
from app.services.tasks import task_counts

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0
STANDBY_SECONDS = 1.0
# For the batches of one kind within one pass, at most, and at least one batch.
BATCHES_SECONDS = 0.2
# Not at every pass.
TRIM_SECONDS = 2.0
TIDY_SECONDS = 60.0
# Between two admissions within one pass, at least.
ADMISSION_SECONDS = 0.02


class Maintenance:
    """One in each worker and beat process. Any number may run; the lease says which one works."""

    def __init__(self, settings: Settings) -> None:
        self.id = new_id()
        self._settings = settings
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._link = BrokerLink()
        self._next_trim = 0.0
        self._next_tidy = 0.0
        self._leading = False
        self._next_start = math.inf
        self._bulk = BulkRunner(lambda: self._leading)

    def start(self) -> None:
        """Run in a thread of this process until `stop`."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="maintenance", daemon=True)
            self._thread.start()
            self._bulk.start()

    def stop(self) -> None:
        """Stop after the pass under way and let another process lead at once."""
        if self._thread is None:
            return
        self._stopping.set()
        self._bulk.stop()
        self._thread.join(STOP_SECONDS)
        self._thread = None
        self.close()
        # The lease runs out by itself: a database that has fallen silent must not keep the process from ending.
        last = threading.Thread(target=self._release, name="maintenance-release", daemon=True)
        last.start()
        last.join(STOP_SECONDS)

    def close(self) -> None:
        """Close the connection to the broker; after a pass of `run_once` without the thread."""
        self._link.close()

    def _release(self) -> None:
        with suppress(SQLAlchemyError), SessionLocal() as db:
            lease.release(db, self.id)

    def _run(self) -> None:
        while not self._stopping.is_set():
            led = False
            self._next_start = math.inf
            try:
                with SessionLocal() as db:
                    led = self.run_once(db)
            except Exception as error:
                if is_outage(error):
                    logger.warning("maintenance: the database is not reachable: %s", first_line(error))
                else:
                    logger.exception("maintenance: a pass failed")
            self._wait(self._settings.maintenance_interval_seconds if led else STANDBY_SECONDS)

    def _wait(self, seconds: float) -> None:
        """Until the next pass. Meanwhile admit tasks to limits, whenever a rate allows the next start."""
        until = time.monotonic() + seconds
        while not self._stopping.wait(max(0.0, min(until, self._next_start) - time.monotonic())):
            if time.monotonic() >= until:
                return
            self._next_start = math.inf
            try:
                with SessionLocal() as db:
                    self._start_after(limits.admit_all(db))
            except Exception as error:
                if is_outage(error):
                    return
                logger.exception("maintenance: admission to limits failed")

    def _start_after(self, seconds: float | None) -> None:
        """Note when a rate allows the next start, if tasks wait for it."""
        self._next_start = math.inf if seconds is None else time.monotonic() + max(seconds, ADMISSION_SECONDS)

    def run_once(self, db: Session) -> bool:
        """One pass, if this process leads; whether it does."""
        held = lease.acquire(db, self.id, self._settings)
        if (held is not None) != self._leading:
            self._leading = held is not None
            logger.info("maintenance %s %s", self.id, "leads" if held else "stands by")
        if held is None:
            return False
        self._settle(db, held)
        self._wake(db, held)
        self._fold(db)
        self._trim(db)
        if time.monotonic() >= self._next_tidy:
            self._tidy(db)
        return True

    def _settle(self, db: Session, held: Lease) -> None:
        """The passes that need the database alone."""
        passes.rescue_lost(db, silent_for=self._silence(held))
        passes.revoke_expired(db)
        passes.delete_requested(db)

    def _silence(self, held: Lease) -> timedelta | None:
        """After so long without a heartbeat a worker is lost; None while none counts as lost for its silence."""
        return timedelta(seconds=self._settings.worker_lease_seconds) if held.may_rescue else None

    def _wake(self, db: Session, held: Lease) -> None:
        """Place what has become due, admit what has a limit, and wake a slot for each queue with ready rows.

        Whatever is lost on the way (a wake-up, the broker's content, a process between commit and wake-up) costs one
        pass. Without the broker the rows stay ready, and the next pass tries again.
        """
        quota = self._settings.quota_running_tasks
        running_quota.hold(db, quota)
        passes.place_due(db)
        self._start_after(limits.settle(db, quota, silent_for=self._silence(held)))
        limits.hold_unknown(db)
        ready = passes.ready_queues(db)
        if not ready:
            return
        try:
            to = self._link.producer()
            for queue in ready:
                wake(to, queue)
        except Exception as error:  # noqa: BLE001 (redis-py's and kombu's errors share no base; all are logged)
            logger.warning("maintenance: broker not reachable: %s", first_line(error))
            self._link.close()

    def _fold(self, db: Session) -> None:
        """Add up what tasks have left behind, in batches. Counts are exact without; numbers by time and groups lag.

        What is left after BATCHES_SECONDS is for the next passes: no due task waits for it.
        """
        self._in_batches(db, task_counts.fold, task_counts.FOLD_BATCH)
        self._in_batches(db, stats_adding.add_submissions, stats_adding.FOLD_BATCH)

    def _tidy(self, db: Session) -> None:
        """Delete what is of no use any more. Where more of it may be left, the next pass goes on."""
        self._next_tidy = time.monotonic() + TIDY_SECONDS
        passes.forget_workers(db)
        passes.forget_claimed_turns(db)
        left = [
            self._in_batches(db, task_counts.forget_zeros, FORGET_BATCH),
            self._in_batches(db, steps.forget_finished, steps.FORGET_BATCH),
            self._in_batches(db, stats_adding.forget, stats_adding.FORGET_BATCH),
            self._in_batches(db, error_adding.forget, error_adding.FORGET_BATCH),
        ]
        if any(left):
            self._next_tidy = 0.0

    def _in_batches(self, db: Session, do: Callable[[Session], int], batch: int) -> bool:
        """Do one batch after another until one is not full, for BATCHES_SECONDS. Returns whether more may be left."""
        until = time.monotonic() + BATCHES_SECONDS
        while do(db) >= batch:
            if time.monotonic() >= until or self._stopping.is_set():
                return True
        return False

    def _trim(self, db: Session) -> None:
        """Delete what users keep beyond RETENTION_BYTES: one batch of each, and the next at the next pass."""
        limit = self._settings.retention_bytes
        if limit and time.monotonic() >= self._next_trim:
            more = passes.trim_stored(db, limit)
            self._next_trim = time.monotonic() + (0 if more else TRIM_SECONDS)
