"""Finds what bodies log and print, in a process that runs them (docs/adr/0046).

`logging.Logger.callHandlers` is where each record passes that its logger lets through, whatever handlers there are and
whether it propagates. `sys.stdout` and `sys.stderr` are wrapped. Both go on as before: the worker's own log stays as it
is.

Whose a line is says a context variable, which asyncio and `asyncio.to_thread` pass on. Threads and executors do not:
`Thread.start` and `ThreadPoolExecutor.submit` are wrapped to hand on whose work it is. What a thread logs that was left
behind by an earlier body belongs to that body, which has ended: it is not kept, and no other user gets to read it.
"""

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

from app.worker.child.attempt_log import STREAM_LEVELS, AttemptLog
from app.worker.child.log_entries import entry_of

logger = logging.getLogger(__name__)

# The log of the attempt whose body runs in this context.
body_log: ContextVar[AttemptLog | None] = ContextVar("body_log", default=None)
_OF_THREAD = "_task_service_log"
# What the service itself logs while a body runs is not the body's. Tasks that ship with it are, and uncaught exceptions
# of threads.
REDIRECTED = "celery.redirected"
_SERVICE, _BODIES = "app.", ("app.tasks.", "app.core.logging")
# The loggers whose level the worker's `-l` sets, which is about the worker's log.
_SET_BY_WORKER = ("", "celery", "celery.task")


class _Process:
    """What this process has. Of one that a body has forked nobody would write the lines."""

    runs_bodies = True
    capture: "LogCapture | None" = None


def _in_forked() -> None:
    _Process.runs_bodies = False  # another thread of the body's process may hold a lock


def present_log() -> AttemptLog | None:
    """The log of the attempt for which this code runs."""
    if not _Process.runs_bodies:
        return None
    log = body_log.get()
    return log if log is not None else getattr(threading.current_thread(), _OF_THREAD, None)


@contextmanager
def belongs_to(log: AttemptLog | None) -> Iterator[None]:
    """While the block runs, what it logs is this attempt's."""
    token = body_log.set(log)
    try:
        yield
    finally:
        body_log.reset(token)


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
        """Begin, after Celery has set up its log. In the place of what was installed in this process before.

        In Celery's pool `solo` the worker itself is told that it is a process of the pool.
        """
        if _Process.capture is not None:
            _Process.capture.remove()
        _Process.capture = self
        self._replace(logging.Logger, "callHandlers", self._call_handlers(logging.Logger.callHandlers))
        set_by_worker = {each: each.level for each in map(_logger, _SET_BY_WORKER) if each.level > self._level}
        if set_by_worker:
            self._let_through(set_by_worker)
        for name, level in STREAM_LEVELS.items():
            if level >= self._level and getattr(sys, name) is not None:
                self._replace(sys, name, PrintedLines(getattr(sys, name), name, level, self._nested))
        self._replace(threading.Thread, "start", _start(threading.Thread.start))
        self._replace(ThreadPoolExecutor, "submit", _submit(ThreadPoolExecutor.submit))
        _Process.runs_bodies = True
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_in_forked)

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


def _logger(name: str) -> logging.Logger:
    return logging.getLogger(name)


def _deciding(each: logging.Logger | None) -> logging.Logger | None:
    """The logger whose level counts for this one."""
    while each is not None and not each.level:
        each = each.parent
    return each


def _start(start: Callable[[threading.Thread], None]) -> Any:
    def started(self: threading.Thread) -> None:
        log = present_log()
        if log is not None:
            setattr(self, _OF_THREAD, log)
        start(self)

    return started


def _submit(submit: Callable[..., Any]) -> Any:
    def submitted(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        log = present_log()
        return submit(self, fn if log is None else _Of(log, fn), *args, **kwargs)

    return submitted


class _Of:
    """A call in an executor's thread, which is this attempt's while it lasts."""

    def __init__(self, log: AttemptLog, function: Callable[..., Any]) -> None:
        self._log, self._function = log, function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with belongs_to(self._log):
            return self._function(*args, **kwargs)
