"""Runs the body of a task in a test as a worker would, without a broker, a worker or a row.

    from app.testing import run_task

    run = run_task(resize, ["a.png"], size="s")
    assert run.status == "succeeded"

In pytest: `pytest_plugins = ["app.testing"]` in the `conftest.py` at the root of the tests, and the fixture
`task_runner`. Only the fixture needs pytest. docs/recipes.md shows more.
"""

import hashlib
import json
import mimetypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple
from uuid import UUID

from celery import states
from celery.app.trace import build_tracer

from app.catalogue import type_of
from app.core.ids import new_id
from app.core.json_text import dump_json
from app.core.task_bodies import belongs_to, coroutine_runner
from app.db.sql import attached_rows
from app.db.statements.task_moves import Cancellation
from app.errors import TaskCancelled
from app.messaging.hidden_values import hide_arguments
from app.messaging.input_files import FoundFile, InputFile
from app.messaging.task_base import SQLAlchemyTask
from app.models.task import TaskStatus
from app.services.execution.attempts import (
    AttemptError,
    Claim,
    CurrentAttempt,
    NextTry,
    check_name,
    check_percent,
    check_size,
    current_attempt,
)
from app.services.files.contents import BINARY
from app.services.tasks.new_rows import parse
from app.worker.child.attempt_files import GONE, pieces_of
from app.worker.child.attempt_output import json_of
from app.worker.child.record_runner import takes_task_id
from app.worker.child.references import Arguments
from app.worker.child.steps import Steps
from app.worker.shared.error_text import describe

__all__ = ["Emitted", "Report", "TaskRun", "TaskRunner", "run_task"]

Outcome = Literal["succeeded", "failed", "retried", "revoked", "handed_back", "lost"]
STATUS_AFTER: dict[Outcome, TaskStatus] = {
    "succeeded": TaskStatus.SUCCEEDED,
    "failed": TaskStatus.FAILED,
    "retried": TaskStatus.PENDING,
    "revoked": TaskStatus.REVOKED,
    "handed_back": TaskStatus.PENDING,
    "lost": TaskStatus.RUNNING,  # another attempt holds the task
}
ALL = 100


class Report(NamedTuple):
    """One call of `update_progress`, or one step of `track`. None: the value stays as it was."""

    percent: int | None
    detail: Any | None


class Emitted(NamedTuple):
    """One call of `emit`: the stream, and the chunk as JSON."""

    stream: str
    chunk: Any


@dataclass(frozen=True)
class TaskRun:
    """What the record of the task would say after this attempt."""

    task_id: UUID
    status: TaskStatus
    # As `GET /tasks/{id}/attempts` names it.
    outcome: Outcome
    # As JSON: a date is a text, a tuple is a list.
    result: Any
    # Type, message and traceback of what ended the attempt in a failure or in a retry, secrets hidden.
    error: AttemptError | None
    # The very exception, for `isinstance`.
    exception: BaseException | None
    progress: int
    progress_detail: Any | None
    # All of them, in order; a worker writes at most one every 200 ms, and the last one.
    reports: list[Report]
    # When the next attempt is due, and with which arguments where the body asked for others.
    next_try: NextTry | None
    # What the body has saved by `self.save_artifact`, by name.
    artifacts: dict[str, bytes] = field(default_factory=dict)
    # The results of all steps that are kept, of this attempt and of earlier ones, by name.
    steps: dict[str, Any] = field(default_factory=dict)
    # All of them, in order; a worker may keep several texts as one.
    emitted: list[Emitted] = field(default_factory=list)

    def output(self, stream: str = "output") -> list[Any]:
        """Return the chunks of one stream."""
        return [each.chunk for each in self.emitted if each.stream == stream]

    @property
    def retry(self) -> float | None:
        """Seconds until the next attempt, or None where there is none."""
        return None if self.next_try is None else self.next_try.delay

    @property
    def percents(self) -> list[int | None]:
        """The percentage of each report."""
        return [report.percent for report in self.reports]

    @property
    def details(self) -> list[Any]:
        """The details of the reports that had one."""
        return [report.detail for report in self.reports if report.detail is not None]


@dataclass
class TaskRunner:
    """Runs the bodies of tasks, each time as one attempt of a new task. The fields say which attempt it is."""

    # A number n: the task is cancelled, and the body hears of it at its n-th report and at all that follow.
    cancel_after: int | None = None
    # How often the body has failed before: `self.request.retries`.
    failures: int = 0
    # As a request names them; else the decorator's.
    max_attempts: int | None = None
    retry_backoff_seconds: float | None = None
    # The results of the steps that earlier attempts have kept, by name: `TaskRunner(steps=run.steps)` goes on.
    steps: Mapping[str, Any] = field(default_factory=dict)
    # The files that arguments may name, by their ids: any UUIDs, as text.
    files: Mapping[str, Path] = field(default_factory=dict)

    def run(self, task: Any, /, *args: Any, **kwargs: Any) -> TaskRun:
        """Run the body with these arguments, which are checked and converted as those of a request.

        An error of the body is in the answer and is not raised. Raises InvalidArguments for arguments that the
        signature refuses, TypeError for those that are not JSON (send a date as text, as a client does) and for what is
        not a task of this service, InvalidTask for those that are too large and for options that a request may not
        have, UnusableParameter for a signature that JSON cannot fill.
        """
        if not isinstance(task, SQLAlchemyTask):
            raise TypeError(f"{task!r} is not a task of celery_app")
        claim = self._claim(task, args, kwargs)
        with TemporaryDirectory() as folder:
            files = LocalFiles(self.files, Path(folder))
            attempt = UnwrittenAttempt(claim, self.cancel_after, steps=dict(self.steps), files=files)
            attempt.trace(task)
        return attempt.result()

    def _claim(self, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Claim:
        """Return the claim of a task that was created with these arguments."""
        options = {"max_attempts": self.max_attempts, "retry_backoff_seconds": self.retry_backoff_seconds}
        given = {name: value for name, value in options.items() if value is not None}
        names = {"name": "test", "task_type": "test", "celery_task_name": task.name}
        wanted = parse({**names, "args": list(args), "kwargs": kwargs, **given})
        kind = type_of(task)
        kind.check(wanted.args, wanted.kwargs)
        attempt = max(self.failures, bool(self.steps)) + 1
        return Claim(
            new_id(), attempt, _as_stored(wanted.args), _as_stored(wanted.kwargs), self.failures,
            max_attempts=wanted.max_attempts or kind.max_attempts,
            max_attempts_named=wanted.max_attempts is not None or kind.max_attempts_named,
            retry_backoff_seconds=wanted.retry_backoff_seconds,
        )  # fmt: skip


def run_task(task: Any, /, *args: Any, **kwargs: Any) -> TaskRun:
    """Run the body of a task as its first attempt. As `TaskRunner().run`, which says what it raises."""
    return TaskRunner().run(task, *args, **kwargs)


class KeptResults(NamedTuple):
    """In place of `app.worker.child.steps.KeptRows`: the results of the steps by name, as JSON."""

    results: dict[str, Any]
    is_cancelled: Callable[[], bool]

    def names(self) -> set[str]:
        return {*self.results}

    def result(self, name: str) -> Any:
        return _as_stored(self.results[name])

    def write(self, step: attached_rows.Step) -> Cancellation:
        self.results[step.name] = None if step.result is None else json.loads(step.result)
        return [datetime.now(UTC) if self.is_cancelled() else None]


@dataclass
class LocalFiles:
    """In place of `app.worker.child.attempt_files.AttemptFiles`: files of the test, and what the body saves."""

    known: Mapping[str, Path]
    folder: Path
    saved: dict[str, bytes] = field(default_factory=dict)

    def find(self, file_id: UUID) -> InputFile:
        path = self.known.get(str(file_id))
        if path is None:
            raise ValueError(GONE)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        kind = mimetypes.guess_type(path.name)[0] or BINARY
        size = path.stat().st_size
        return InputFile(file_id, FoundFile(file_id, path.name, size, digest, kind, LocalContent(path)))

    def save(self, name: str, data: Any, content_type: str | None, *, partial: bool) -> UUID:  # noqa: ARG002
        with pieces_of(data) as pieces:
            self.saved[name] = b"".join(pieces)
        return new_id()

    def directory(self) -> Path:
        return self.folder


class LocalContent(NamedTuple):
    """Of a file of the test."""

    file: Path

    def read(self, start: int, length: int) -> bytes:
        with self.file.open("rb") as opened:
            opened.seek(start)
            return opened.read(length)

    def path(self) -> Path:
        return self.file


@dataclass
class UnwrittenAttempt:
    """In place of `app.worker.child.attempt_run.AttemptRun`: keeps what that one would write to the row."""

    claim: Claim
    cancel_after: int | None = None
    started: bool = False
    is_bound: bool = False
    unfit: Exception | None = None
    # What the orders of a worker would set.
    stopped: type[BaseException] | None = None
    reports: list[Report] = field(default_factory=list)
    # How it ended, and with what: a result, an error, a reason.
    ends: list[tuple[Outcome, Any]] = field(default_factory=list)
    # The error as the row shows it.
    shown: AttemptError | None = None
    next_try: NextTry | None = None
    left_to_the_parent: bool = False
    steps: dict[str, Any] = field(default_factory=dict)
    files: LocalFiles = field(default_factory=lambda: LocalFiles({}, Path()))
    emitted: list[Emitted] = field(default_factory=list)
    # No line that it logs is kept.
    log: None = None

    def __post_init__(self) -> None:
        self.current = CurrentAttempt(self.claim.id, self.claim.attempt)
        self._task: Any = None
        self._steps = Steps(self.claim.attempt, KeptResults(self.steps, lambda: self._is_cancelled))

    def trace(self, task: Any) -> str:
        """Run it under Celery's tracer, hooks included. Returns the state that Celery sees."""
        self._task = task
        args, kwargs = list(self.claim.args), dict(self.claim.kwargs)
        if takes_task_id(task):
            kwargs["task_id"] = str(self.task_id)
        request = {"id": str(new_id()), "retries": self.claim.failures, "attempt_run": self, "hostname": "test"}
        # Eager: what a hook raises is raised here, and no result backend is written.
        tracer = build_tracer(task.name, task, eager=True, app=task.app)
        _, info, _, _ = tracer(request["id"], args, kwargs, request)
        return states.SUCCESS if info is None else str(info.state)

    def result(self) -> TaskRun:
        """Return the outcome of the run."""
        ((outcome, with_what),) = self.ends
        percents = [report.percent for report in self.reports if report.percent is not None]
        details = [report.detail for report in self.reports if report.detail is not None]
        succeeded = outcome == "succeeded"
        return TaskRun(
            task_id=self.task_id,
            status=STATUS_AFTER[outcome],
            outcome=outcome,
            result=with_what if succeeded else None,
            error=self.shown,
            exception=with_what if isinstance(with_what, BaseException) else None,
            progress=ALL if succeeded else percents[-1] if percents else 0,
            progress_detail=details[-1] if details else None,
            reports=self.reports,
            next_try=self.next_try,
            artifacts=self.files.saved,
            steps=self.steps,
            emitted=self.emitted,
        )

    # What `SQLAlchemyTask` and `RecordRunner` call

    @property
    def task_id(self) -> UUID:
        return self.claim.id

    def arguments(self) -> Arguments:
        return Arguments(self.claim.args, self.claim.kwargs)

    def step(
        self, name: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:  # fmt: skip
        return self._steps.run(name, function, args, kwargs)

    @property
    def fault(self) -> Exception | None:
        return self._steps.fault

    def count(self, what: str, amount: int, setting: str) -> None:
        """Count nothing: a user's daily limit is in the database, and here there is none."""

    @contextmanager
    def body(self) -> Iterator[None]:
        self.started = True
        hide_arguments(self._task, self.claim.args, self.claim.kwargs)
        token = current_attempt.set(self.current)
        try:
            with belongs_to(self):
                yield
        finally:
            current_attempt.reset(token)

    def emit(self, chunk: Any, stream: str) -> None:
        check_name(stream, "stream")
        text = dump_json(chunk) if isinstance(chunk, str) else json_of(chunk)
        self.emitted.append(Emitted(stream, json.loads(text)))
        if self._is_cancelled:
            raise TaskCancelled

    def report(self, percent: int | None, detail: Any | None = None) -> None:
        if percent is not None:
            check_percent(percent)
        check_size(detail, "progress detail")
        self.reports.append(Report(percent, _as_stored(detail)))
        if self._is_cancelled:
            raise TaskCancelled

    def succeed(self, result: Any, *, later: bool = False) -> None:
        self.ends.append(("succeeded", result))
        self.left_to_the_parent = later

    def fail(self, error: BaseException) -> None:
        self._end_badly("failed", error)

    def retry_later(self, error: BaseException | None, following: NextTry) -> None:
        if self._end_badly("retried", error):
            self.next_try = following

    def _end_badly(self, outcome: Outcome, error: BaseException | None) -> bool:
        """Note the error while its secrets are known. False where a cancellation makes it a revocation."""
        if self._is_cancelled:
            self.revoke("cancelled")
            return False
        self.shown = None if error is None else describe(error)
        self.ends.append((outcome, error))
        return True

    def revoke(self, reason: str) -> None:
        self.ends.append(("revoked", reason))

    def hand_back(self) -> None:
        self.ends.append(("handed_back", None))

    def leave(self) -> None:
        self.ends.append(("lost", None))

    @property
    def _is_cancelled(self) -> bool:
        return self.cancel_after is not None and len(self.reports) >= self.cancel_after


def _as_stored(value: Any) -> Any:
    """Return the value as it is read back from its row."""
    return json.loads(dump_json(value))


try:
    import pytest
except ModuleNotFoundError:  # it is no dependency of the service: without it, everything but the fixture works
    pass
else:

    @pytest.fixture
    def task_runner() -> Iterator[TaskRunner]:
        """Give a TaskRunner of this test. The event loop of `async def` bodies is closed after the test."""
        yield TaskRunner()
        coroutine_runner().close()
