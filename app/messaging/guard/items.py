"""An item of Redis, before kombu takes it for a message: is it one at all?

Nothing of its content is ever logged, but for the name of an unknown task: its sender chose it.
"""

import logging
import re
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

UNKNOWN_REPEAT_SECONDS = 60.0
MAX_UNKNOWN = 100

_dropped = count(1)
_MORE_NAMES = f"(more than {MAX_UNKNOWN} names in a minute)"
_TASK_NAME = re.compile(r"[\w.-]{1,200}")
_unknown_logged: dict[str, float] = {}


class Malformed(Exception):
    """Not what it should be; the text says why, without a word of the item's."""


class UnknownTaskName(Malformed):
    """The message of a record whose task this worker does not have."""

    def __init__(self, name: str) -> None:
        super().__init__("unknown task")
        self.name = name


def drop_unknown(problem: UnknownTaskName) -> None:
    """Count a message for an unknown task, and log a line about it once in UNKNOWN_REPEAT_SECONDS for each name."""
    count_dropped_item(str(problem))
    name = problem.name if _TASK_NAME.fullmatch(problem.name) else "(not a task's name)"
    now = time.monotonic()
    if name not in _unknown_logged and len(_unknown_logged) >= MAX_UNKNOWN:
        for old in [old for old, until in _unknown_logged.items() if until <= now]:
            del _unknown_logged[old]
        if len(_unknown_logged) >= MAX_UNKNOWN:
            name = _MORE_NAMES
    if now < _unknown_logged.get(name, now):
        return
    _unknown_logged[name] = now + UNKNOWN_REPEAT_SECONDS
    logger.warning(
        "dropped an item of the task queues: unknown task %s; tasks of this name stay pending until a worker knows it: "
        "start the workers with the code of the API (same version, same TASK_MODULES)", name
    )  # fmt: skip


def drop(where: str, why: str, size: int | None = None) -> None:
    """Log one line about an item that is left out, and count it. `size` in bytes."""
    count_dropped_item(why)
    length = "" if size is None else f" ({size} bytes)"
    logger.warning("dropped an item of %s: %s%s; %d dropped so far", where, why, length, next(_dropped))


def too_raw(item: bytes) -> str:
    """Why the item is not even parsed, or "". kombu would put question marks where it finds no UTF-8."""
    if len(item) > MAX_ITEM_BYTES:
        return "too large"
    try:
        item.decode()
    except UnicodeDecodeError:
        return "no UTF-8"
    return ""


def parse(item: bytes) -> Any:
    """Its JSON, as kombu reads it. Raises Malformed for everything that kombu would fail on."""
    why = too_raw(item)
    if why:
        raise Malformed(why)
    try:
        return loads(item)
    except Exception as error:  # noqa: BLE001 (kombu's decoders of `__type__` raise what their constructors raise)
        raise Malformed(why_unread(error)) from None


def why_unread(error: Exception) -> str:
    """What an exception of kombu's parser means."""
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
        and bool(tag)
        and properties.get("body_encoding") in (None, "base64", "utf-8")
        and isinstance(properties.get("priority"), int | None)
        and isinstance(route, dict)
        and isinstance(route.get("exchange"), str | None)
        and isinstance(route.get("routing_key"), str | None)
        and all(isinstance(properties.get(name), str | None) for name in ("correlation_id", "reply_to"))
    )
