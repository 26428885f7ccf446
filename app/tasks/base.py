"""The base of every task: connects Celery's tracer with the task's record.

With a record (a message that names one), the claim, the end, retries and progress are written by what stands here.
Without one (plain `.delay()`), the same task runs as an ordinary Celery task.
"""

import functools
import inspect
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from celery import Task
from celery._state import _task_stack
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.time import maybe_make_aware
from sqlalchemy.orm import Session

from app.core.redaction import secrets_in
from app.db.session import SessionLocal
from app.errors import AttemptHandedBack, AttemptLost, TaskCancelled
from app.messaging.dispatches import GENERATION_HEADER, RECORD_HEADER
from app.messaging.reprs import parameters_of
from app.schemas.task import MAX_SECONDS
from app.services.execution.attempts import NextTry, Ticket
from app.tasks.followers import is_followed
from app.tasks.retries import backoff_seconds
from app.worker.child.attempt_run import AttemptRun, to_json
from app.worker.child.coroutines import run_coroutine
from app.worker.shared import logs
from app.worker.shared.delivery import Undeliverable
from app.worker.shared.identity import identity

logger = logging.getLogger(__name__)

T = TypeVar("T")


class SQLAlchemyTask(Task):
    """Celery's Task with a record in the database.

    Options of the decorator beyond Celery's own: `max_attempts` (how often the body may fail), `rerun_lost` (False:
    a lost worker fails the task instead of running it again), `catalogue` (False: not to be created through the API).
    """

    abstract = True
    Request = "app.worker.parent.request:RecordRequest"

    max_attempts: int | None = None
    rerun_lost: bool = True
    catalogue: bool = True
    dont_autoretry_for: tuple[type[BaseException], ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make an `async def` body callable as Celery calls bodies, before `autoretry_for` wraps it."""
        super().__init_subclass__(**kwargs)
        if "before_start" in cls.__dict__:
            cls.before_start = _ending_what_it_claimed(cls.before_start)  # type: ignore[method-assign]
        run = cls.__dict__.get("run")
        function = run.__func__ if isinstance(run, staticmethod) else run
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            def run_async(*args: Any, **kwargs: Any) -> Any:
                return run_coroutine(function(*args, **kwargs))

            cls.run = staticmethod(run_async) if isinstance(run, staticmethod) else run_async

    # For bodies

    @property
    def db(self) -> Session:
        """A session of this run's own, opened at its first use and closed by `after_return`."""
        session: Session | None = self.request.get("db_session")
        if session is None:
            session = SessionLocal()
            self.request.db_session = session
        return session

    def update_progress(self, progress: float | None, detail: Any | None = None) -> None:
        """Report percent done (0–100) and, if given, any JSON about it; cheap to call often.

        Raises TaskCancelled once the task was cancelled, AttemptLost once another attempt holds it, AttemptHandedBack
        when the worker leaves, ValueError for a percent out of range or a detail of more than MAX_RESULT_BYTES. Does
        nothing where there is no record.
        """
        run = self._run
        if run is not None:
            run.report(None if progress is None else math.floor(progress), detail)

    def track(self, iterable: Iterable[T], total: int | None = None) -> Iterator[T]:
        """Yield from `iterable`, reporting progress and honouring a cancellation before each item.

        `total` is the number of items where the iterable has no length; without either only cancellation is seen.
        """
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        for done, item in enumerate(iterable):
            self.update_progress(min(100, done * 100 // total) if total else None)
            yield item
        self.update_progress(100 if total else None)

    # For Celery

    def before_start(self, task_id: str, args: Any, kwargs: dict[str, Any]) -> None:
        """Claim the record that the message names; the row's arguments take the place of the message's."""
        super().before_start(task_id, args, kwargs)
        self._claim()

    # Positional only: a client's keyword argument may be called `self`.
    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        request = self.request
        if request.called_directly:
            return self._call_directly(args, kwargs)
        if self._is_named_record and self._run is None:
            self._claim()  # a `before_start` of the task's own that did not call super
        run = self._run
        if run is None:
            return self._run_plain(args, kwargs)
        if run.started:
            return self._call_directly(args, kwargs)  # the body calls its own task as a function
        return self._run_record(run, list(request.args), dict(request.kwargs))

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Close the run's session. A task that overrides this calls super."""
        self._close_session()
        super().after_return(status, retval, task_id, args, kwargs, einfo)

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Celery's `retry`. With a record, the delay is kept in the database and no message is sent until it is due."""
        run = self._run
        if run is None:
            retried: Retry = super().retry(
                args, kwargs, exc, throw, eta=eta, countdown=countdown, max_retries=max_retries, **options
            )
            return retried
        limit = self._retry_limit(run, max_retries)
        if limit is not None and run.claim.failures + 1 >= limit:
            raise exc or self.MaxRetriesExceededError(f"{self.name} of task {run.task_id} has no attempt left")
        if run.claim.retry_backoff_seconds is not None or (eta is None and countdown is None):
            countdown = self._delay(run, self.default_retry_delay)
        if eta is not None and countdown is None:
            countdown = self._seconds_until(run, eta)
        retry = Retry(exc=exc, when=max(0.0, float(countdown or 0)))
        self.request.retry_wanted = retry, args, kwargs
        if throw:
            raise retry
        return retry

    # Inside

    @property
    def _run(self) -> AttemptRun | None:
        run: AttemptRun | None = self.request.get("attempt_run")
        return run

    @property
    def _is_named_record(self) -> bool:
        return self.request.get(RECORD_HEADER) is not None

    def _claim(self) -> None:
        """Claim the row, or leave the message alone: whoever has the task now will run it."""
        request = self.request
        if not self._is_named_record or self._run is not None:
            return
        try:
            ticket = Ticket(UUID(request.get(RECORD_HEADER)), int(request.get(GENERATION_HEADER)), self.name)
            run = AttemptRun.claim_for(ticket, identity(request.hostname))
        except Undeliverable as error:
            logger.warning("task %s not claimed, the keeper sends it again: %s", request.get(RECORD_HEADER), error)
            raise Ignore from error
        if run is None:
            raise Ignore
        self._hide(run.claim.args, run.claim.kwargs)
        request.attempt_run = run
        request.retries = run.claim.failures
        # In place: these are the objects that Celery hands to the body and to every hook.
        request.args[:] = run.claim.args
        request.kwargs.clear()
        request.kwargs.update(run.claim.kwargs)
        if takes_task_id(self):
            request.kwargs["task_id"] = str(run.task_id)

    def _hide(self, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """From now on, what they hold under the name of a secret is in no line and no error of this request."""
        logs.hide(self.request, [*parameters_of(self).secrets_in(args), *secrets_in(kwargs)])

    def _run_plain(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._hide(args, kwargs)
        try:
            return self.run(*args, **kwargs)
        except BaseException as error:
            told = logs.conceal(error)
            if told is not error:
                raise told from None
            raise

    def _run_record(self, run: AttemptRun, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Run the body and write how it ended; what is raised from here tells Celery the same."""
        try:
            with run.body():
                result = to_json(self.run(*args, **kwargs))
        except BaseException as error:
            if ends_the_process(error):
                raise  # its parent tells the row
            self._end_badly(run, error)
            told = logs.conceal(error)
            if told is not error:
                raise told from None
            raise
        wanted = self.request.get("retry_wanted")  # `self.retry(throw=False)`
        if wanted is not None:
            self._retry_later(run, wanted[0])
            raise wanted[0]
        run.succeed(result, later=not is_followed(self, SQLAlchemyTask))
        return result

    def _end_badly(self, run: AttemptRun, error: BaseException) -> None:
        """Write how an attempt ended that has raised `error`; returns where Celery is to see that very error."""
        if isinstance(error, TaskCancelled) or run.stopped is TaskCancelled:
            run.revoke("cancelled")
            self._leave(error)
        elif isinstance(error, AttemptLost) or run.stopped is AttemptLost:
            run.leave()
            self._leave(error)
        elif isinstance(error, AttemptHandedBack) or run.stopped is AttemptHandedBack:
            # Whatever the body made of it on its way out: the failure, if it is one, is ours.
            run.hand_back()
            self._leave(error)
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

    def _leave(self, error: BaseException) -> None:
        """The row is right already; Celery has nothing to record, and calls no `after_return` either."""
        self._close_session()
        raise Ignore from error

    def _fail_or_retry(self, run: AttemptRun, error: BaseException) -> None:
        # Unless somebody named a number, retrying is up to Celery's `autoretry_for`, which has had its say by now.
        last = not run.claim.max_attempts_named or run.claim.failures + 1 >= run.claim.max_attempts
        if last or isinstance(error, tuple(self.dont_autoretry_for)):
            run.fail(error)
            return
        delay = self._delay(run, None)
        run.retry_later(error, NextTry(delay))
        raise Retry(exc=logs.conceal(error), when=delay) from error

    def _retry_later(self, run: AttemptRun, retry: Retry) -> None:
        _, args, kwargs = self.request.get("retry_wanted") or (retry, None, None)
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
        self._close_session()  # Celery calls no `after_return` for a retry

    def _seconds_until(self, run: AttemptRun, when: Any) -> float:
        """From a Retry's `when`, which is a number of seconds, a time, or nothing."""
        if isinstance(when, datetime):
            moment: datetime = maybe_make_aware(when)
            return max(0.0, (moment - datetime.now(UTC)).total_seconds())
        return float(when) if isinstance(when, int | float) else self._delay(run, self.default_retry_delay)

    def _delay(self, run: AttemptRun, default: float | None) -> float:
        """Seconds until the next attempt: the request's back-off, else the decorator's, else the default."""
        base = run.claim.retry_backoff_seconds
        if base is None:
            base = float(getattr(self, "retry_backoff", 0) or 0) or None
        if base is None and default is not None:
            return default
        return backoff_seconds(
            1.0 if base is None else base,
            run.claim.failures,
            maximum=getattr(self, "retry_backoff_max", 600),
            jitter=getattr(self, "retry_jitter", True),
        )

    def _retry_limit(self, run: AttemptRun, max_retries: int | None) -> int | None:
        """How often the body may fail with `self.retry()`: what was named for the task, else Celery's max_retries."""
        if run.claim.max_attempts_named:
            return run.claim.max_attempts
        retries = self.max_retries if max_retries is None else max_retries
        return None if retries is None else retries + 1

    def _call_directly(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """As Celery's own `__call__`, with the session closed while the call's request is still there."""
        _task_stack.push(self)
        self.push_request(args=args, kwargs=kwargs)
        try:
            return self.run(*args, **kwargs)
        finally:
            self._close_session()
            self.pop_request()
            _task_stack.pop()

    def _close_session(self) -> None:
        session: Session | None = self.request.__dict__.pop("db_session", None)
        if session is not None:
            session.close()


def _ending_what_it_claimed(before_start: Callable[..., None]) -> Callable[..., None]:
    """A task's own `before_start`: what it raises after the claim ends the attempt, as if the body had raised it."""

    @functools.wraps(before_start)
    def guarded(self: SQLAlchemyTask, *args: Any, **kwargs: Any) -> None:
        try:
            before_start(self, *args, **kwargs)
        except Exception as error:
            run = self._run
            if run is not None:
                self._end_badly(run, error)
            raise

    return guarded


def ends_the_process(error: BaseException) -> bool:
    """Whether it was raised by a signal that ends this pool child (billiard's exit codes are negative).

    A body's own `sys.exit()` ends the body: it fails, as a script would.
    """
    if isinstance(error, SystemExit):
        return isinstance(error.code, int) and error.code < 0
    return isinstance(error, KeyboardInterrupt)


@functools.cache
def takes_task_id(task: SQLAlchemyTask) -> bool:
    """Whether the body has a parameter of this name, to be filled with the record's id."""
    return "task_id" in inspect.signature(task.run).parameters
