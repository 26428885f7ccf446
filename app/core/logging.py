"""Configures logging: one line for each event, as text or as JSON, without secrets and without forged lines.

A message cannot end its line: control characters, line separators and characters that change the direction of text are
escaped. As text, a traceback follows its event, each line behind a bar; in JSON it is the member `exception`.
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

# Adds members to the JSON of a line, such as the task that runs.
Fields = Callable[[logging.LogRecord], dict[str, Any]]
_fields: list[Fields] = []

_FORMAT = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"
_BAR = "  | "
# An event's length in characters: the search for secrets reads all of it.
_LIMIT = 50_000
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# An id as a whole part of a path. The search for secrets finds the same in any two ids.
_ID = re.compile(r"(?<=/)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=[/?]|\Z)")
_ANY_ID = "00000000-0000-0000-0000-000000000000"
_MAX_SHAPE = 200
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# uvicorn gives these loggers their own handlers, and its access log does not propagate to the root.
_SERVER = ("uvicorn", "uvicorn.access")
# A shorter secret, such as the password `postgres`, is not hidden: it may be an ordinary word of a message.
_MIN_SETTING = 12


def add_fields(fields: Fields) -> None:
    """Add the members that `fields` returns to the JSON of each line."""
    if fields not in _fields:
        _fields.append(fields)


def configure_logging() -> None:
    """Log to stderr, unless the root logger has handlers already (from pytest, a WSGI host or Celery).

    Gives uvicorn's lines the same form in either case.
    """
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(formatter(logging.Formatter(_FORMAT)))
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        catch_the_uncaught()
    for name in _SERVER:
        guard(logging.getLogger(name))
    # At INFO, Alembic logs the setup of its plugins.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def guard(logger: logging.Logger) -> None:
    """Wrap the formatters of the logger's handlers in the one of LOG_FORMAT, unless they are wrapped already."""
    for handler in logger.handlers:
        if not isinstance(handler.formatter, SafeFormatter):
            handler.setFormatter(formatter(handler.formatter or logging.Formatter()))


def formatter(look: logging.Formatter) -> "SafeFormatter":
    """The formatter of LOG_FORMAT. `look` formats the line where that is text."""
    settings = get_settings()
    known_secrets.hide("settings", _secrets_of(settings))
    return JSONFormatter() if settings.logs_json else TextFormatter(look)


def say(message: str, level: int = logging.INFO) -> None:
    """Write an event to stderr without a handler: before logging is configured, or in a signal handler."""
    record = logging.LogRecord(__name__, level, __file__, 0, message, None, None)
    os.write(2, (formatter(logging.Formatter(_FORMAT)).format(record) + "\n").encode("utf-8", "replace"))


def catch_the_uncaught() -> None:
    """Log an exception that ends a thread or the process, where the interpreter would print it."""
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
    """The text with all characters escaped that end a line or control a terminal."""
    return _UNSAFE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    character = found.group()
    number = ord(character)
    return _SHORT.get(character) or (f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}")  # noqa: PLR2004


def is_access(record: logging.LogRecord) -> bool:
    """Whether this is a line of the server's access log: one for each request, so its cost matters."""
    return record.name == "uvicorn.access" and isinstance(record.args, tuple)


def safe_arguments(record: logging.LogRecord) -> tuple[Any, ...]:
    """Peer, method, path, version and status of an access line, escaped and without secrets."""
    assert isinstance(record.args, tuple)
    return tuple(_safe_part(each) if isinstance(each, str) else each for each in record.args)


def _safe_part(text: str) -> str:
    """Search for secrets once for each form of a path, whatever ids it holds: a search takes 0.01 ms."""
    shape = _ID.sub(_ANY_ID, text)
    if len(shape) <= _MAX_SHAPE and not known_secrets.are_in(text) and _is_safe(shape):
        return text
    return escape(redact_text(text))


@functools.lru_cache(maxsize=4096)
def _is_safe(shape: str) -> bool:
    return escape(redact_text(shape)) == shape


class PerTurn:
    """A stream for the access log: writes the lines of one turn of the event loop together."""

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
            asyncio.get_running_loop().call_soon(self.flush_now)
        except RuntimeError:
            self.flush_now()
        else:
            self._is_due = True

    def flush_now(self) -> None:
        self._is_due = False
        lines, self._lines = self._lines, []
        if lines and not self._stream.closed:
            self._stream.write("".join(lines))
            self._stream.flush()


def make_access_lines_cheap() -> None:
    """Make logging cheaper in a process that serves HTTP: no search for the caller, and fewer writes."""
    logging._srcfile = None  # noqa: SLF001 (documented as an optimisation)
    logging.logThreads = logging.logMultiprocessing = False
    for handler in logging.getLogger("uvicorn.access").handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler.stream, PerTurn):
            lines = PerTurn(handler.stream)
            handler.setStream(lines)
            atexit.register(lines.flush_now)


class SafeFormatter(logging.Formatter):
    """The base of both formatters: the message and the exception, without secrets."""

    def message_of(self, record: logging.LogRecord) -> str:
        """The message without secrets. Never raises, so that a wrong call loses no event."""
        try:
            if is_access(record):
                return str(record.msg) % safe_arguments(record)
            message = record.getMessage()
        except Exception:  # noqa: BLE001 (a `__str__` that raises, or arguments that do not fit)
            message = f"{record.msg!s} (its arguments do not fit)"
        return redact_text(message[:_LIMIT])

    def exception_of(self, record: logging.LogRecord) -> str:
        """The traceback, and the stack if `stack_info` was given; "" without either."""
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
    """Escapes the message and the traceback; another formatter, `look`, puts the line together."""

    def __init__(self, look: logging.Formatter) -> None:
        super().__init__()
        self.look = look

    def format(self, record: logging.LogRecord) -> str:
        safe = copy(record)
        safe.request_id = request_id.get()
        safe.exc_info = safe.stack_info = None
        safe.exc_text = "\n".join(_BAR + escape(line) for line in self.exception_of(record).split("\n") if line) or None
        if is_access(record):
            safe.args = safe_arguments(record)  # uvicorn's formatter needs the arguments
        else:
            safe.msg, safe.args = escape(self.message_of(record)), None
        safe.__dict__.pop("color_message", None)  # uvicorn's formatter would use it in place of the message
        return self.look.format(safe)


class JSONFormatter(SafeFormatter):
    """One JSON object for each line."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        event: dict[str, Any] = {
            "timestamp": at.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": self.message_of(record),
            "pid": record.process,
        }
        if (identifier := request_id.get()) != "-":
            event["request_id"] = identifier
        for fields in _fields:
            event |= fields(record)
        if exception := self.exception_of(record):
            event["exception"] = exception
        # Not ASCII alone, so that text stays readable. The rest to escape is inside strings, where JSON's escapes work.
        text = json.dumps(event, ensure_ascii=False, default=str, separators=(",", ":"))
        return _UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _secrets_of(settings: Settings) -> list[str]:
    """The secrets among the settings; of a URL, the password alone."""
    found = []
    for _, value in settings:
        if isinstance(value, SecretStr):
            text = value.get_secret_value()
            _, separator, rest = text.partition("://")
            found.append(rest.rpartition("@")[0].partition(":")[2] if separator else text)
    return [each for each in found if len(each) >= _MIN_SETTING]
