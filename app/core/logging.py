"""The one place that configures logging: one line an event, as text or as JSON, without secrets and without forgeries.

A message cannot end its line: control characters, line separators and what turns the direction of text around are
escaped. In text, what an exception adds stands below its event, each line behind a bar; in JSON it is a member.
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
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from copy import copy
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

from pydantic import SecretStr

from app.core.config import Settings, get_settings
from app.core.redacted_text import known_secrets, redact_text

request_id: ContextVar[str] = ContextVar("request_id", default="-")

# What more a line says of where it comes from, such as the task that runs.
Fields = Callable[[logging.LogRecord], dict[str, Any]]
_fields: list[Fields] = []

_FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
_BAR = "  | "
# Nobody reads more of one event, and what looks for secrets has to inner at all of it.
_LIMIT = 50_000
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# A whole part of a path. Nothing that tells a secret by its looks tells one id from another.
_ID = re.compile(r"(?<=/)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=[/?]|\Z)")
_ANY_ID = "00000000-0000-0000-0000-000000000000"
_MAX_SHAPE = 200
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Under these uvicorn has handlers of its own: its access log is no child of the root's.
_SERVER = ("uvicorn", "uvicorn.access")
# A setting shorter than this (`postgres`, as a password on a developer's machine) is a word like any other.
_MIN_SETTING = 12


def add_json_fields(fields: Fields) -> None:
    """Have these members in the JSON of each line."""
    if fields not in _fields:
        _fields.append(fields)


def configure_logging() -> None:
    """Log to stderr unless whoever started the process has set up logging already (pytest, a WSGI host, Celery).

    uvicorn's own lines take the same form either way.
    """
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(formatter(logging.Formatter(_FORMAT)))
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        log_uncaught_exceptions()
    for name in _SERVER:
        guard(logging.getLogger(name))
    # /readyz asks Alembic for the head; that it has plugins is no news.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def guard(logger: logging.Logger) -> None:
    """Give the logger's handlers our form around the one that they have, unless they have it already."""
    for handler in logger.handlers:
        if not isinstance(handler.formatter, SafeFormatter):
            handler.setFormatter(formatter(handler.formatter or logging.Formatter()))


def formatter(inner: logging.Formatter) -> "SafeFormatter":
    """What LOG_FORMAT asks for; `inner` is how a line of text looks."""
    settings = get_settings()
    known_secrets.hide("settings", _secrets_of(settings))
    return JSONFormatter() if settings.logs_json else TextFormatter(inner)


def write_event(message: str, level: int = logging.INFO) -> None:
    """An event from where no handler may be used: before there is one, or inside of a signal's handler."""
    record = logging.LogRecord(__name__, level, __file__, 0, message, None, None)
    os.write(2, (formatter(logging.Formatter(_FORMAT)).format(record) + "\n").encode("utf-8", "replace"))


def log_uncaught_exceptions() -> None:
    """What ends a thread or the process is an event too, rather than lines that the interpreter prints as they are."""
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
    """`text` on one line, with nothing in it that a terminal or a reader of logs would obey."""
    return _UNSAFE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    character = found.group()
    number = ord(character)
    return _SHORT.get(character) or (f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}")  # noqa: PLR2004


def is_access_record(record: logging.LogRecord) -> bool:
    """A line of the server's access log: one for each request, so what it costs counts."""
    return record.name == "uvicorn.access" and isinstance(record.args, tuple)


def safe_access_arguments(record: logging.LogRecord) -> tuple[Any, ...]:
    """Peer, method, path, version and status of an access line. Escaping what is safe already changes nothing."""
    assert isinstance(record.args, tuple)
    return tuple(_safe_part(each) if isinstance(each, str) else each for each in record.args)


def _safe_part(text: str) -> str:
    """To inner for secrets costs 0.01 ms: not again in what was seen to hold none, whichever ids stand in it."""
    shape = _ID.sub(_ANY_ID, text)
    if len(shape) <= _MAX_SHAPE and not known_secrets.are_in(text) and _is_safe(shape):
        return text
    return escape(redact_text(text))


@functools.lru_cache(maxsize=4096)
def _is_safe(shape: str) -> bool:
    return escape(redact_text(shape)) == shape


class LoopTurnBuffer:
    """A stream for the access log: the lines of one turn of the event loop are written together."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._is_due = False

    def write(self, text: str) -> None:
        self._lines.append(text)

    def flush(self) -> None:
        if self._is_due:
            return
        try:
            asyncio.get_running_loop().call_soon(self.write_buffered)
        except RuntimeError:
            self.write_buffered()
        else:
            self._is_due = True

    def write_buffered(self) -> None:
        self._is_due = False
        lines, self._lines = self._lines, []
        if lines and not self._stream.closed:
            self._stream.write("".join(lines))
            self._stream.flush()


def optimize_access_log() -> None:
    """For a process that serves HTTP: no line of its looks for its caller, and those of one moment are one write."""
    logging._srcfile = None  # noqa: SLF001 (documented as an optimisation)
    logging.logThreads = logging.logMultiprocessing = False
    for handler in logging.getLogger("uvicorn.access").handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler.stream, LoopTurnBuffer):
            lines = LoopTurnBuffer(handler.stream)
            handler.setStream(lines)
            atexit.register(lines.write_buffered)


class SafeFormatter(logging.Formatter):
    """What both forms share: the message and the exception, without secrets."""

    def message_text(self, record: logging.LogRecord) -> str:
        try:
            if is_access_record(record):
                return str(record.msg) % safe_access_arguments(record)
            message = record.getMessage()
        except Exception:  # noqa: BLE001 (somebody's `__str__`, or arguments that do not fit: the line still comes)
            message = f"{record.msg!s} (its arguments do not fit)"
        return redact_text(message[:_LIMIT])

    def exception_text(self, record: logging.LogRecord) -> str:
        """The traceback, and the stack where that was asked for; "" without either."""
        text = record.exc_text or ""
        if record.exc_info and not text:
            kind, error, at = record.exc_info
            text = "".join(traceback.format_exception(kind, error, at)) if kind else ""
        if record.stack_info:
            text = f"{text}\n{record.stack_info}"
        if not text:
            return ""
        return redact_text(text.strip("\n")[-_LIMIT:])


class TextFormatter(SafeFormatter):
    """Around any other formatter, whose inner the line keeps."""

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
            safe.args = safe_access_arguments(record)  # its formatter puts the line together from them
        else:
            safe.msg, safe.args = escape(self.message_text(record)), None
        safe.__dict__.pop("color_message", None)  # uvicorn's, which would take the message's place
        return self.inner.format(safe)


class JSONFormatter(SafeFormatter):
    """One object a line."""

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
        # Readable in any language; what is left to escape stands inside of strings, where JSON's own escapes serve.
        text = json.dumps(event, ensure_ascii=False, default=str, separators=(",", ":"))
        return _UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _secrets_of(settings: Settings) -> list[str]:
    """The settings' own secrets, of URLs the password alone."""
    found = []
    for _, value in settings:
        if isinstance(value, SecretStr):
            text = value.get_secret_value()
            _, separator, rest = text.partition("://")
            found.append(rest.rpartition("@")[0].partition(":")[2] if separator else text)
    return [each for each in found if len(each) >= _MIN_SETTING]
