"""What bodies print, as whole lines of the worker's log.

Celery logs each piece that is written to `sys.stdout` at WARNING, and `print("row", 5)` writes four.
https://docs.celeryq.dev/en/stable/userguide/configuration.html#worker-redirect-stdouts
"""

import sys
import threading
from typing import Any

from celery import current_task
from celery.utils.log import LoggingProxy

from app.worker.child.attempt_log import LONGEST_LINE, STREAM_LEVELS
from app.worker.child.begun_lines import BegunLines


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
    """Begin, once Celery has set up the log of this process. `stdout` is logged at INFO, `stderr` at WARNING."""
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


def end_lines() -> None:
    """Pass on what is printed and not ended, by any thread: the attempt is over."""
    for lines, _ in _installed.values():
        if lines.has_begun:  # of most tasks nothing is
            lines.end()
