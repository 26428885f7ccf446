"""Successes, written together by the worker's parent process.

A child hands its attempt's success over and is free for the next message, where it would wait for a second commit. The
parent writes what has come in one statement: at once after a pause, else every few milliseconds. The child itself
writes failures, large results, and successes that code in its process may read at once
(`may_be_written_later` in `app/worker/child/record_runner.py`).

What was handed over is held until it is written: the agent does not take it for an attempt that no child runs.
"""

import logging
import selectors
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.exc import DBAPIError

from app.db.outage import first_line, is_outage, is_passing
from app.db.sql import prepared
from app.db.together import together
from app.messaging import hints
from app.services.execution import ends
from app.services.execution.ends import Success
from app.services.operations import admission
from app.services.workflows import dependents
from app.worker.shared.error_text import describe
from app.worker.shared.hand_over import HandOver
from app.worker.shared.slot_table import SlotTable

logger = logging.getLogger(__name__)

PACE_SECONDS = 0.02
MAX_BATCH = 128
# The children claim nothing while more than these could be written now: another batch is ready when one is written.
MOST_DUE = 2 * MAX_BATCH
# After a try in an outage, and for a row that another transaction has locked.
PAUSE_SECONDS = 0.5

Held = tuple[UUID, int]


@dataclass
class _Waiting:
    """Times are monotonic seconds."""

    success: Success
    since: float
    not_before: float = 0.0


class Completions:
    """In the parent: a thread that takes what comes through the hand-over and writes it.

    What could not be written for `give_up_seconds` is given up.
    """

    def __init__(self, source: HandOver, give_up_seconds: float, table: SlotTable) -> None:
        self._source = source
        self._table = table
        self._give_up_seconds = give_up_seconds
        self._lock = threading.Lock()  # of what waits, and of reading
        self._waiting: dict[Held, _Waiting] = {}
        self._is_away = False  # the database
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._source.inbox is not None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="completions", daemon=True)
            self._thread.start()

    def stop(self, seconds: float) -> None:
        """Wait until all is written or given up, for at most `seconds`, once the children are gone."""
        if self._thread is not None:
            self._stopping.set()
            self._source.wake()
            self._thread.join(seconds)
            self._thread = None
        left = self.held()
        with self._lock:
            self._source.close()
        if left:
            logger.error("%d results were not written before the worker ended: their tasks run again", len(left))

    def held(self) -> set[Held]:
        """Return what was handed over before this call and is not written yet."""
        with self._lock:
            come = list(self._source.received())
            for success in come:
                self._waiting[success.task_id, success.attempt] = _Waiting(success, time.monotonic())
            held = set(self._waiting)
            # Here, for the agent looks while a batch is being written: that can last.
            self._table.is_behind = len(self._due()) > MOST_DUE
        if come and threading.current_thread() is not self._thread:
            self._source.wake()
        return held

    def _run(self) -> None:
        assert self._source.inbox is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._source.inbox, selectors.EVENT_READ)
            while self.held() or not self._stopping.is_set():
                with self._lock:
                    batch = self._due()[:MAX_BATCH]
                if not batch:
                    selector.select(PAUSE_SECONDS)
                    continue
                begun = time.monotonic()
                pause = self._write(batch)
                time.sleep(max(0.0, begun + pause - time.monotonic()))

    def _due(self) -> list[Success]:
        """Return what could be written now. The caller has the lock."""
        now = time.monotonic()
        return [each.success for each in self._waiting.values() if each.not_before <= now]

    def _write(self, batch: Sequence[Success]) -> float:
        """Write a batch. Returns the seconds to wait before the next one."""
        try:
            together("successes", batch, self._succeed, self._settle)
        except Exception as error:  # noqa: BLE001 (an outage, for `_settle` handles what is wrong with one of them)
            return self._wait(error)
        self._is_away = False
        # The pool children may wait for the next one; so does a chain, whose tasks end one at a time.
        is_urgent = len(batch) == MAX_BATCH or (len(batch) == 1 and batch[0].has_children)
        return 0.0 if is_urgent else PACE_SECONDS

    def _wait(self, error: Exception) -> float:
        """Return the seconds to wait: none at first, as the connection may have ended within the statement."""
        again, self._is_away = self._is_away, True
        logger.warning("database not reachable, %d successes wait: %s", len(self._waiting), first_line(error))
        self._give_up_the_oldest()
        return PAUSE_SECONDS if again else 0.0

    def _succeed(self, batch: Sequence[Success]) -> None:
        with prepared.prepared_connection() as connection:
            held = ends.end_successes(connection, batch)
        self._written(batch, held)
        for success in batch:
            if success.task_id not in held:
                logger.warning(
                    "attempt %d of task %s no longer held it: nothing written", success.attempt, success.task_id
                )

    def _settle(self, success: Success, error: Exception) -> None:
        """Fail a task whose result the database refuses whenever it is written. Postpone what may be written later."""
        try:
            if isinstance(error, DBAPIError) and not is_passing(error):
                self._fail(success, error)
                return
        except Exception as problem:
            if is_outage(problem):
                raise
            error = problem
        if is_passing(error):
            logger.warning("the end of task %s waits: %s", success.task_id, first_line(error))
        else:
            logger.error("the end of task %s could not be written", success.task_id, exc_info=error)
        # The others are written together again meanwhile.
        self._waiting[success.task_id, success.attempt].not_before = time.monotonic() + PAUSE_SECONDS
        self._give_up_the_oldest()

    def _fail(self, success: Success, error: Exception) -> None:
        logger.error("the result of task %s could not be stored", success.task_id, exc_info=error)
        with prepared.prepared_connection() as connection:
            ending = ends.failed(describe(error))
            ends.end_attempt(connection, success.task_id, success.attempt, ending, success.begun_after)
        self._written([success], [success.task_id])

    def _written(self, batch: Sequence[Success], changed: Collection[UUID]) -> None:
        """Forget these successes, and have done what follows their ends. `changed` are the tasks that they ended."""
        with self._lock:
            for success in batch:
                self._waiting.pop((success.task_id, success.attempt), None)
        hints.changed(*changed)
        admission.bodies_ended([success[:2] for success in batch if success.is_limited])
        dependents.release_children([success.task_id for success in batch if success.has_children])

    def _give_up_the_oldest(self) -> None:
        """Drop the oldest: their rows say running, so the agent takes their attempts for lost."""
        oldest = time.monotonic() - self._give_up_seconds
        with self._lock:
            given_up = [held for held, each in self._waiting.items() if each.since < oldest]
            for held in given_up:
                del self._waiting[held]
        for task_id, attempt in given_up:
            logger.error("the end of task %s could not be written: attempt %d is given up", task_id, attempt)
