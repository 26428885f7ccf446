"""The worker's parent process and the database: its heartbeat, the losses of its children, the bodies to be stopped.

A thread of its own, because Celery's event loop must not wait for a database. Every few seconds one UPDATE. Every
second one query for a drain and, while anything runs, another one for its rows, whatever the number of tasks.
"""

import logging
import math
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any
from uuid import UUID

from celery.worker import state as celery_state
from sqlalchemy import Row, select, tuple_
from sqlalchemy.exc import DBAPIError

from app.core.agreement import CLOCK, seconds_ahead, settings_to_agree
from app.core.config import Settings
from app.core.version import VERSION
from app.db.outage import first_line, is_outage, is_passing
from app.db.session import SessionLocal, transaction
from app.db.sql import limits, prepared
from app.db.statements import claim_holds, workers
from app.db.statements.limit_places import of_task, of_worker
from app.db.statements.workers import say_stopped
from app.ddl.clock import NOW
from app.messaging.application import celery_app
from app.messaging.guard.messages import WAKEUP
from app.models.queue import HoldKind
from app.models.task import Task, TaskStatus
from app.services.execution import ends
from app.services.operations import admission
from app.worker.parent import held_attempts
from app.worker.parent.body_stopper import BodyStopper, has_ended, how_ended, living
from app.worker.parent.completions import Completions
from app.worker.parent.consumer import StallDetector
from app.worker.parent.held_attempts import HeldAttempt
from app.worker.parent.limits import HeartbeatGuard
from app.worker.parent.quiet import PROCESS_ENDED
from app.worker.shared.delivery import DELIVERY_LEASES
from app.worker.shared.memory import Sizes
from app.worker.shared.slot_table import SLOTS, STOP_TEXTS, Phase, SlotState, SlotTable, Stop

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0
# Between two heartbeats; more often where the lease is short, so that a lost one or two do no harm.
HEARTBEAT_SECONDS = 3.0
HEARTBEATS_OF_A_LEASE = 10
LOOK_SECONDS = 1.0
_OUTCOME = select(Task.id, Task.status, Task.attempt, Task.error_message)
_FOLLOWS = {TaskStatus.PENDING: "the task runs again", TaskStatus.REVOKED: "the task is revoked"}


@dataclass(frozen=True)
class Loss:
    """The child with this process id is gone, or runs this task no longer; `how` is for the log.

    `is_logged`: the log gets a line also where the child had no attempt.
    """

    pid: int
    task_id: UUID | None = None
    how: str = field(default="no child runs it any more", compare=False)
    is_logged: bool = False


@dataclass(frozen=True)
class Unbegun:
    """The child runs one row, and has not begun others of the same claim in time."""

    seen: SlotState


@dataclass(frozen=True)
class Node:
    """What the worker says of itself in `worker_processes`, and how its consumer is started anew."""

    name: str
    pid: int
    queues: Callable[[], tuple[str, ...]]
    concurrency: int
    restart_consumer: Callable[[], None]


class Agent:
    """Beats and reports for one worker process. Started by the worker's bootstep, stopped when it has shut down."""

    def __init__(
        self, worker_id: UUID, settings: Settings, table: SlotTable, stopper: BodyStopper, completions: Completions
    ) -> None:
        self._worker_id = worker_id
        self._settings = settings
        self._table = table
        self._stopper = stopper
        self._completions = completions
        self._guard = HeartbeatGuard(stopper, table, settings.worker_lease_seconds)
        self._beat_seconds = min(HEARTBEAT_SECONDS, settings.worker_lease_seconds / HEARTBEATS_OF_A_LEASE)
        self._stall: StallDetector | None = None
        self._node: Node | None = None
        self._losses: SimpleQueue[Loss | Unbegun] = SimpleQueue()
        self._unwritten: list[Loss | Unbegun] = []
        self._suspects: set[HeldAttempt] = set()
        self._suspected_places: set[HeldAttempt] = set()
        self._logged: deque[int] = deque(maxlen=SLOTS)  # the children that the log has named last
        self._sizes = Sizes()
        self._untold: dict[str, str] | None = None
        self._next_beat = 0.0
        self._answered_at = time.monotonic()
        self._delivering: dict[SlotState, float] = {}
        self._hand_back_at: float | None = None
        self._leaves_at_once = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, node: Node) -> None:
        """Register the worker and go on beating for it."""
        self._node = node
        self._stall = StallDetector(self._table, node.queues, node.concurrency)
        self._thread = threading.Thread(target=self._run, name="agent", daemon=True)
        self._thread.start()
        self._guard.start()
        # No heartbeat waits for a storage that does not answer.
        threading.Thread(target=self._read_settings, name="settings-to-agree", daemon=True).start()

    def _read_settings(self) -> None:
        self._untold = settings_to_agree(self._settings, mark=True)

    def report(self, loss: Loss) -> None:
        """Have the row say what became of the attempt, as soon as the database can be reached. Never blocks."""
        self._losses.put(loss)

    def child_ended(self, pid: int, how: str) -> None:
        """Report as `report`, and log the child's end if it had no attempt. Never blocks."""
        self._losses.put(Loss(pid, how=how, is_logged=True))

    def take_back(self, seen: SlotState) -> None:
        """Give the rows back that the child holds beside the one that it runs. Never blocks."""
        self._losses.put(Unbegun(seen))

    def shut_down(self, grace_seconds: float) -> None:
        """Take no more tasks, and give back what still runs after so many seconds. For a signal's handler."""
        self._table.leave()
        self._hand_back_at = time.monotonic() + grace_seconds
        self._leaves_at_once = not grace_seconds

    @property
    def is_leaving(self) -> bool:
        return self._hand_back_at is not None

    @property
    def patience(self) -> float:
        """The seconds for which to go on writing the outcomes that the children have left behind."""
        return STOP_SECONDS if self._leaves_at_once else self._settings.worker_lease_seconds * DELIVERY_LEASES

    def stop(self) -> None:
        """Give back what this worker still holds and say that it has stopped. Waits for a few seconds at most."""
        if self._thread is None:
            return
        self._guard.stop()
        self._stopping.set()
        self._thread.join(STOP_SECONDS)
        self._thread = None
        # A thread of its own: a database that has fallen silent must not keep the process from ending.
        goodbye = threading.Thread(target=self._attempt, args=(self._say_goodbye,), name="goodbye", daemon=True)
        goodbye.start()
        goodbye.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            if time.monotonic() >= self._next_beat:
                self._attempt(self._beat)
                self._attempt(self._compare_rows)
                self._attempt(self._restart_if_stalled)
            elif self._table.busy():
                self._attempt(self._compare_rows)
            self._attempt(self._leave_if_drained)
            self._attempt(self._write_losses)
            self._wait(LOOK_SECONDS)

    def _wait(self, seconds: float) -> None:
        """Wait for the next comparison, a loss, or the stop of the worker (within half a second)."""
        deadline = time.monotonic() + seconds
        while not self._stopping.is_set() and (left := deadline - time.monotonic()) > 0:
            try:
                self._unwritten.append(self._losses.get(timeout=min(0.5, left)))
            except Empty:
                continue
            return

    @property
    def is_answered(self) -> bool:
        """Return whether the database answers: a beat of the last two periods. One that is not answered ends late."""
        return time.monotonic() < self._answered_at + 2 * self._beat_seconds

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            if is_outage(error):
                self._answered_at = -math.inf
            if is_passing(error):
                logger.warning("worker agent: the database does not answer: %s", first_line(error))
            else:
                logger.exception("worker agent")

    # -- the heartbeat -----------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        assert self._node is not None
        begun = time.monotonic()
        row = {
            "name": self._node.name,
            "pid": self._node.pid,
            "queues": list(self._node.queues()),
            "concurrency": self._node.concurrency,
            "task_names": sorted(celery_app.tasks),  # as its children claim them
            "version": VERSION,
            "build_id": self._settings.task_build_id,
        }
        if self._sizes.are_due(begun, is_busy=bool(self._table.busy())):
            self._sizes.look([os.getpid(), *(state.pid for state in living(self._table.used()))], begun)
        changing: dict[str, Any] = {"processed": self._processed(), "memory_bytes": self._sizes.total}
        untold = self._untold
        with SessionLocal() as db, transaction(db):
            if untold is not None:
                ahead, _ = seconds_ahead(lambda: db.scalars(select(NOW)).one())
                changing["facts"] = {**untold, CLOCK: round(ahead, 3)}
            workers.beat(db, self._worker_id, row, changing)
        if untold is not None:
            self._untold = None
        self._answered_at = begun
        self._guard.beaten(begun)
        self._next_beat = begun + self._beat_seconds

    def _processed(self) -> int:
        """Return how many tasks were begun: plain messages, and rows, of which the slots tell."""
        plain = celery_state.all_total_count[0] - celery_state.total_count[WAKEUP]
        return int(plain) + sum(state.begun for state in self._table.used())

    def _leave_if_drained(self) -> None:
        """Leave as after SIGTERM, once somebody has drained this worker. Until then each claim of it is refused."""
        if self.is_leaving:
            return
        with prepared.prepared_connection() as db:
            drained = claim_holds.is_held(db, HoldKind.WORKER, str(self._worker_id))
        if drained:
            logger.warning("this worker is drained: it takes no more tasks, and leaves")
            self.shut_down(self._settings.shutdown_grace_seconds)
            os.kill(os.getpid(), signal.SIGTERM)

    def _restart_if_stalled(self) -> None:
        assert self._node is not None
        if self._stall is not None and self._hand_back_at is None and self._stall.is_stalled():
            logger.error("no message arrives although messages wait: the consumer is started anew")
            self._node.restart_consumer()

    # -- what must stop ----------------------------------------------------------------------------------------------

    def _compare_rows(self) -> None:
        """Compare the rows of this worker with its children, and stop what must not go on."""
        assert self._node is not None
        before = living(self._table.busy())
        with SessionLocal() as db:
            held, places = held_attempts.read_held(db, self._worker_id)
        after = living(self._table.busy())
        for state in held_attempts.cancelled(held, after):
            self._stopper.stop(state, Stop.CANCELLED)
        for state in held_attempts.lost(held, before, after):
            self._stopper.stop(state, Stop.LOST)
        if self._hand_back_at is not None and time.monotonic() >= self._hand_back_at:
            for state in after:
                if state.in_body:
                    self._stopper.stop(state, Stop.HANDED_BACK)
            self._end_deliveries(after)
        self._stopper.forget(after)
        slots, handed_over = list(self._table.used()), self._completions.held()
        self._end_orphans(held_attempts.orphans(held, slots, handed_over))
        self._free_places(held_attempts.orphans(places, slots, handed_over))

    def _end_deliveries(self, states: list[SlotState]) -> None:
        """Kill the children that write an end for longer than CANCEL_GRACE_SECONDS, at a shutdown whose time is over.

        The database answers, so a body has left a lock or broken descriptors behind. It has ended, so the attempt is
        lost and not handed back: with `rerun_lost` off, the body does not start again.
        """
        now = time.monotonic()
        delivering = [state for state in states if state.phase is Phase.DELIVERING]
        self._delivering = {state: self._delivering.get(state, now) for state in delivering}
        for state, since in self._delivering.items():
            if now >= since + self._settings.cancel_grace_seconds:
                self._stopper.kill(state, Stop.UNWRITTEN)

    def _end_orphans(self, orphans: list[HeldAttempt]) -> None:
        again = [row for row in orphans if row in self._suspects]
        self._suspects = set(orphans)
        for row in again:
            loss = Loss(row.pid, row.task_id, how_ended(row.pid) or Loss.how)
            if loss not in self._unwritten:  # it may have to wait for long, and each entry costs a try at every look
                self._unwritten.append(loss)

    def _free_places(self, orphans: list[HeldAttempt]) -> None:
        """Free the places of limits whose bodies no child runs any more, whatever became of their tasks."""
        again = [(place.task_id, place.attempt) for place in orphans if place in self._suspected_places]
        self._suspected_places = set(orphans)
        if again:
            with SessionLocal() as db:
                admission.free_and_admit(db, limits.of_attempts(again))

    # -- what was lost -----------------------------------------------------------------------------------------------

    def _write_losses(self) -> None:
        while True:
            try:
                self._unwritten.append(self._losses.get_nowait())
            except Empty:
                break
        for loss in list(self._unwritten):
            if isinstance(loss, Loss) and self._still_holds(loss):
                continue
            try:
                if isinstance(loss, Unbegun):
                    self._write_unbegun(loss.seen)
                else:
                    self._write_loss(loss)
            except DBAPIError as error:
                if is_outage(error):
                    raise
                logger.warning("the end of an attempt could not be written yet: %s", first_line(error))
            else:
                self._unwritten.remove(loss)

    def _still_holds(self, loss: Loss) -> bool:
        """Return whether the child is ending and not gone yet: until then no other worker may start the task."""
        return any(
            state.pid == loss.pid and loss.task_id in {None, state.task_id} for state in living(self._table.busy())
        )

    def _write_loss(self, loss: Loss) -> None:
        # Run by this worker, in the child that is gone: another attempt of a task matches nothing here.
        attempt = [Task.worker_id == self._worker_id, Task.worker_pid == loss.pid]
        if loss.task_id is not None:
            attempt.append(Task.id == loss.task_id)
        handed_over = [task_id for task_id, _ in self._completions.held()]
        if handed_over:
            attempt.append(Task.id.not_in(handed_over))
        why = self._stopper.why_ended(loss.pid)
        if why is None and self._hand_back_at is not None:
            why = Stop.HANDED_BACK  # a signal to the whole group has reached the child as well
        with SessionLocal() as db, transaction(db):
            workers.limit_lock_waits(db)
            begun = self._table.last_of(loss.pid)
            held = list(db.scalars(select(Task.id).where(*attempt, Task.status == TaskStatus.RUNNING.value)))
            if begun is not None and (loss.task_id is None or has_ended(loss.pid)):
                # Only the row that had begun counts the loss; what was claimed with it has done nothing.
                ends.end_tasks(db, ends.not_begun(), *attempt, Task.id != begun.task_id)
            ends.end_tasks(db, self._ending(loss, why), *attempt)
            which = [] if loss.task_id is None else [of_task(loss.task_id)]
            freed = admission.free_places(db, of_worker(self._worker_id, loss.pid, *which))
            outcomes = db.execute(_OUTCOME.where(Task.id.in_(held))).all()
        admission.admit_soon(freed)
        for outcome in outcomes:
            _log_outcome(loss, loss.how if why is None else STOP_TEXTS[why], outcome)
        if loss.is_logged and not outcomes and loss.pid not in self._logged:
            logger.error(PROCESS_ENDED, loss.pid, loss.how)
        if outcomes:
            self._logged.append(loss.pid)

    def _ending(self, loss: Loss, why: Stop | None) -> ends.Ending:
        if why is None:
            return ends.lost(self._cause(loss))
        if why in {Stop.OVERRAN, Stop.SOFT_TIME_LIMIT}:
            return ends.overran(self._stopper.limit_of(loss.pid), is_soft=why is Stop.SOFT_TIME_LIMIT)
        if why is Stop.OUT_OF_MEMORY:
            return ends.out_of_memory(self._settings.task_memory_bytes)
        return ends.lost(STOP_TEXTS[why]) if why is Stop.UNWRITTEN else ends.handed_back(STOP_TEXTS[why])

    def _cause(self, loss: Loss) -> str:
        """Return how the child ended: Linux kills with SIGKILL what it has no memory for, and says so to nobody."""
        if "SIGKILL" not in loss.how:
            return loss.how
        size = self._sizes.of(loss.pid)
        known = "" if size is None else f"; its process had {size / 2**20:.0f} MiB when it was last looked at"
        return f"{loss.how}, perhaps out of memory{known}"

    def _write_unbegun(self, seen: SlotState) -> None:
        with SessionLocal() as db:
            rows, _ = held_attempts.read_held(db, self._worker_id)
            # After the rows: if the child has made no claim since, they are of this claim, and none of them begins
            # any more. If it has, it has given them back itself.
            state = self._table.read(seen.slot)
            if (state.pid, state.claims) != (seen.pid, seen.claims):
                return
            begun = {(state.task_id, state.attempt), *self._completions.held()}
            claimed = [(row.task_id, row.attempt) for row in rows if row.pid == seen.pid]
            unbegun = [attempt for attempt in claimed if attempt not in begun]
            if not unbegun:
                return
            with transaction(db):
                workers.limit_lock_waits(db)
                ends.end_tasks(db, ends.not_begun(), tuple_(Task.id, Task.attempt).in_(unbegun))
                freed = admission.free_places(db, limits.of_attempts(unbegun))
        admission.admit_soon(freed)

    def _say_goodbye(self) -> None:
        """Give back what is left (its children are gone by now) and say that this worker beats no more."""
        self._write_losses()
        with SessionLocal() as db, transaction(db):
            workers.limit_lock_waits(db)
            ends.end_tasks(db, ends.handed_back(STOP_TEXTS[Stop.HANDED_BACK]), Task.worker_id == self._worker_id)
            freed = admission.free_places(db, of_worker(self._worker_id))
            say_stopped(db, self._worker_id)
            claim_holds.forget(db, HoldKind.WORKER, str(self._worker_id))
        admission.admit_soon(freed)


def _log_outcome(loss: Loss, why: str, outcome: Row[UUID, TaskStatus, int, str | None]) -> None:
    """Log in one line which child died, and what follows for its task."""
    task_id, status, attempt, error = outcome
    has_failed = status == TaskStatus.FAILED
    logger.log(
        logging.ERROR if has_failed else logging.WARNING,
        "task %s: attempt %d ended with its process %d (%s): %s",
        task_id,
        attempt,
        loss.pid,
        why,
        f"the task has failed: {error}" if has_failed else _FOLLOWS[TaskStatus(status)],
    )
