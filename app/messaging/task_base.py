"""The base of every task: connects Celery's tracer with the task's record.

With a record (a message that names one), the claim, the end, retries and progress are written by
`app.worker.child.record_runner`. Without one (plain `.delay()`), the task runs as an ordinary Celery task.
"""

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sized
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

from celery import Task
from celery._state import _task_stack
from celery.exceptions import Retry
from kombu.utils.imports import symbol_by_name
from sqlalchemy.orm import Session

from app.core.task_bodies import coroutine_runner, present_attempt
from app.db.session import SessionLocal
from app.messaging.guard.messages import BUILT_INS
from app.messaging.hidden_values import conceal, hide_arguments
from app.messaging.parameters import arguments_of_body, without_filled

T = TypeVar("T")


# In `Session.info`: this session is closed after the body.
OF_RUN = "of_run"


class SQLAlchemyTask(Task):
    """Celery's Task with a record in the database.

    Options of the decorator beyond Celery's own: `max_attempts` (how often the body may fail), `rerun_lost` (False:
    a lost worker fails the task instead of running it again), `catalogue` (False: not to be created through the API),
    `needs_settings` (names of settings without which it cannot be created), `users_setting` (the name of the setting
    that lists who may create it), `reads_tasks` (True: its body reads its user's tasks, so that an API key needs
    `tasks:read` to create it), `daily_limit` (a `DailyLimit` of what one user's attempts may do in a day), `limit`
    and `limit_key` (the name of a limit of `/limits/`, and a key of it, where the request names none),
    `offload_result` (True: a result of more than MAX_RESULT_BYTES becomes the artifact `result.json`).
    """

    abstract = True
    Request = "app.worker.parent.request:RecordRequest"
    # Resolved in a worker, at its first message that names a record.
    RecordRunner = "app.worker.child.record_runner:RecordRunner"

    max_attempts: int | None = None
    rerun_lost: bool = True
    catalogue: bool = True
    needs_settings: tuple[str, ...] = ()
    users_setting: str | None = None
    reads_tasks: bool = False
    daily_limit: Any = None
    limit: str | None = None
    limit_key: str | None = None
    offload_result: bool = False
    dont_autoretry_for: tuple[type[BaseException], ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make an `async def` body callable as Celery calls bodies, before `autoretry_for` wraps it."""
        super().__init_subclass__(**kwargs)
        if "before_start" in cls.__dict__:
            cls.before_start = _ending_a_claimed_attempt(cls.before_start)  # type: ignore[method-assign]
        run = cls.__dict__.get("run")
        function = run.__func__ if isinstance(run, staticmethod) else run
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            def run_async(*args: Any, **kwargs: Any) -> Any:
                return coroutine_runner().run(function(*args, **kwargs))

            cls.run = staticmethod(run_async) if isinstance(run, staticmethod) else run_async

    # For bodies

    @property
    def db(self) -> Session:
        """A session of this run's own, opened at its first use and closed by `after_return`."""
        session: Session | None = self.request.get("db_session")
        if session is None:
            session = SessionLocal(info={OF_RUN: True})
            self.request.db_session = session
        return session

    def update_progress(self, progress: float | None, detail: Any | None = None) -> None:
        """Report percent done (0–100) and, if given, any JSON about it; cheap to call often.

        Raises TaskCancelled once the task was cancelled, AttemptLost once another attempt holds it, AttemptHandedBack
        when the worker shuts down, ValueError for a percent out of range or a detail of more than MAX_RESULT_BYTES.
        Does nothing where there is no record.
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

    def step(self, name: str, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Run `function` once in all attempts of the task, and return its result as JSON: kept, in a later attempt.

        The result is committed before this returns. Of an async function it returns an awaitable. Raises StepRepeated
        for a name that this attempt has used, which fails the task; TypeError or ValueError for a result that is not
        JSON or has more than MAX_RESULT_BYTES; TaskCancelled, AttemptLost, AttemptHandedBack as `update_progress` does.
        Where there is no record, it just calls the function. See docs/steps.md.
        """
        run = self._run
        result: T = function(*args, **kwargs) if run is None else run.step(name, function, args, kwargs)
        return result

    def save_artifact(
        self, name: str, data: Any, content_type: str | None = None, *, partial: bool = False
    ) -> str | None:  # fmt: skip
        """Keep an artifact of the task under a name of 1 to 200 characters, and return its id.

        `data` is bytes, a text (kept as UTF-8), a path (`pathlib.Path`) or an open file. It is seen once this attempt
        has succeeded, with `partial` at once. Saved again under its name, it is replaced. Raises ArtifactTooLarge for
        more than MAX_FILE_BYTES; TypeError or ValueError for a name or data that cannot be kept; StorageFull,
        StorageUnavailable; AttemptLost. Where there is no record, it keeps nothing and returns None.
        """
        run = self._run
        return None if run is None else str(run.files.save(name, data, content_type, partial=partial))

    def emit(self, chunk: Any, stream: str = "output") -> None:
        """Add a text or any JSON to an output stream of the task; cheap to call often, also in threads of the body.

        Texts of one stream that come one behind the other may be kept as one. All of it is kept before the attempt's
        end can be seen. Raises OutputTooLarge beyond TASK_OUTPUT_BYTES, after which the task may go on; TypeError or
        ValueError for what is not JSON, has more than MAX_RESULT_BYTES (texts may), or is no name of a stream;
        TaskCancelled, AttemptLost, AttemptHandedBack as `update_progress` does. Does nothing where there is no record.
        """
        # In a thread that the body has started there is no request.
        run = present_attempt() if self.request_stack.top is None else self._run
        if run is not None:
            run.emit(chunk, stream)

    # For Celery

    def before_start(self, task_id: str, args: Any, kwargs: dict[str, Any]) -> None:
        """Take the arguments of the claimed record."""
        super().before_start(task_id, args, kwargs)
        self._bind()

    # Positional only: a client's keyword argument may be called `self`.
    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        request = self.request
        if request.called_directly:
            caller = _task_stack.top
            if caller is not None and caller.name in BUILT_INS:  # `celery.starmap` calls what its message names
                args, kwargs = without_filled(self, args, kwargs)  # type: ignore[assignment]
            return self.call_directly(args, kwargs)
        run = request.get("attempt_run")
        if run is None:
            return self._run_plain(args, kwargs)
        if run.started:
            return self.call_directly(args, kwargs)  # the body calls its own task as a function
        self._bind()  # where a `before_start` of the task's own did not call super
        return self._records.run(run)

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Close the run's session. A task that overrides this calls super."""
        self.close_session()
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
        """Retry as Celery does. With a record, the database has the delay, and no message is sent until it is due."""
        if self._run is None:
            retried: Retry = super().retry(
                args, kwargs, exc, throw, eta=eta, countdown=countdown, max_retries=max_retries, **options
            )
            return retried
        retry: Retry = self._records.retry_of(self._run, exc, eta, countdown, max_retries)
        self.request.retry_wanted = retry, args, kwargs
        if throw:
            raise retry
        return retry

    # For the record runner

    def call_directly(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call as Celery's own `__call__`, with the session closed while the call's request is still there."""
        _task_stack.push(self)
        self.push_request(args=args, kwargs=kwargs)
        try:
            return self.run(*args, **kwargs)
        finally:
            self.close_session()
            self.pop_request()
            _task_stack.pop()

    def close_session(self) -> None:
        """Close the session of the present request, if its body has used one."""
        session: Session | None = self.request.__dict__.pop("db_session", None)
        if session is not None:
            session.close()

    # Inside

    @property
    def _run(self) -> Any | None:
        """The claimed attempt (`app.worker.child.attempt_run.AttemptRun`), where the request has one."""
        return self.request.get("attempt_run")

    @cached_property
    def _records(self) -> Any:
        return symbol_by_name(self.RecordRunner)(self)

    def _bind(self) -> None:
        request = self.request
        run = request.get("attempt_run")
        if run is not None and not run.is_bound:
            self._records.bind(run)

    def _run_plain(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self.request.is_eager:
            args, kwargs = without_filled(self, args, kwargs)  # type: ignore[assignment]
        hide_arguments(self, args, kwargs)
        try:
            converted = arguments_of_body(self, args, kwargs)
            return self.run(*converted[0], **converted[1])
        except BaseException as error:
            shown = conceal(error)
            if shown is not error:
                raise shown from None
            raise


def _ending_a_claimed_attempt(before_start: Callable[..., None]) -> Callable[..., None]:
    """Run a task's own `before_start`: what it raises after the claim ends the attempt, as if the body had."""

    @functools.wraps(before_start)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            before_start(self, *args, **kwargs)
        except Exception as error:
            run = self.request.get("attempt_run")
            if run is not None:
                self._records.end_badly(run, error)
            raise

    return guarded
