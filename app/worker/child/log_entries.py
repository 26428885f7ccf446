"""What a body logs: from a record of `logging` to the line that is stored.

`entry_of` runs in the body's thread, where the arguments of the record still have their values. What costs more (hiding
secrets, JSON) is left to `line_of`, in the thread that writes: of the lines that come too fast most never get there.
"""

import logging
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

from celery.exceptions import SoftTimeLimitExceeded

from app.core.json_text import dump_json
from app.core.logging import traceback_of
from app.core.redacted_text import redact_text
from app.core.redaction import redact
from app.services.tasks.task_history import LogLine
from app.worker.shared.error_text import clean

MESSAGE_BYTES = 8 * 1024
TRACEBACK_BYTES = 16 * 1024
FIELDS_BYTES = 4 * 1024
LOGGER_LENGTH = 200
# Secrets are looked for in so many times what is kept: a part of a secret would not be recognised.
SEARCHED = 5
_MOST_ITEMS, _MOST_DEPTH, _TEXT_LENGTH = 50, 5, 1024
# Of all values of an `extra`; and about what each takes in memory beside its text.
_MOST_VALUES, _VALUE_BYTES = 1000, 64
_LISTS = (list, tuple, set, frozenset, deque)
_NOTE_BYTES = 80
_LARGE = 2**63
_NO_FIELDS: Mapping[str, Any] = {}
# What `logging` and its formatters put into each record. What else is in it came as `extra`.
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_PLAIN = len(logging.makeLogRecord({}).__dict__)


class Entry(NamedTuple):
    """A line as the body wrote it. `size` is about what it takes in memory."""

    at: float
    level: int
    logger: str
    message: str
    trace: str
    fields: Mapping[str, Any]
    size: int


def entry_of(record: logging.LogRecord) -> Entry:
    """Return the entry of a record. Raises what a signal raises, and nothing that the record's own objects do."""
    message = _message(record)
    trace = ""
    if record.exc_info or record.exc_text or record.stack_info:
        trace = traceback_of(record)[-SEARCHED * TRACEBACK_BYTES :]
    fields, held = (_NO_FIELDS, 0) if len(record.__dict__) == _PLAIN else _fields(record)
    size = len(message) + len(trace) + held
    return Entry(record.created, record.levelno, record.name, message, trace, fields, size)


def printed(at: float, level: int, stream: str, text: str) -> Entry:
    """Return the entry of a line that was printed."""
    return Entry(at, level, stream, text, "", _NO_FIELDS, len(text))


def line_of(entry: Entry) -> LogLine:
    """Return the entry as it is stored."""
    message = _cut(clean(redact_text(entry.message)), MESSAGE_BYTES)
    if entry.trace:
        trace = clean(redact_text(entry.trace)).encode()[-TRACEBACK_BYTES:].decode(errors="ignore")
        message = f"{message}\n{trace}" if message else trace
    at = datetime.fromtimestamp(entry.at, UTC).isoformat()
    level = min(max(entry.level, 0), 1000)  # the column's type ends somewhere
    return LogLine(at, level, clean(entry.logger)[:LOGGER_LENGTH], message, _json(entry.fields))


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except SoftTimeLimitExceeded:
        raise
    except Exception:  # noqa: BLE001 (a failing `__str__`, arguments that do not fit: the line is kept all the same)
        text = f"{_shown(record.msg)} (its arguments do not fit the format)"
    return _begin(text, SEARCHED * MESSAGE_BYTES)


def _begin(text: str, most: int) -> str:
    """Return the first characters; of a class of the body's own too, whose methods may do anything."""
    return str.__getitem__(text, slice(most))


def _cut(text: str, most: int) -> str:
    if len(text) * 4 <= most:  # a character has four bytes at most
        return text
    encoded = text.encode()
    if len(encoded) <= most:
        return text
    return f"{encoded[:most].decode(errors='ignore')} … (cut: the line was longer than {most} bytes)"


def _fields(record: logging.LogRecord) -> tuple[Mapping[str, Any], int]:
    """Return what came as `extra`, and about how many bytes of memory that takes."""
    extra = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
    budget = _Budget()
    found: Mapping[str, Any] = _plain(extra, _MOST_DEPTH, budget)
    return found, budget.spent


class _Budget:
    """What is copied of one `extra` at most: a line costs by this, and not by what the body has handed in."""

    __slots__ = ("characters", "values")

    def __init__(self) -> None:
        self.values, self.characters = _MOST_VALUES, SEARCHED * FIELDS_BYTES

    def take(self, characters: int = 0) -> bool:
        """Count a value with its text. Returns False once nothing more is to be copied."""
        self.values -= 1
        self.characters -= characters
        return self.is_left

    @property
    def is_left(self) -> bool:
        return self.values > 0 and self.characters > 0

    @property
    def spent(self) -> int:
        return (_MOST_VALUES - self.values) * _VALUE_BYTES + SEARCHED * FIELDS_BYTES - self.characters


def _plain(value: Any, depth: int, budget: _Budget) -> Any:
    """Return a bounded copy as JSON has it: what it lacks is shown as text, what exceeds the budget is left out."""
    try:
        return _copied(value, depth, budget)
    except SoftTimeLimitExceeded:
        raise
    except Exception:  # noqa: BLE001 (its methods may raise anything; another thread may change it meanwhile)
        budget.take()
        return _cannot_be_shown(value)


def _copied(value: Any, depth: int, budget: _Budget) -> Any:
    if value is None or isinstance(value, bool):
        budget.take()
        return value
    if isinstance(value, int | float) and -_LARGE < value < _LARGE:  # not where it is NaN
        budget.take()
        return float(value) if isinstance(value, float) else int(value)
    if isinstance(value, dict) and depth:
        return _plain_items(value, depth, budget)
    if isinstance(value, _LISTS) and depth:
        budget.take()
        items = islice(value, _MOST_ITEMS)
        return [_plain(inner, depth - 1, budget) for inner in items if budget.is_left]
    text = f"({type(value).__name__})" if isinstance(value, (dict, *_LISTS)) else _shown(value)
    text = _begin(text, min(SEARCHED * _TEXT_LENGTH, max(budget.characters, 0)))
    budget.take(len(text))
    return text


def _plain_items(value: dict[Any, Any], depth: int, budget: _Budget) -> dict[str, Any]:
    budget.take()
    found: dict[str, Any] = {}
    for key, inner in islice(value.items(), _MOST_ITEMS):
        if not budget.is_left:
            break
        name = _plain(key, 0, budget) if isinstance(key, (str, *_LISTS)) else _shown(key)
        found[name[:_TEXT_LENGTH]] = _plain(inner, depth - 1, budget)
    return found


def _shown(value: Any) -> str:
    try:
        if isinstance(value, str):
            return _begin(value, SEARCHED * _TEXT_LENGTH)
        if isinstance(value, bytes | bytearray):
            return str(bytes.__getitem__(bytes(value), slice(SEARCHED * _TEXT_LENGTH)))
        return _begin(str(value), SEARCHED * _TEXT_LENGTH)
    except SoftTimeLimitExceeded:
        raise
    except Exception:  # noqa: BLE001 (a `__str__` may raise anything)
        return _cannot_be_shown(value)


def _cannot_be_shown(value: Any) -> str:
    return f"({type(value).__name__}: it cannot be shown)"


def _json(fields: Mapping[str, Any]) -> str:
    if not fields:
        return "{}"
    shown = {_text(name): _redacted(value) for name, value in redact(dict(fields)).items()}
    text = dump_json(shown)
    if len(text) > FIELDS_BYTES:
        sizes = {name: len(dump_json({name: value})) for name, value in shown.items()}
        all_names, excess = sorted(sizes, key=sizes.__getitem__), len(text) + _NOTE_BYTES - FIELDS_BYTES
        while excess > 0:  # the largest one first
            largest = all_names.pop()
            excess -= sizes[largest]
            del shown[largest]
        note = f"{len(sizes) - len(shown)} left out: larger than {FIELDS_BYTES} bytes together"
        text = dump_json({**shown, "…": note})
    return text


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return {_text(name): _redacted(inner) for name, inner in value.items()}
    return [_redacted(inner) for inner in value] if isinstance(value, list) else value


def _text(text: str) -> str:
    shown = clean(redact_text(text))
    return shown if len(shown) <= _TEXT_LENGTH else f"{shown[:_TEXT_LENGTH]}…"
