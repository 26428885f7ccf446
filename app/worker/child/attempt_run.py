"""One attempt in a pool child: claim the row, run the body, write how it ended.

Nothing here knows Celery's tracer; `record_runner.py` connects the two.
"""

import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy.exc import SQLAlchemyError, StatementError

from app.core.json_text import dump_json
from app.core.task_bodies import belongs_to, coroutine_runner, threads_of
from app.db.outage import first_line
from app.db.sql import attached_rows, prepared
from app.db.statements.dependencies import Child
from app.db.statements.task_moves import Cause
from app.errors import AttemptHandedBack, AttemptLost, TaskCancelled
from app.messaging import hints
from app.services.execution import attempts, daily_limits, ends
from app.services.execution.attempts import AttemptError, CurrentAttempt, NextTry, check_size, current_attempt
from app.services.execution.claims import ReadyClaim
from app.services.execution.ends import Ending, Success
from app.services.operations import admission
from app.services.workflows import dependents
from app.worker.child import left_transactions
from app.worker.child.attempt_files import AttemptFiles
from app.worker.child.attempt_output import AttemptOutput
from app.worker.child.left_transactions import roll_back_connections
from app.worker.child.log_capture import end_whole_lines
from app.worker.child.process import ChildProcess
from app.worker.child.progress import BodyStop, ProgressReporter
from app.worker.child.references import Arguments, filled
from app.worker.child.steps import KeptRows, Steps
from app.worker.shared.delivery import DELIVERY_LEASES, Undeliverable, deliver
from app.worker.shared.error_text import describe
from app.worker.shared.slot_table import STOP_TEXTS, Stop

T = TypeVar("T")

logger = logging.getLogger(__name__)

BODY_STOPS: dict[Stop, type[BodyStop]] = {
    Stop.CANCELLED: TaskCancelled,
    Stop.LOST: AttemptLost,
    Stop.HANDED_BACK: AttemptHandedBack,
    Stop.NO_HEARTBEAT: AttemptLost,
}


class AttemptRun:
    """A claimed attempt in this child. What it writes is fenced: once the attempt is lost it writes nothing.

    `begun_after`: how many seconds after the claim it begins. `is_alone`: no other row was claimed with it.
    """

    def __init__(
        self, claim: ReadyClaim, child: ChildProcess, begun_after: float = 0.0, *, is_alone: bool = False
    ) -> None:  # fmt: skip
        self.claim = claim
        self._is_alone = is_alone
        # What its end has let go on. The process claims one of them, or wakes slots for them.
        self.freed: list[Child] = []
        self._child = child
        self.current = CurrentAttempt(
            claim.id, claim.attempt, child.slot.settled, before_end=self._write_rests, begun_after=begun_after
        )
        logs = child.logs
        self.log = None if logs is None else logs.of_attempt(claim.id, claim.attempt, child.flusher.wake)
        self._steps: Steps | None = None
        self._files: AttemptFiles | None = None
        self._output: AttemptOutput | None = None
        self.is_bound = self.started = self.was_revoked = False
        # Why the body cannot be called.
        self.unfit: Exception | None = None
        # Why it was told to stop, and whether that has to wait until a statement of this class is through.
        self.stopped: type[BodyStop] | None = None
        self._is_over_soft_limit = self._writing = False
        settings = child.settings
        self._seconds = patience(child, settings.worker_lease_seconds * DELIVERY_LEASES)
        self._progress = ProgressReporter(
            self._write_progress, settings.progress_interval_seconds, settings.max_result_bytes
        )

    @contextmanager
    def body(self) -> Iterator[None]:
        """Run the body within: `current_attempt` names it, its log is stored, an order to stop is raised in it."""
        self.started = True
        token = current_attempt.set(self.current)
        try:
            with belongs_to(self), self._child.slot.listening(self._stop):
                yield
        finally:
            current_attempt.reset(token)
            if self._files is not None:
                self._files.close()

    def _stop(self, why: Stop) -> None:
        """Runs in the signal's handler, wherever the body is."""
        if why is Stop.SOFT_TIME_LIMIT:
            self._is_over_soft_limit = True
            met = self._child.slot.soft_limit_met()
            if coroutine_runner().time_out(SoftTimeLimitExceeded(), met):
                return
            met()
            raise SoftTimeLimitExceeded
        self.stopped = BODY_STOPS[why]
        self._progress.stop(self.stopped)
        if not self._writing and not coroutine_runner().cancel():
            raise self.stopped

    def left_threads(self) -> list[threading.Thread]:
        """Return the threads that its body has left running, if it was told to stop or was over its soft time limit."""
        was_told = self.stopped is not None or self._is_over_soft_limit or self._progress.has_told_to_stop
        return threads_of(self) if was_told else []

    @property
    def task_id(self) -> UUID:
        return self.claim.id

    def arguments(self) -> Arguments:
        """Return what to call the body with. Raises UnusableResult, and Undeliverable without a database."""
        if not self.claim.has_children:  # every task of a workflow has this mark, and no plain one
            return Arguments(self.claim.args, self.claim.kwargs)
        return filled(self.claim, lambda read: deliver(read, self._seconds))

    def report(self, percent: int | None, detail: Any | None = None) -> None:
        """Report progress. Raises TaskCancelled, AttemptLost or AttemptHandedBack when the body should stop.

        And TypeError or ValueError (ResultTooLarge) for a detail that is not JSON, or too much of it.
        """
        if self._progress.keep(percent, detail):
            return
        # Here and not as it is written: the report at fault raises, even where a later one replaces it.
        check_size(detail, "progress detail")
        with self._uninterrupted():
            self._progress.report(percent, detail)

    def step(
        self, name: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:  # fmt: skip
        """Run a step of the body, or return what an earlier attempt kept of it (`app/worker/child/steps.py`)."""
        if self._steps is None:
            self._steps = Steps(self.claim.attempt, KeptRows(*self._fence, self._delivered_to_the_end))
        return self._steps.run(name, function, args, kwargs)

    def emit(self, chunk: Any, stream: str) -> None:
        """Keep a chunk of output (`app/worker/child/attempt_output.py`). Raises the reason to stop, if there is one."""
        output = self._output
        if output is None:
            output = self._open_output()
        if self.stopped is not None:
            raise self.stopped
        output.add(chunk, stream)

    def _open_output(self) -> AttemptOutput:
        """Make what only an attempt needs that emits. A later one asks what the task has already."""
        stored = 0
        if self.claim.attempt > 1:
            # Signals come in the main thread: only there an order to stop would break the statement off.
            is_main = threading.current_thread() is threading.main_thread()
            with self._uninterrupted() if is_main else nullcontext():
                stored = deliver(partial(attached_rows.stored_output_bytes, task_id=self.task_id), self._seconds)
        with _opening:
            if self._output is None:
                limit, wake = self._child.settings.task_output_bytes, self._child.flusher.wake
                self._output = AttemptOutput(self.current, stored, limit, wake)
            return self._output

    @property
    def files(self) -> AttemptFiles:
        """Return what its arguments name, and what its body saves."""
        if self._files is None:
            self._files = AttemptFiles(*self._fence, self._child.settings.max_file_bytes, self._delivered_to_the_end)
        return self._files

    @property
    def fault(self) -> Exception | None:
        """Return why the attempt fails whatever its body does, and is not repeated."""
        return None if self._steps is None else self._steps.fault

    def _delivered_to_the_end(self, statement: Callable[[prepared.PreparedConnection], T]) -> T:
        """Execute it before any order to stop the body is raised. Raises Undeliverable without a database."""
        with self._uninterrupted():
            return deliver(statement, self._seconds)

    @contextmanager
    def _uninterrupted(self) -> Iterator[None]:
        """Run a statement of the body within: an order to stop that comes meanwhile is raised once it is through."""
        self._writing = True
        try:
            yield
        finally:
            self._writing = False
        if self.stopped is not None:
            raise self.stopped

    def count(self, what: str, amount: int, setting: str) -> None:
        """Count what the body is about to do against its owner's daily limit, the value of that setting.

        Raises DailyLimitReached, Undeliverable without a database.
        """
        limit: int = getattr(self._child.settings, setting)
        if limit:
            deliver(lambda db: daily_limits.count(db, self.task_id, what, amount, limit), self._seconds)

    def _write_progress(self, percent: int | None, detail: Any | None) -> bool:
        task_id, attempt = self.claim.id, self.claim.attempt

        def write(db: prepared.PreparedConnection) -> bool:
            if percent is None and detail is None:
                return attempts.is_cancelled(db, task_id, attempt)
            return attempts.report_progress(db, task_id, attempt, percent, detail)

        try:
            cancelled = deliver(write, seconds=0)
        except Undeliverable:
            logger.warning("progress of task %s not written: the database is away", task_id)
            return False
        except StatementError as error:
            if isinstance(error.orig, TypeError | ValueError):  # the detail is not JSON
                raise error.orig from None
            raise
        if percent is not None or detail is not None:
            hints.changed(task_id)
        return cancelled

    def succeed(self, result: Any, *, later: bool = False) -> None:
        """Write the success; with `later`, have the parent write it some milliseconds later, where that is possible."""
        try:
            # Where nothing else waits for this process, what depends on the task goes on soonest from here.
            if later and not (self._is_alone and self.claim.has_children) and self._hand_over(result):
                return
            self._end(ends.succeeded(result))
        except SQLAlchemyError as error:  # not an outage, which is waited out: the database refuses this result
            logger.exception("the result of task %s could not be stored", self.task_id)
            self.fail(error)

    def _hand_over(self, result: Any) -> bool:
        try:
            self._has_ended()
            if not self._write_rests(must=True):
                return False  # the end waits for the database or a lock as well, and what is left with the end
            text = None if result is None else dump_json(result)
            sent = not self.current.settled and self._child.hand_over.send(
                Success(*self._fence, text, self.current.begun_after, self.claim.is_limited, self.claim.has_children)
            )
        except SoftTimeLimitExceeded:
            return False  # if it was sent after all, it is written twice: the second one finds nothing
        return sent

    def fail(self, error: BaseException) -> None:
        self._end(ends.failed(describe(error)))

    def retry_later(self, error: BaseException | None, following: NextTry) -> None:
        why = AttemptError(None, None) if error is None else describe(error)
        self._end(ends.retried(why, following))

    def leave(self) -> None:
        """Write nothing: another attempt holds the task."""
        logger.info(
            "task %s: attempt %d no longer holds the task, which was ended or claimed by another: nothing is written",
            self.task_id, self.claim.attempt,
        )  # fmt: skip
        self._has_ended()
        self._write_rests()
        self._free_place()

    def hand_back(self) -> None:
        logger.info(
            "task %s: attempt %d is handed back: the worker stops, and the task starts again",
            self.task_id,
            self.claim.attempt,
        )
        self._end(ends.handed_back(STOP_TEXTS[Stop.HANDED_BACK]))

    def revoke(self, reason: str) -> None:
        logger.info("task %s: attempt %d %s", self.task_id, self.claim.attempt, reason)
        self.was_revoked = True
        self._end(ends.stopped(reason))

    @property
    def _fence(self) -> tuple[UUID, int]:
        return self.claim.id, self.claim.attempt

    def _end(self, ending: Ending) -> None:
        """Write the end, unless the body has written one itself. The reporter's last value lands first."""
        try:
            held = self._delivered(ending)
        except SoftTimeLimitExceeded:
            held = self._delivered(ending)  # the signal came after the body: it has nothing to stop any more
        except Undeliverable:
            # The row says running, and while the parent beats it would stay so. Once this process is gone the parent
            # reports the attempt lost as soon as the database is back.
            logger.exception("the end of task %s could not be written", self.task_id)
            raise SystemExit(1) from None
        self._free_place()
        if self.claim.has_children:
            self._release_children(ending)
        if self.current.settled:
            return
        hints.changed(self.task_id)
        if not held:
            logger.warning("attempt %d of task %s no longer held it: nothing written", self.claim.attempt, self.task_id)

    def _release_children(self, ending: Ending) -> None:
        if self._is_alone and ending.cause is Cause.SUCCEEDED:
            try:
                self.freed = deliver(lambda db: dependents.release_at_once(db, self.task_id), seconds=0)
            except (Undeliverable, SQLAlchemyError, SoftTimeLimitExceeded) as error:
                logger.warning("what depends on task %s goes on a little later: %s", self.task_id, first_line(error))
            else:
                return
        dependents.release_children([self.task_id])

    def _free_place(self) -> None:
        """Free the slot: the body has ended, whoever has ended the attempt."""
        if self.claim.is_limited:
            admission.bodies_ended([self._fence])

    def _delivered(self, ending: Ending) -> bool:
        self._has_ended()
        if self.current.settled:
            self._write_rests()
            if self._output is not None:  # lines are left to the flusher
                deliver(self._output.write_rest, self._seconds)
            return True
        return deliver(partial(self._write_rests_and_end, ending), self._seconds, when_locked=roll_back_connections)

    def _write_rests_and_end(self, ending: Ending, db: prepared.PreparedConnection) -> bool:
        """Write the last lines and the last output, so that they are there before anybody sees the end."""
        if self.log is not None and self.log.is_open:
            self.log.write_rest(db)
        if self._output is not None:
            self._output.write_rest(db, must=ending.cause is Cause.SUCCEEDED)
        return ends.end_attempt(db, *self._fence, ending, self.current.begun_after)

    def _write_rests(self, *, must: bool = False) -> bool:
        """Write the lines and the output that wait, if there are any. Returns False where they go on to wait.

        Without a database, and while the row is locked: also by the body itself, which ends its attempt in a
        transaction that has changed the row before. With `must`, raises what the database says of output that it
        refuses.
        """
        log, output = self.log, self._output
        is_written = True
        if log is not None and log.is_open:
            try:
                deliver(log.write_rest, seconds=0)
            except Undeliverable as error:
                logger.warning("log lines of task %s wait: %s", self.task_id, error)
                log.hide_secrets()
                is_written = False
        if output is not None:
            try:
                deliver(partial(output.write_rest, must=must), seconds=0)
            except Undeliverable as error:
                logger.warning("output of task %s waits: %s", self.task_id, error)
                is_written = False
        return is_written

    def _has_ended(self) -> None:
        self._child.slot.delivering()
        self._progress.close()
        end_whole_lines()
        left_transactions.roll_back_sessions(self.task_id)
        roll_back_connections()
        if self.log is not None:
            self.log.close()
        if self._output is not None:
            self._output.close()


# Of threads that begin to emit at the same time.
_opening = threading.RLock()


def patience(child: ChildProcess, seconds: float) -> float:
    """The seconds for which to go on trying to reach the database.

    Without a slot for ever: the parent would not notice that this process gave up an outcome, or a claim whose reply
    was lost, and the row would say running for as long as the worker lives.
    """
    return seconds if child.slot.is_seen else math.inf
