"""The thread that does bulk deeds, in the process that leads maintenance. No pass of maintenance waits for it."""

import logging
import threading
import time
from collections.abc import Callable
from uuid import UUID

from sqlalchemy.orm import Session

from app.db.outage import first_line, is_outage, is_passing
from app.db.session import SessionLocal
from app.services.bulk import steps

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0
IDLE_SECONDS = 0.5
# After each batch, for this share of the time that it took, the database works for others alone.
REST = 0.5


class BulkRunner:
    """Takes steps as long as there are running deeds: in each round, one for each user who has any."""

    def __init__(self, is_leading: Callable[[], bool]) -> None:
        self._is_leading = is_leading
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Run in a thread of this process until `stop`."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="bulk-deeds", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop after the batch under way."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)
            self._thread = None

    def _run(self) -> None:
        while not self._stopping.is_set():
            has_more = False
            if self._is_leading():
                try:
                    with SessionLocal() as db:
                        has_more = self.round(db)
                except Exception as error:
                    if is_outage(error):
                        logger.warning("bulk: the database is not reachable: %s", first_line(error))
                    else:
                        logger.exception("bulk: cannot read the running deeds")
            if not has_more:
                self._stopping.wait(IDLE_SECONDS)

    def round(self, db: Session) -> bool:
        """Take one step for each user who has a running deed. Returns whether any has moved."""
        moved = False
        for deeds in steps.running(db).values():
            for deed_id in deeds:
                if self._stopping.is_set():
                    return False
                begun = time.monotonic()
                if self._step(db, deed_id):
                    moved = True
                    self._stopping.wait(REST * (time.monotonic() - begun))
                    break  # the user's next deed has its turn once this one has ended, or can do nothing
        return moved

    def _step(self, db: Session, deed_id: UUID) -> bool:
        try:
            return steps.step(db, deed_id)
        except Exception as error:
            if is_outage(error):
                raise
            if is_passing(error):
                logger.warning("bulk: a batch of deed %s is tried again: %s", deed_id, first_line(error))
            else:
                logger.exception("bulk: a batch of deed %s failed, and is tried again; its user can abort it", deed_id)
            return False
