"""The maintenance thread: stand by, lead, make one pass after another."""

import logging
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.catalogue import catalogue
from app.core.config import Settings
from app.core.ids import new_id
from app.db.outage import first_line, is_outage
from app.db.session import SessionLocal
from app.maintenance import broker_epoch, lease, passes
from app.maintenance.lease import Lease
from app.maintenance.lost_messages import LostMessages, resend_overtaken
from app.messaging.application import celery_app
from app.messaging.due import BATCH, mark_dispatched, take_due
from app.messaging.routing import MESSAGE_PRIORITY
from app.messaging.sending import BrokerLink, send
from app.services.tasks import task_counts

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0
STANDBY_SECONDS = 1.0
# Not at every pass.
LOST_SECONDS = 2.0
FOLD_SECONDS = 2.0
TRIM_SECONDS = 2.0
TIDY_SECONDS = 60.0


class Maintenance:
    """One in each worker and beat process. Any number may run; the lease says which one works."""

    def __init__(self, settings: Settings) -> None:
        self.id = new_id()
        self._settings = settings
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._link = BrokerLink()
        self._lost_messages = LostMessages()
        self._next_lost = 0.0
        self._next_fold = 0.0
        self._next_trim = 0.0
        self._next_tidy = 0.0
        self._leading = False

    def start(self) -> None:
        """Run in a thread of this process until `stop`."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="maintenance", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop after the pass under way and let another process lead at once."""
        if self._thread is None:
            return
        self._stopping.set()
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
            try:
                with SessionLocal() as db:
                    led = self.run_once(db)
            except Exception as error:
                if is_outage(error):
                    logger.warning("maintenance: the database is not reachable: %s", first_line(error))
                else:
                    logger.exception("maintenance: a pass failed")
            self._stopping.wait(self._settings.maintenance_interval_seconds if led else STANDBY_SECONDS)

    def run_once(self, db: Session) -> bool:
        """One pass, if this process leads; whether it does."""
        held = lease.acquire(db, self.id, self._settings)
        if (held is not None) != self._leading:
            self._leading = held is not None
            logger.info("maintenance %s %s", self.id, "leads" if held else "stands by")
        if held is None:
            return False
        self._settle(db, held)
        self._dispatch(db, held)
        self._fold(db)
        self._trim(db)
        if time.monotonic() >= self._next_tidy:
            self._next_tidy = time.monotonic() + TIDY_SECONDS
            passes.forget_workers(db)
            task_counts.forget_zeros(db)
        return True

    def _settle(self, db: Session, held: Lease) -> None:
        """The passes that need the database alone."""
        silence = timedelta(seconds=self._settings.worker_lease_seconds)
        passes.rescue_lost(db, silent_for=silence if held.may_rescue else None)
        passes.revoke_expired(db)
        passes.delete_requested(db)

    def _dispatch(self, db: Session, held: Lease) -> None:
        """The passes that need the broker. Without it the rows stay due, and the next pass tries again."""
        look = time.monotonic() >= self._next_lost
        if not look and not passes.anything_due(db):
            return
        try:
            to = self._link.producer()
            if look:
                self._next_lost = time.monotonic() + LOST_SECONDS
                self._resend(db, held, to.connection)
            self._send_due(db, to)
        except SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001 (redis-py's and kombu's errors share no base; all are logged)
            logger.warning("maintenance: broker not reachable: %s", first_line(error))
            self._link.close()

    def _resend(self, db: Session, held: Lease, connection: Any) -> None:
        """Send again the rows whose messages the broker has lost: all of them, or those that were overtaken."""
        epoch = broker_epoch.epoch(connection)
        if epoch is None:
            return
        if epoch != held.broker_epoch:
            again = passes.resend_all(db)
            level = logging.WARNING if again else logging.INFO
            logger.log(level, "maintenance: the broker is new or came back empty, %d messages sent again", again)
            lease.keep_epoch(db, epoch)
            return
        for front in self._lost_messages.stuck(db, _queues()):
            line = front.line
            lost = resend_overtaken(
                db, front, broker_epoch.depth(connection, line.queue, MESSAGE_PRIORITY[line.priority])
            )
            if lost:
                logger.warning("maintenance: %d lost messages of %s (%s) sent again", lost, line.queue, line.priority)

    def _fold(self, db: Session) -> None:
        """Add up the counts' increments: they are exact without it, but each read would add up more."""
        if time.monotonic() < self._next_fold:
            return
        self._next_fold = time.monotonic() + FOLD_SECONDS
        while task_counts.fold(db) == task_counts.FOLD_BATCH and not self._stopping.is_set():
            pass

    def _trim(self, db: Session) -> None:
        """Delete what users keep beyond RETENTION_BYTES: one batch of each, and the next at the next pass."""
        limit = self._settings.retention_bytes
        if limit and time.monotonic() >= self._next_trim:
            more = passes.trim_stored(db, limit)
            self._next_trim = time.monotonic() + (0 if more else TRIM_SECONDS)

    def _send_due(self, db: Session, to: Any) -> None:
        grace = self._settings.dispatch_grace_seconds
        while dispatches := take_due(db, grace):
            send(to, dispatches)
            mark_dispatched(db, dispatches)
            if len(dispatches) < BATCH or self._stopping.is_set():
                return


def _queues() -> list[str]:
    """Those that are declared, and those that tasks name for themselves."""
    own = {kind.queue for kind in catalogue().values() if kind.queue}
    return sorted({*celery_app.amqp.queues, *own})
