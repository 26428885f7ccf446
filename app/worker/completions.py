"""Successes, written together by the worker's parent process.

A child hands its attempt's success over and is free for the next message, where it would wait for a second commit. The
parent writes what has come in one statement: at once after a pause, else every few milliseconds. What has not been
handed over, or could not be, the child writes itself: failures, large results, and whatever somebody may look at before
the child goes on (`SQLAlchemyTask`).

What was handed over is held until it is written: the agent does not take it for an attempt that nobody runs.
"""

import logging
import selectors
import socket
import struct
import threading
import time
from collections.abc import Sequence
from uuid import UUID

from billiard.exceptions import SoftTimeLimitExceeded
from celery import signals
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core.config import get_settings
from app.db.direct import direct
from app.db.outage import first_line, is_outage, is_passing
from app.live import hints
from app.services import attempts, successes
from app.services.successes import Success
from app.worker.delivery import DELIVERY_LEASES
from app.worker.error_text import describe

logger = logging.getLogger(__name__)

PACE_SECONDS = 0.02
MAX_BATCH = 128
# Of one message between the processes; a larger result is the child's own to write.
MAX_BYTES = 32 * 1024
# A parent that does not read is not waited for.
SEND_SECONDS = 1.0
IDLE_SECONDS = 0.5
# After an outage, and for a row that somebody else has locked.
PAUSE_SECONDS = 0.5

_HEAD = struct.Struct("=16sq?")  # task, attempt, whether a result follows

Held = tuple[UUID, int]


class Completions:
    """The way from the children to the statement. Made once, before the first fork; `start` is for the parent."""

    def __init__(self) -> None:
        self._pair: tuple[socket.socket, socket.socket] | None = None
        self._lock = threading.Lock()  # of the inbox and of what waits
        self._waiting: dict[Held, tuple[Success, float]] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Before a fork: the children send where the parent reads."""
        if self._pair is None:
            inbox, outbox = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            inbox.setblocking(False)
            outbox.settimeout(SEND_SECONDS)
            self._pair = inbox, outbox

    # -- the child's side --------------------------------------------------------------------------------------------

    def become_child(self) -> None:
        """Without the reading end here, a parent that is gone is an error at once."""
        if self._pair is not None:
            self._pair[0].close()

    def hand_over(self, success: Success) -> bool:
        """Whether the parent has it now; else it is the caller's to write."""
        if self._pair is None:
            return False
        result = b"" if success.result is None else success.result.encode()
        message = _HEAD.pack(success.task_id.bytes, success.attempt, success.result is not None) + result
        if len(message) > MAX_BYTES:
            return False
        try:
            self._pair[1].send(message)
        except (
            OSError,
            SoftTimeLimitExceeded,
        ):  # written twice, if it has gone out after all: the second finds nothing
            return False
        return True

    # -- the parent's side -------------------------------------------------------------------------------------------

    def start(self) -> None:
        if self._pair is None:
            return
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="completions", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Once the children are gone: returns when all is written, or none of it can be any more."""
        if self._pair is None:
            return
        if self._thread is not None:
            self._stopping.set()
            self._pair[1].send(b"")
            self._thread.join()
            self._thread = None
        for end in self._pair:
            end.close()
        self._pair = None

    def held(self) -> set[Held]:
        """What was handed over before this call and is not written yet."""
        with self._lock:
            if self._pair is not None:
                self._receive(self._pair[0])
            return set(self._waiting)

    def _run(self) -> None:
        assert self._pair is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._pair[0], selectors.EVENT_READ)
            while self.held() or not self._stopping.is_set():
                if not self._waiting:
                    selector.select(IDLE_SECONDS)
                begun = time.monotonic()
                try:
                    pause = self._write(self._batch())
                except Exception:
                    logger.exception("completions")  # this thread must go on: all ends go through it
                    pause = PAUSE_SECONDS
                    self._give_up_the_oldest()
                time.sleep(max(0.0, begun + pause - time.monotonic()))

    def _batch(self) -> list[Success]:
        self.held()
        with self._lock:
            return [success for success, _ in self._waiting.values()][:MAX_BATCH]

    def _receive(self, inbox: socket.socket) -> None:
        while True:
            try:
                message = inbox.recv(MAX_BYTES)
            except BlockingIOError:
                return
            if message:
                task, attempt, has_result = _HEAD.unpack_from(message)
                result = message[_HEAD.size :].decode() if has_result else None
                success = Success(UUID(bytes=task), attempt, result)
                self._waiting[success.task_id, attempt] = success, time.monotonic()

    def _write(self, batch: Sequence[Success]) -> float:
        """Returns for how many seconds to wait before the next one."""
        if not batch:
            return 0.0
        try:
            self._succeed(batch)
        except (DBAPIError, PoolTimeout) as error:
            if not is_outage(error):
                return self._write_one_by_one(batch)
            logger.warning("database not reachable, %d successes wait: %s", len(batch), first_line(error))
            self._give_up_the_oldest()
            return PAUSE_SECONDS
        return PACE_SECONDS

    def _succeed(self, batch: Sequence[Success]) -> None:
        with direct() as connection:
            held = successes.succeed_together(connection, batch)
        self._written(batch)
        hints.changed(*held)
        for success in batch:
            if success.task_id not in held:
                logger.warning(
                    "attempt %d of task %s no longer held it: nothing written", success.attempt, success.task_id
                )

    def _write_one_by_one(self, batch: Sequence[Success]) -> float:
        for success in batch:
            try:
                self._succeed_or_fail(success)
            except (DBAPIError, PoolTimeout) as error:
                logger.warning("the end of task %s could not be written yet: %s", success.task_id, first_line(error))
                if is_outage(error):
                    break
        self._give_up_the_oldest()
        return PACE_SECONDS

    def _succeed_or_fail(self, success: Success) -> None:
        try:
            self._succeed([success])
        except DBAPIError as error:
            if is_passing(error):
                raise
            # The database does not take this result, whoever asks.
            logger.exception("the result of task %s could not be stored", success.task_id)
            with direct() as connection:
                attempts.fail(connection, success.task_id, success.attempt, describe(error))
            self._written([success])
            hints.changed(success.task_id)

    def _written(self, batch: Sequence[Success]) -> None:
        with self._lock:
            for success in batch:
                self._waiting.pop((success.task_id, success.attempt), None)

    def _give_up_the_oldest(self) -> None:
        """The row says running; held by nobody any more, its attempt is lost for the agent."""
        oldest = time.monotonic() - get_settings().worker_lease_seconds * DELIVERY_LEASES
        with self._lock:
            given_up = [held for held, (_, since) in self._waiting.items() if since < oldest]
            for held in given_up:
                del self._waiting[held]
        for task_id, attempt in given_up:
            logger.error("the end of task %s could not be written: attempt %d is given up", task_id, attempt)


completions = Completions()

signals.worker_before_create_process.connect(lambda **_: completions.open(), weak=False)
signals.worker_process_init.connect(lambda **_: completions.become_child(), weak=False)
