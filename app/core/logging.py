"""Configures logging: one line for each event, as text or JSON, without secrets and without forged lines.

Control characters, line separators and characters that change the text direction are escaped, so that a message cannot
end its line. In text, an exception follows its event with a bar in front of each line; in JSON it is a member.
"""

import asyncio
import atexit
import functools
import json
import logging
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from copy import copy
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

from pydantic import SecretStr

from app.core.config import Settings
from app.core.redacted_text import known_secrets, redact_text

request_id: ContextVar[str] = ContextVar("request_id", default="-")

# Functions that return further members of a record, such as the running task. Text lines take `task_id` of them.
Fields = Callable[[logging.LogRecord], dict[str, Any]]
_fields: list[Fields] = []

_FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
_BAR = "  | "
# Longer events are cut: the search for secrets reads all of an event.
_LIMIT = 50_000
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# An id as a whole path segment. The search for secrets treats all ids alike.
_ID = re.compile(r"(?<=/)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=[/?]|\Z)")
_ANY_ID = "00000000-0000-0000-0000-000000000000"
# Celery lays some of its lines out over several: in one line they have blanks instead.
_CELERYS_OWN = ("celery.worker", "celery.beat", "kombu")
_MAX_SHAPE = 200
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# uvicorn gives these loggers handlers of their own, and its access logger does not propagate to the root.
_SERVER = ("uvicorn", "uvicorn.access")
# A shorter secret of the settings, such as `postgres`, may be an ordinary word and is not hidden.
_MIN_SETTING = 12


def add_fields(fields: Fields) -> None:
    """Add the members that `fields` returns to each JSON line, and their `task_id` to each text line."""
    if fields not in _fields:
        _fields.append(fields)


def configure_logging(settings: Settings) -> None:
    """Log to stderr, unless logging is already configured (by pytest, a WSGI host or Celery).

    uvicorn's own lines get the same format in either case, and neither they nor the service's repeat a warning without
    end. For an API process: a worker's errors of one text, such as those of failing tasks, all count.
    """
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(formatter(logging.Formatter(_FORMAT), settings))
        handler.addFilter(RepeatFilter())
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        log_uncaught_exceptions()
    for name in _SERVER:
        guard(logging.getLogger(name), settings)
    for each in {each for name in _SERVER for each in logging.getLogger(name).handlers}:
        if not any(isinstance(present, RepeatFilter) for present in each.filters):
            each.addFilter(RepeatFilter())
    quiet_libraries()


def quiet_libraries() -> None:
    """Leave out what libraries log at INFO: Alembic its plugins, a pool of SQLite that it was disposed of."""
    for noisy in ("alembic", "sqlalchemy.pool"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def guard(logger: logging.Logger, settings: Settings) -> None:
    """Wrap the formatters of the logger's handlers in a SafeFormatter, unless they are one already."""
    for handler in logger.handlers:
        if not isinstance(handler.formatter, SafeFormatter):
            handler.setFormatter(formatter(handler.formatter or logging.Formatter(), settings))


def formatter(inner: logging.Formatter, settings: Settings) -> "SafeFormatter":
    """Return the formatter that LOG_FORMAT selects; text lines have the layout of `inner`."""
    hide_secrets(settings)
    return JSONFormatter() if settings.logs_json else TextFormatter(inner)


def hide_secrets(settings: Settings) -> None:
    """Have `redact_text` hide the secrets of the settings wherever they stand in a text of this process."""
    known_secrets.hide("settings", _secrets_of(settings))


def write_event(message: str, settings: Settings, level: int = logging.INFO) -> None:
    """Write an event to stderr where no handler may be used: before logging is configured, or in a signal handler."""
    record = logging.LogRecord(__name__, level, __file__, 0, message, None, None)
    line = formatter(logging.Formatter(_FORMAT), settings).format(record)
    os.write(2, f"{line}\n".encode("utf-8", "replace"))


def log_uncaught_exceptions() -> None:
    """Log exceptions that end a thread or the process, instead of the interpreter's unformatted output."""
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda args: _log_uncaught(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )


def _log_uncaught(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        sys.__excepthook__(kind, error, at)
        return
    logging.getLogger(__name__).critical("uncaught exception", exc_info=(kind, error, at))


def escape(text: str) -> str:
    """Return `text` on one line, without characters that a terminal or a log reader would interpret."""
    return _UNSAFE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    character = found.group()
    number = ord(character)
    return _SHORT.get(character) or (f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}")  # noqa: PLR2004


def is_access_record(record: logging.LogRecord) -> bool:
    """Return whether the record is a line of the access log. There is one for each request, so its cost counts."""
    return record.name == "uvicorn.access" and isinstance(record.args, tuple)


def safe_access_arguments(record: logging.LogRecord) -> tuple[Any, ...]:
    """Return peer, method, path, version and status of an access record, escaped and without secrets."""
    assert isinstance(record.args, tuple)
    return tuple(_safe_part(each) if isinstance(each, str) else each for each in record.args)


def _safe_part(text: str) -> str:
    """Redact a part of an access line.

    Shapes without secrets are cached, because the search costs time at each request.
    """
    shape = _ID.sub(_ANY_ID, text)
    if len(shape) <= _MAX_SHAPE and not known_secrets.are_in(text) and _is_safe(shape):
        return text
    return escape(redact_text(text))


@functools.lru_cache(maxsize=4096)
def _is_safe(shape: str) -> bool:
    return escape(redact_text(shape)) == shape


class LoopTurnBuffer:
    """A stream for the access log that writes the lines of one turn of the event loop together."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._is_due = False

    def write(self, text: str) -> None:
        self._lines.append(text)

    def flush(self) -> None:
        """Write the buffer at the next turn of the event loop, or at once without an event loop."""
        if self._is_due:
            return
        try:
            asyncio.get_running_loop().call_soon(self.write_buffered)
        except RuntimeError:
            self.write_buffered()
        else:
            self._is_due = True

    def write_buffered(self) -> None:
        """Write the buffer now."""
        self._is_due = False
        lines, self._lines = self._lines, []
        if lines and not self._stream.closed:
            self._stream.write("".join(lines))
            self._stream.flush()


def optimize_access_log() -> None:
    """Make access lines cheap in an HTTP process.

    Records get no caller information, and lines are written once a turn of the event loop.
    """
    logging._srcfile = None  # noqa: SLF001 (documented as an optimisation)
    logging.logThreads = logging.logMultiprocessing = False
    for handler in logging.getLogger("uvicorn.access").handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler.stream, LoopTurnBuffer):
            lines = LoopTurnBuffer(handler.stream)
            handler.setStream(lines)
            atexit.register(lines.write_buffered)


def traceback_of(record: logging.LogRecord) -> str:
    """Return the traceback as it is, and the stack if requested; "" without either."""
    text = record.exc_text or ""
    if record.exc_info and not text:
        kind, error, at = record.exc_info
        text = "".join(traceback.format_exception(kind, error, at)) if kind else ""
    if record.stack_info:
        text = f"{text}\n{record.stack_info}"
    return text.strip("\n")


class SafeFormatter(logging.Formatter):
    """Base of both formats: the message and the exception, without secrets."""

    def message_text(self, record: logging.LogRecord) -> str:
        """Return the message without secrets, cut to the limit."""
        try:
            if is_access_record(record):
                return str(record.msg) % safe_access_arguments(record)
            message = record.getMessage()
            if record.name.startswith(_CELERYS_OWN):
                message = " ".join(filter(None, map(str.strip, message.split("\n"))))
        except Exception:  # noqa: BLE001 (a failing `__str__` or wrong arguments: still log the line)
            message = f"{record.msg!s} (its arguments do not fit the format)"
        return redact_text(message[:_LIMIT])

    def exception_text(self, record: logging.LogRecord) -> str:
        """Return the traceback, and the stack if requested, without secrets; "" without either."""
        text = traceback_of(record)
        return redact_text(text[-_LIMIT:]) if text else ""


class TextFormatter(SafeFormatter):
    """Wraps another formatter and keeps its layout."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self.inner = inner

    def format(self, record: logging.LogRecord) -> str:
        safe = copy(record)
        safe.request_id = request_id.get()
        safe.exc_info = safe.stack_info = None
        safe.exc_text = (
            "\n".join(_BAR + escape(line) for line in self.exception_text(record).split("\n") if line) or None
        )
        if is_access_record(record):
            safe.args = safe_access_arguments(record)  # the inner formatter builds the line from them
        else:
            safe.msg, safe.args = escape(self.message_text(record)), None
            for fields in _fields:
                task_id = fields(record).get("task_id")
                if task_id is not None and task_id not in safe.msg:
                    safe.msg += f" [task {escape(task_id)}]"
        safe.__dict__.pop("color_message", None)  # uvicorn would log it instead of the message
        return self.inner.format(safe)


class JSONFormatter(SafeFormatter):
    """Formats each record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        event: dict[str, Any] = {
            "timestamp": at.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": self.message_text(record),
            "pid": record.process,
        }
        if (identifier := request_id.get()) != "-":
            event["request_id"] = identifier
        for fields in _fields:
            event |= fields(record)
        if exception := self.exception_text(record):
            event["exception"] = exception
        # Text stays readable in any language. The characters left to escape are inside strings, where JSON's escapes
        # apply.
        text = json.dumps(event, ensure_ascii=False, default=str, separators=(",", ":"))
        return _UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _secrets_of(settings: Settings) -> list[str]:
    """Return the secrets of the settings; for a URL, its password."""
    found = []
    for _, value in settings:
        if isinstance(value, SecretStr):
            text = value.get_secret_value()
            _, separator, rest = text.partition("://")
            found.append(rest.rpartition("@")[0].partition(":")[2] if separator else text)
    return [each for each in found if len(each) >= _MIN_SETTING]


# -- Bounds how often an API process logs the same warning. Strangers cause some: malformed requests, for example ------

ALLOWED_REPEATS = 20
REPEAT_SECONDS = 60.0
# Messages that are remembered. Their texts are the program's, so there are far fewer.
_MAX_COUNTED_MESSAGES = 1000


class _Repeats:
    def __init__(self, until: float) -> None:
        self.until = until
        self.count = self.hidden = 0


class RepeatFilter(logging.Filter):
    """Lets each warning or error of the same logger and text, whatever its arguments, through ALLOWED times a minute.

    The last one that passes says that more are not shown, and the first one afterwards how many. No lock: records of
    two threads at the same moment may be counted as one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], _Repeats] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log the record. Adds to its message what is not shown."""
        if record.levelno < logging.WARNING:
            return True
        key, now = (record.name, str(record.msg)), time.monotonic()
        seen = self._seen.get(key)
        if seen is None or now >= seen.until:
            hidden = seen.hidden if seen else 0
            if len(self._seen) >= _MAX_COUNTED_MESSAGES:
                self._seen.clear()
            seen = self._seen[key] = _Repeats(now + REPEAT_SECONDS)
            if hidden:
                _add_remark(record, f"{hidden} more like this were not shown")
        seen.count += 1
        if seen.count > ALLOWED_REPEATS:
            seen.hidden += 1
            return False
        if seen.count == ALLOWED_REPEATS:
            _add_remark(record, f"more like this are not shown for {REPEAT_SECONDS:.0f} s")
        return True


def _add_remark(record: logging.LogRecord, remark: str) -> None:
    record.msg, record.args = f"{record.getMessage()} ({remark})", None
    record.__dict__.pop("color_message", None)  # uvicorn would log it instead of the message
