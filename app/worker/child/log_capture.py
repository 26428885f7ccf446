"""Finds what bodies log and print, in a process that runs them, for their attempts and for the worker's own log.

`logging.Logger.callHandlers` is where each record passes that its logger lets through, whatever handlers there are and
whether it propagates (docs/adr/0046). `sys.stdout` and `sys.stderr` are wrapped. Both go on as before: the worker's own
log stays as it is.

Whose a line is says `app/core/task_bodies.py`. What a thread logs that was left behind by an earlier body belongs to
that body, which has ended: it is not kept, and no other user gets to read it.
"""

import logging
import sys
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

from celery import current_task
from celery.exceptions import SoftTimeLimitExceeded
from celery.utils.log import LoggingProxy

from app.core.config import Settings
from app.core.task_bodies import present_attempt
from app.worker.child.attempt_log import LONGEST_LINE, STREAM_LEVELS, AttemptLog, BegunLines, Bounds
from app.worker.child.log_entries import entry_of

logger = logging.getLogger(__name__)

# What the service itself logs while a body runs is not the body's. Tasks that ship with it are, and uncaught exceptions
# of threads.
REDIRECTED = "celery.redirected"
_SERVICE, _BODIES = "app.", ("app.tasks.", "app.core.logging")
# The loggers whose level the worker's `-l` sets, which is about the worker's log.
_SET_BY_WORKER = ("", "celery", "celery.task")


class _Process:
    """What this process has."""

    capture: "LogCapture | None" = None


def present_log() -> AttemptLog | None:
    """Return the log of the attempt for which this code runs."""
    attempt = present_attempt()
    return None if attempt is None else attempt.log


class _Nested(threading.local):
    """What this thread is in the middle of: a line that comes from there is part of one that is kept already."""

    handlers = stream = False


class LogCapture:
    """Between `install` and `remove` what bodies log at `level` and above is added to `present_log()`."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._nested = _Nested()
        self._undo: list[Callable[[], None]] = []

    def install(self) -> None:
        """Begin, after Celery has set up its log, in the place of what was installed in this process before.

        In Celery's pool `solo` the worker itself is told that it is a process of the pool.
        """
        if _Process.capture is not None:
            _Process.capture.remove()
        _Process.capture = self
        self._replace(logging.Logger, "callHandlers", self._call_handlers(logging.Logger.callHandlers))
        set_by_worker = {
            each: each.level for each in map(logging.getLogger, _SET_BY_WORKER) if each.level > self._level
        }
        if set_by_worker:
            self._let_through(set_by_worker)
        for name, level in STREAM_LEVELS.items():
            if level >= self._level and getattr(sys, name) is not None:
                self._replace(sys, name, PrintedLines(getattr(sys, name), name, level, self._nested))

    def remove(self) -> None:
        """Put everything back."""
        _Process.capture = None
        while self._undo:
            self._undo.pop()()

    def _replace(self, owner: Any, name: str, by: Any) -> None:
        before = getattr(owner, name)
        self._undo.append(lambda: setattr(owner, name, before))
        setattr(owner, name, by)

    def _call_handlers(self, call_handlers: Callable[[logging.Logger, logging.LogRecord], None]) -> Any:
        nested = self._nested

        def call(self_: logging.Logger, record: logging.LogRecord) -> None:
            log = present_log()
            if log is None or nested.stream:
                call_handlers(self_, record)
                return
            self._keep(log, record)
            # A handler that writes to `sys.stderr` writes this very record.
            outer, nested.handlers = nested.handlers, True
            try:
                call_handlers(self_, record)
            finally:
                nested.handlers = outer

        return call

    def _keep(self, log: AttemptLog, record: logging.LogRecord) -> None:
        try:
            name = record.name
            # What is printed is kept already, and is logged by Celery's stream perhaps later.
            if (
                record.levelno >= self._level
                and name != REDIRECTED
                and (not name.startswith(_SERVICE) or name.startswith(_BODIES))
            ):
                log.add(entry_of(record))
        except SoftTimeLimitExceeded:
            raise  # by a signal, and the body's to handle
        except Exception:
            logger.exception("a log line of task %s was not kept", log.task_id)

    def _let_through(self, set_by_worker: dict[logging.Logger, int]) -> None:
        """Have bodies log what only the worker's own level keeps out, and keep it out of the worker's log as before.

        Neither levels nor handlers change: what a library or a body sets itself counts.
        """
        is_enabled_for, call_handlers = logging.Logger.isEnabledFor, logging.Logger.callHandlers

        def is_enabled(self_: logging.Logger, level: int) -> bool:
            if is_enabled_for(self_, level):
                return True
            if level < self._level or self_.disabled or self_.manager.disable >= level or present_log() is None:
                return False
            deciding = _deciding(self_)
            return deciding is not None and set_by_worker.get(deciding) == deciding.level

        def call(self_: logging.Logger, record: logging.LogRecord) -> None:
            if is_enabled_for(self_, record.levelno):
                call_handlers(self_, record)
            elif (log := present_log()) is not None and not self._nested.stream:
                self._keep(log, record)

        self._replace(logging.Logger, "isEnabledFor", is_enabled)
        self._replace(logging.Logger, "callHandlers", call)


class PrintedLines:
    """In the place of `sys.stdout` or `sys.stderr`: passes all on to the stream that was there, and keeps the lines."""

    def __init__(self, stream: Any, name: str, level: int, nested: _Nested) -> None:
        self._stream, self._name, self._level, self._nested = stream, name, level, nested

    def write(self, text: str) -> Any:
        log = present_log()
        nested = self._nested
        if log is None or nested.stream:
            return self._stream.write(text)
        if not nested.handlers and isinstance(text, str):
            self._keep(log, text)
        # Celery's stream logs each text, which is one of the parts of a line.
        nested.stream = True
        try:
            return self._stream.write(text)
        finally:
            nested.stream = False

    def writelines(self, texts: Any) -> None:
        for text in texts:
            self.write(text)

    def _keep(self, log: AttemptLog, text: str) -> None:
        try:
            log.print(self._name, self._level, text)
        except SoftTimeLimitExceeded:
            raise
        except Exception:
            logger.exception("a printed line of task %s was not kept", log.task_id)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _deciding(each: logging.Logger | None) -> logging.Logger | None:
    """Return the logger whose level counts for this one."""
    while each is not None and not each.level:
        each = each.parent
    return each


# -- The logs of the bodies that one process runs ----------------------------------------------------------------------


class TaskLogs:
    """Keeps what bodies log, between `install` and `remove`."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._capture = LogCapture(bounds.level)

    @classmethod
    def of(cls, settings: Settings) -> "TaskLogs | None":
        """Return None where the settings say that nothing is kept."""
        if settings.task_log_level == "OFF" or not settings.task_log_bytes:
            return None
        bounds = Bounds(logging.getLevelNamesMapping()[settings.task_log_level], settings.task_log_bytes)
        return cls(bounds)

    def install(self) -> None:
        """Begin, once Celery has set up the log of this process."""
        self._capture.install()

    def remove(self) -> None:
        self._capture.remove()

    def of_attempt(self, task_id: UUID, attempt: int, wake: Callable[[AttemptLog], None]) -> AttemptLog:
        """`wake` is called when lines begin to wait."""
        return AttemptLog(task_id, attempt, self._bounds, wake)


# -- What bodies print, as whole lines of the worker's log -------------------------------------------------------------
# Celery logs each piece that is written to `sys.stdout` at WARNING, and `print("row", 5)` writes four.
# https://docs.celeryq.dev/en/stable/userguide/configuration.html#worker-redirect-stdouts


class WholeLines:
    """In the place of a stream that Celery has redirected to its log: passes whole lines on to it.

    A line that is not ended is passed on at the end of its attempt; of a task without a record, once something else is
    printed.
    """

    def __init__(self, to: LoggingProxy) -> None:
        self.to = to
        self._of_thread = threading.local()
        self._begun: BegunLines[int] = BegunLines(LONGEST_LINE)  # by thread
        self._changes = threading.RLock()  # a signal may have its handler print
        self.has_begun = False  # a line that is not ended yet

    def write(self, text: str) -> int:
        """Pass on the lines that `text` ends."""
        request = getattr(current_task, "request", None)
        task_id = request and request.id
        if getattr(self._of_thread, "task_id", task_id) != task_id:
            self.end()
        self._of_thread.task_id = task_id
        with self._changes:
            ended = self._begun.add(threading.get_ident(), text)
            self.has_begun = bool(self._begun)
        for line in ended:
            self.to.write(line)
        return len(text)

    def writelines(self, texts: Any) -> None:
        for text in texts:
            self.write(text)

    def end(self) -> None:
        """Pass on what is begun, by any thread."""
        with self._changes:
            begun = [*self._begun.end()]
            self.has_begun = False
        for _, line in begun:
            self.to.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.to, name)


# By the stream's name, with the one of Celery that it replaces.
_installed: dict[str, tuple[WholeLines, LoggingProxy]] = {}


def log_whole_lines() -> None:
    """Log `stdout` at INFO, `stderr` at WARNING, once Celery has set up the log of this process."""
    for name, level in STREAM_LEVELS.items():
        stream = getattr(sys, name)
        if isinstance(stream, LoggingProxy):
            # One of its own: Celery gives both streams the same.
            lines = WholeLines(LoggingProxy(stream.logger, level))
            _installed[name] = lines, stream
            setattr(sys, name, lines)


def log_pieces_again() -> None:
    """Put Celery's streams back."""
    while _installed:
        name, (lines, stream) = _installed.popitem()
        lines.end()
        setattr(sys, name, stream)


def end_whole_lines() -> None:
    """Pass on what is printed and not ended, by any thread: the attempt is over."""
    for lines, _ in _installed.values():
        if lines.has_begun:  # of most tasks nothing is
            lines.end()
