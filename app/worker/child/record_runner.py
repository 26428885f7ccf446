"""Runs a task's records under Celery's tracer: the claim, the body, how the attempt ends, and what Celery sees of it.

`SQLAlchemyTask` (`app/messaging/task_base.py`) calls this once a message names a record.
"""

import functools
import inspect
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from celery import signals
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.time import maybe_make_aware
from pydantic_core import to_jsonable_python

from app.core.backoff import backoff_seconds
from app.core.json_text import dump_json
from app.errors import (
    AttemptHandedBack,
    AttemptLost,
    DailyLimitReached,
    InvalidArguments,
    ReportedFailure,
    ResultTooLarge,
    TaskCancelled,
    UnusableResult,
)
from app.messaging.hidden_values import conceal, hide_arguments
from app.messaging.input_files import looking
from app.messaging.parameters import arguments_of_body, parameters_of_task, takes_files
from app.messaging.task_base import SQLAlchemyTask
from app.schemas.values import MAX_SECONDS
from app.services.execution.attempts import NextTry, to_json
from app.services.execution.daily_limits import DailyLimit
from app.worker.child.attempt_run import AttemptRun
from app.worker.child.references import Arguments

logger = logging.getLogger(__name__)


class RecordRunner:
    """Of one task, in one process that runs attempts."""

    def __init__(self, task: SQLAlchemyTask) -> None:
        self._task = task

    def bind(self, run: AttemptRun) -> None:
        """Give the request the arguments of the claimed row."""
        request = self._task.request
        run.is_bound = True
        args, kwargs, secrets = self._arguments(run)
        hide_arguments(self._task, args, kwargs, secrets)
        # In place: these are the objects that Celery hands to the body and to every hook.
        request.args[:] = args
        request.kwargs.clear()
        request.kwargs.update(kwargs)
        if takes_task_id(self._task):
            request.kwargs["task_id"] = str(run.task_id)

    def _arguments(self, run: AttemptRun) -> Arguments:
        """Return the arguments with the results that they refer to; those of the row where that fails: `run` raises."""
        try:
            found = run.arguments()
            if found.args is not run.claim.args:
                run.files.notes_uses = True
                parameters_of_task(self._task).check_filled(found.args, found.kwargs)
        except Exception as error:  # noqa: BLE001 (a validator may raise anything, and `run` raises it)
            run.unfit = error
            return Arguments(run.claim.args, run.claim.kwargs)
        return found

    def run(self, run: AttemptRun) -> Any:
        """Run the body and write how it ended; what is raised from here has Celery report the same end."""
        request = self._task.request
        try:
            with run.body():
                if run.unfit is not None:
                    raise run.unfit
                try:
                    args, kwargs = self._converted(run, list(request.args), dict(request.kwargs))
                except InvalidArguments as error:  # the signature has changed since the task was created
                    run.unfit = error
                    raise
                self._count(run, args, kwargs)
                result = self._result(run, self._task.run(*args, **kwargs))
        except BaseException as error:
            if ends_the_process(error):
                raise  # its parent writes the end
            if error is run.unfit and isinstance(error, InvalidArguments | UnusableResult):
                run.fail(error)  # it would not fit the next time either
            else:
                self.end_badly(run, error)
            shown = conceal(error)
            if shown is not error:
                raise shown from None
            raise
        if run.fault is not None:  # which the body has caught
            run.fail(run.fault)
            raise run.fault
        if run.current.failure is not None:
            reported = ReportedFailure(run.current.failure)
            run.fail(reported)  # the row says so already, which ends the reports of progress as well
            raise reported  # let Celery say the same
        wanted = request.get("retry_wanted")  # `self.retry(throw=False)`
        if wanted is not None:
            self._retry_later(run, wanted[0])
            raise wanted[0]
        run.succeed(result, later=may_be_written_later(self._task))
        return result

    def _converted(
        self, run: AttemptRun, args: list[Any], kwargs: dict[str, Any]
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the arguments as the body's annotations name them. Raises InvalidArguments."""
        if not takes_files(self._task):  # nearly always
            return arguments_of_body(self._task, args, kwargs)
        with looking(run.files.find):
            return arguments_of_body(self._task, args, kwargs)

    def _result(self, run: AttemptRun, value: Any) -> Any:
        """Return the result as JSON; one that is too large for the row as an artifact, where the task wants that."""
        try:
            return to_json(value)
        except ResultTooLarge:
            if not self._task.offload_result:
                raise
        text = dump_json(to_jsonable_python(value))
        return {"artifact": str(run.files.save("result.json", text, "application/json", partial=False))}

    def _count(self, run: AttemptRun, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Count what the body is about to do. Raises DailyLimitReached."""
        limit: DailyLimit | None = self._task.daily_limit
        if limit is not None:
            run.count(limit.what, limit.amount(*args, **kwargs), limit.setting)

    def end_badly(self, run: AttemptRun, error: BaseException) -> None:
        """Write how an attempt ended that has raised `error`. Returns where Celery is to see that very error."""
        if isinstance(error, TaskCancelled) or run.stopped is TaskCancelled:
            run.revoke("cancelled")
            self._leave(error)
        elif isinstance(error, AttemptLost) or run.stopped is AttemptLost:
            run.leave()
            self._leave(error)
        elif isinstance(error, AttemptHandedBack) or run.stopped is AttemptHandedBack:
            # Whatever error the body raised on its way out: the worker's stop has caused it.
            run.hand_back()
            self._leave(error)
        elif run.fault is not None:
            run.fail(run.fault)
            if error is not run.fault:
                raise run.fault from error
        elif isinstance(error, Ignore):
            run.revoke("ignored")
            self._leave(error)
        elif isinstance(error, Retry):
            self._retry_later(run, error)
        elif isinstance(error, Reject):
            run.fail(error)
        else:
            self._fail_or_retry(run, error)
            if not isinstance(error, Exception):
                # Such as asyncio's CancelledError, or a script's `sys.exit()`: Celery calls no hooks for them.
                raise RuntimeError(f"the body raised {type(error).__name__}") from error

    def retry_of(
        self,
        run: AttemptRun,
        error: BaseException | None,
        eta: datetime | None,
        countdown: float | None,
        max_retries: int | None,
    ) -> Retry:
        """Return what `self.retry()` raises. Raises `error` or MaxRetriesExceededError where no attempt is left."""
        task = self._task
        limit = self._retry_limit(run, max_retries)
        if limit is not None and run.claim.failures + 1 >= limit:
            raise error or task.MaxRetriesExceededError(f"{task.name} of task {run.task_id} has no attempt left")
        if run.claim.retry_backoff_seconds is not None or (eta is None and countdown is None):
            countdown = self._delay(run, task.default_retry_delay)
        if eta is not None and countdown is None:
            countdown = self._seconds_until(run, eta)
        return Retry(exc=error, when=max(0.0, float(countdown or 0)))

    def _leave(self, error: BaseException) -> None:
        """Leave the row, which is right already: Celery has nothing to record, and calls no `after_return` either."""
        self._task.close_session()
        raise Ignore from error

    def _fail_or_retry(self, run: AttemptRun, error: BaseException) -> None:
        # Without a named number, retrying is up to Celery's `autoretry_for`, which has run by now.
        last = not run.claim.max_attempts_named or run.claim.failures + 1 >= run.claim.max_attempts
        if last or isinstance(error, (*self._task.dont_autoretry_for, DailyLimitReached)):
            run.fail(error)
            return
        delay = self._delay(run, None)
        run.retry_later(error, NextTry(delay))
        raise Retry(exc=conceal(error), when=delay) from error

    def _retry_later(self, run: AttemptRun, retry: Retry) -> None:
        _, args, kwargs = self._task.request.get("retry_wanted") or (retry, None, None)
        delay = self._seconds_until(run, retry.when)
        try:
            if not delay <= MAX_SECONDS:
                raise ValueError(f"a retry is due in {MAX_SECONDS} seconds at most, not {delay:g}")
            args = None if args is None else to_json(list(args), "retry's args", arguments=True)
            # `self.retry(kwargs=self.request.kwargs)`: what was filled in is not the client's.
            kept = None if kwargs is None else {name: kwargs[name] for name in kwargs if name != "task_id"}
            kwargs = None if kept is None else to_json(kept, "retry's kwargs", arguments=True)
        except (TypeError, ValueError) as error:
            run.fail(error)
            raise
        run.retry_later(
            retry.exc if isinstance(retry.exc, BaseException) else retry, NextTry(float(delay), args, kwargs)
        )
        self._task.close_session()  # Celery calls no `after_return` for a retry

    def _seconds_until(self, run: AttemptRun, when: Any) -> float:
        """Return the seconds until a Retry's `when`, which is a number of seconds, a time, or nothing."""
        if isinstance(when, datetime):
            moment: datetime = maybe_make_aware(when)
            return max(0.0, (moment - datetime.now(UTC)).total_seconds())
        return float(when) if isinstance(when, int | float) else self._delay(run, self._task.default_retry_delay)

    def _delay(self, run: AttemptRun, default: float | None) -> float:
        """Return seconds until the next attempt: the request's back-off, else the decorator's, else the default."""
        base = run.claim.retry_backoff_seconds
        if base is None:
            base = float(getattr(self._task, "retry_backoff", 0) or 0) or None
        if base is None and default is not None:
            return default
        return backoff_seconds(
            1.0 if base is None else base,
            run.claim.failures,
            maximum=getattr(self._task, "retry_backoff_max", 600),
            jitter=getattr(self._task, "retry_jitter", True),
        )

    def _retry_limit(self, run: AttemptRun, max_retries: int | None) -> int | None:
        """Return how often the body may fail with `self.retry()`: as named for the task, else Celery's max_retries."""
        if run.claim.max_attempts_named:
            return run.claim.max_attempts
        retries = self._task.max_retries if max_retries is None else max_retries
        return None if retries is None else retries + 1


def ends_the_process(error: BaseException) -> bool:
    """Return whether it was raised by a signal that ends this pool child (billiard's exit codes are negative).

    A body's own `sys.exit()` ends the body: it fails, as a script would.
    """
    if isinstance(error, SystemExit):
        return isinstance(error.code, int) and error.code < 0
    return isinstance(error, KeyboardInterrupt)


@functools.cache
def takes_task_id(task: SQLAlchemyTask) -> bool:
    """Return whether the body has a parameter of this name, to be filled with the record's id."""
    return "task_id" in inspect.signature(task.run).parameters


def may_be_written_later(task: SQLAlchemyTask) -> bool:
    """Return whether the parent may write a success some milliseconds later, after the child has gone on.

    Not where Celery runs a user's code after the body, or stores a result that a client may wait for: both may read the
    row.
    """
    hashable: Any = task
    return not (signals.task_success.receivers or signals.task_postrun.receivers or _is_followed(hashable))


@functools.cache
def _is_followed(task: Any) -> bool:
    kind = task.__class__  # also of the task that a Celery proxy stands for
    has_hooks = kind.on_success is not SQLAlchemyTask.on_success or kind.after_return is not SQLAlchemyTask.after_return
    return has_hooks or task.app.conf.result_backend is not None
