"""An item of Redis, before kombu takes it for a message: is it one at all?

Nothing of its content is ever logged: its sender chose it.
"""

import logging
import threading
import time
from itertools import count
from typing import Any

from kombu.utils.json import loads

from app.core.metrics import count_dropped_item

logger = logging.getLogger(__name__)

# The service's own messages have one kilobyte, a plain `.delay()` may have large arguments. Parsing takes several times
# as much memory.
MAX_ITEM_BYTES = 16 * 1024 * 1024
ENCODINGS = (None, "utf-8", "binary", "us-ascii")

# What a client of the broker makes a process log: so many lines at once, then one in a second (about 10 MB a day).
MOST_LINES = 500
LINES_A_SECOND = 1.0
# A short text, such as a name or an id; a number.
MAX_TEXT = 255
LARGEST_NUMBER = 2**53
MAX_PRIORITY = 255

_dropped = count(1)


class Lines:
    """Lines of the log of one kind, which any client of the broker can cause.

    Beyond MOST_LINES at once no more than one in a second is written (a token bucket). Each kind has its own, so that a
    flood of one does not hide another.
    """

    def __init__(self, log: logging.Logger, level: int) -> None:
        self._log, self._level = log, level
        self._left, self._since = float(MOST_LINES), time.monotonic()
        self._lock = threading.Lock()

    def write(self, text: str, *values: Any) -> None:
        if self._may_be_written():
            self._log.log(self._level, text, *values)

    def _may_be_written(self) -> bool:
        with self._lock:
            now = time.monotonic()
            self._left = min(float(MOST_LINES), self._left + (now - self._since) * LINES_A_SECOND)
            self._since = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


_lines = Lines(logger, logging.WARNING)


class Malformed(Exception):
    """Not what it should be; the text says why, without a word of the item's."""


def drop(where: str, why: str, size: int | None = None) -> None:
    """Log one line about an item that is left out, and count it. `size` in bytes.

    In a flood most lines are left out: the next one has the number.
    """
    count_dropped_item(why)
    length = "" if size is None else f" ({size} bytes)"
    _lines.write("dropped an item of %s: %s%s; %d dropped so far", where, why, length, next(_dropped))


def too_raw(item: bytes) -> str:
    """Return why the item is not even parsed, or "". kombu would put question marks where it finds no UTF-8."""
    if len(item) > MAX_ITEM_BYTES:
        return "too large"
    try:
        item.decode()
    except UnicodeDecodeError:
        return "no UTF-8"
    return ""


def parse(item: bytes) -> Any:
    """Return the JSON of the item, as kombu reads it. Raises Malformed for everything that kombu would fail on."""
    why = too_raw(item)
    if why:
        raise Malformed(why)
    try:
        return loads(item)
    except Exception as error:  # noqa: BLE001 (kombu's decoders of `__type__` raise what their constructors raise)
        raise Malformed(why_unread(error)) from None


def why_unread(error: Exception) -> str:
    """Return what an exception of kombu's parser means."""
    return "nested too deeply" if isinstance(error, RecursionError) else "no JSON"


def check_item(item: bytes) -> None:
    """Raise Malformed unless kombu can make a message of it: an envelope of the shape that kombu writes."""
    check_envelope(parse(item))


def check_envelope(envelope: Any) -> None:
    """Raise Malformed unless it is an object with the parts of a message, each of its type."""
    if not isinstance(envelope, dict):
        raise Malformed("no message")
    properties, headers = envelope.get("properties"), envelope.get("headers")
    if not isinstance(properties, dict) or not isinstance(headers, dict):
        raise Malformed("no message")
    if not _is_number(headers.get("clock")):
        raise Malformed("a clock that is no number, or too large")
    if headers.get("compression") is not None:
        raise Malformed("compressed")  # 300 KB may hold 300 MB, and kombu unpacks all of it
    if not isinstance(envelope.get("body"), str) or not isinstance(envelope.get("content-type"), str | None):
        raise Malformed("no message")
    if envelope.get("content-encoding") not in ENCODINGS:
        raise Malformed("an unknown encoding")
    if not _are_properties(properties):
        raise Malformed("wrong properties")


def _are_properties(properties: dict[str, Any]) -> bool:
    route = properties.get("delivery_info")
    tag = properties.get("delivery_tag")
    return (
        isinstance(tag, str)
        and 0 < len(tag) <= MAX_TEXT
        and properties.get("body_encoding") in (None, "base64", "utf-8")
        and _is_number(properties.get("priority"), MAX_PRIORITY)
        and isinstance(route, dict)
        and _is_text(route.get("exchange"))
        and _is_text(route.get("routing_key"))
        and isinstance(route.get("redelivered"), bool | None)
        and _is_text(properties.get("correlation_id"))
        and _is_text(properties.get("reply_to"))
    )


def _is_text(value: Any) -> bool:
    return value is None or (isinstance(value, str) and len(value) <= MAX_TEXT)


def _is_number(value: Any, largest: int = LARGEST_NUMBER) -> bool:
    """Return whether it is a whole number, or None. Python reads 4,300 digits, and fails to write one more."""
    return value is None or (isinstance(value, int) and 0 <= value <= largest)
