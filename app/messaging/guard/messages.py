"""A task message before Celery takes it: the types of headers and body, and, with SIGN_MESSAGES, its signature.

Celery 5.7 does not check them: a time limit of "x" ends the event loop, a line feed in the id forges a line of the
log, an exception after the task was reserved keeps a place of the worker for good.
"""

import hashlib
import hmac
import math
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from celery.utils.time import maybe_iso8601
from kombu.utils.encoding import bytes_to_str, str_to_bytes
from kombu.utils.json import dumps

from app.messaging.guard.items import LARGEST_NUMBER, Malformed

# The name of the messages that have a pool process look for rows (`app/messaging/wakeups.py`).
WAKEUP = "task_service.wakeup"
MAX_NAME = 255
MAX_REPR = 4096
# Parent and child exchange pickles, whose depth is bounded by Python's recursion limit.
MAX_DEPTH = 200
LARGEST = 2**31 - 1
# A year beside them leaves room for every zone.
EARLIEST_YEAR, LATEST_YEAR = 1970, 9998

# What Celery itself sends: for `task.map()`, `starmap()` and `chunks()`; for chords, and for the upkeep of a result
# backend, where one is configured. The others (celery.group, celery.chain, celery.chord) only exist to be called.
BUILT_INS = frozenset({"celery.map", "celery.starmap", "celery.chunks"})
BUILT_INS_WITH_RESULTS = frozenset({"celery.chord_unlock", "celery.accumulate", "celery.backend_cleanup"})


def is_wanted(name: str, *, with_results: bool) -> bool:
    """Return whether messages may ask for the task of this name, if there is one."""
    return not name.startswith("celery.") or name in BUILT_INS or (with_results and name in BUILT_INS_WITH_RESULTS)


def _is_line(value: Any) -> bool:
    """Return whether it is a text that cannot forge a line of the log."""
    return isinstance(value, str) and len(value) <= MAX_NAME and value.isprintable()


def _is_time(value: Any) -> bool:
    """Return whether it is ISO 8601. Celery raises an error on any other text, the empty one included."""
    try:
        moment_of(value) if _is_line(value) else moment_of("")
    except (ValueError, OverflowError):
        return False
    return True


def moment_of(text: str) -> float:
    """Return an ETA or expiry in seconds since 1970, as Celery reads it: UTC where it names no zone.

    Raises ValueError, OverflowError for one that Celery could not take either.
    """
    moment: datetime | None = maybe_iso8601(text)
    if moment is None or not EARLIEST_YEAR <= moment.year <= LATEST_YEAR:
        raise ValueError("no time")
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _is_repr(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_REPR


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


def _is_limit(value: Any) -> bool:
    if value is None:
        return True
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and 0 <= value <= LARGEST


def _are_limits(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_limit, value))  # noqa: PLR2004


def _are_lines(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_line, value))


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and _is_harmless(value)


def _is_harmless(value: Any) -> bool:
    """Return whether a header of other code, such as tracing, has no number and no depth that fails later."""
    if isinstance(value, str):
        return True
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH or not all(map(_is_bounded, level)):
            return False
        level = [item for each in level if isinstance(each, list | dict) for item in _items(each)]
    return True


def _items(holder: Any) -> Iterable[Any]:
    return [*holder, *holder.values()] if isinstance(holder, dict) else holder


def _is_bounded(value: Any) -> bool:
    return not isinstance(value, int) or abs(value) <= LARGEST_NUMBER


# Every header that has a meaning to Celery or this service; null counts as absent.
HEADERS: dict[str, Callable[[Any], bool]] = {
    "task": _is_line,
    "id": _is_line,
    **dict.fromkeys(("lang", "root_id", "parent_id", "group", "shadow", "origin", "meth"), _is_line),
    **dict.fromkeys(("eta", "expires"), _is_time),
    **dict.fromkeys(("argsrepr", "kwargsrepr"), _is_repr),
    **dict.fromkeys(("retries", "group_index", "replaced_task_nesting"), _is_count),
    "timelimit": _are_limits,
    "ignore_result": _is_flag,
    "stamped_headers": _are_lines,
    "stamps": _is_object,
}
# Attributes of a running request, Celery's and the service's: a message that names one would overwrite it. The last two
# named a record: no message does (docs/adr/0043).
RESERVED = frozenset(
    {
        "args", "kwargs", "callbacks", "errbacks", "chain", "chord", "called_directly", "is_eager", "hostname",
        "delivery_info", "properties", "reply_to", "correlation_id", "headers", "loglevel", "logfile", "taskset",
        "utc", "attempt_run", "db_session", "retry_wanted",
        "task_record", "task_generation",
    }
)  # fmt: skip
# A wake-up has none of these: the rows have limits of their own.
NOT_IN_WAKEUPS = ("eta", "expires", "group", "shadow", "stamped_headers")


def check_message(message: Any, known: Container[str], *, with_results: bool) -> None:
    """Raise Malformed unless Celery can take it. `known` are the names of the worker's tasks."""
    headers = message.headers
    if not isinstance(headers, dict) or "task" not in headers:
        raise Malformed("no task message")
    _check_headers(headers)
    name = headers["task"]
    if name not in known or not is_wanted(name, with_results=with_results):
        raise Malformed("unknown task")
    if bytes_to_str(message.content_type) != "application/json":
        raise Malformed("not JSON")
    try:
        body = message.payload
    except Exception:  # noqa: BLE001 (kombu's decoders raise errors of any kind)
        raise Malformed("a body that is no JSON") from None
    _check_body(message.body, body)
    if name == WAKEUP:
        _check_wakeup(headers, body)


def _check_headers(headers: dict[str, Any]) -> None:
    if headers.get("id") is None or headers.get("task") is None or not RESERVED.isdisjoint(headers):
        raise Malformed("wrong headers")
    for name, value in headers.items():
        fits = HEADERS.get(name, _is_harmless) if value is not None else None
        if fits is not None and not fits(value):
            raise Malformed(f"wrong header {name}" if name in HEADERS else "a wrong header of another's")
    if headers.get("retries", 0) is None:
        raise Malformed("wrong header retries")  # Celery adds one to it


def _check_body(raw: Any, body: Any) -> None:
    """Check `[args, kwargs, embed]`, of which nothing may be nested too deeply to be pickled."""
    if not isinstance(body, list) or len(body) != 3:  # noqa: PLR2004 (protocol 2)
        raise Malformed("a wrong body")
    args, kwargs, embed = body
    if not isinstance(args, list) or not isinstance(kwargs, dict) or not _is_embed(embed):
        raise Malformed("a wrong body")
    if raw.count("[" if isinstance(raw, str) else b"[") + raw.count("{" if isinstance(raw, str) else b"{") > MAX_DEPTH:
        _check_depth(body)


def _is_embed(embed: Any) -> bool:
    """Return whether it is what may follow a plain task: signatures, which only Celery itself writes."""
    if embed is None:
        return True
    if not isinstance(embed, dict) or not embed.keys() <= {"callbacks", "errbacks", "chain", "chord"}:
        return False
    lists = (embed.get("callbacks"), embed.get("errbacks"), embed.get("chain"))
    return all(_are_signatures(each) for each in lists) and _is_signature(embed.get("chord"), optional=True)


def _are_signatures(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(map(_is_signature, value)))


def _is_signature(value: Any, optional: bool = False) -> bool:
    if value is None:
        return optional
    return isinstance(value, dict) and isinstance(value.get("task"), str)


def _check_depth(body: Any) -> None:
    level, depth = [body], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise Malformed("nested too deeply")
        holders = [each.values() if isinstance(each, dict) else each for each in level]
        level = [item for holder in holders for item in holder if isinstance(item, list | dict)]


def _check_wakeup(headers: dict[str, Any], body: list[Any]) -> None:
    """Refuse a time limit, which would end the process within a row, and an ETA, which would keep the wake-up."""
    args, kwargs, embed = body
    limits = headers.get("timelimit") or ()
    said = (args, kwargs, *limits, *(embed or {}).values(), *(headers.get(name) for name in NOT_IN_WAKEUPS))
    if any(said):
        raise Malformed("a wake-up that says more than its name")


# -- With SIGN_MESSAGES: every message that the application publishes is signed, and workers take no other -------------
# A client of the broker that does not know SECRET_KEY can then have nothing run. Signed is all that has a meaning to
# Celery or this service: the headers, the body as it is on the wire (args, kwargs, callbacks, chains, chords) and where
# the result goes. Headers that are added on the way (tracing) are neither signed nor refused.

SIGNATURE_HEADER = "task_signature"
COMMAND_SIGNATURE = "signature"
# How old a remote control command may be: they carry no name that could be remembered. Tasks may wait for days.
COMMAND_SECONDS = 60.0


class Unsigned(Malformed):
    """No signature, or a wrong one."""


def sign_task(headers: dict[str, Any], body: Any, properties: Mapping[str, Any], key: bytes) -> None:
    """Add the key's signature to the headers of a message that is about to be published."""
    wire = dumps(body).encode()  # as kombu's serializer does it a moment later
    headers[SIGNATURE_HEADER] = _mac(key, _task_text(headers, wire, properties))


def check_task_signature(message: Any, keys: Sequence[bytes]) -> None:
    """Raise Unsigned unless one of the keys has signed this message."""
    text = _task_text(message.headers, str_to_bytes(message.body), message.properties)
    _check_mac(message.headers.get(SIGNATURE_HEADER), text, keys)


def sign_command(method: str, arguments: Mapping[str, Any], addressed: Mapping[str, Any], key: bytes) -> dict[str, Any]:
    """Return the arguments of a remote control command, with its signature among them."""
    now = time.time()
    mac = _mac(key, _command_text(method, arguments, addressed, now))
    return {**arguments, COMMAND_SIGNATURE: {"at": now, "mac": mac}}


def check_command_signature(
    method: str, arguments: dict[str, Any], addressed: Mapping[str, Any], keys: Sequence[bytes]
) -> None:
    """Take the signature out of the arguments. Raise Unsigned unless it is recent and made with one of the keys."""
    signature = arguments.pop(COMMAND_SIGNATURE, None)
    if not isinstance(signature, dict) or not isinstance(signature.get("at"), float):
        raise Unsigned("not signed")
    _check_mac(signature.get("mac"), _command_text(method, arguments, addressed, signature["at"]), keys)
    # Between two machines' clocks: PostgreSQL's, which decides about tasks, would cost each command a round trip.
    if abs(time.time() - signature["at"]) > COMMAND_SECONDS:
        raise Unsigned("signed too long ago")


def _task_text(headers: Mapping[str, Any], wire: bytes, properties: Mapping[str, Any]) -> bytes:
    meant = {name: headers[name] for name in HEADERS if headers.get(name) is not None}
    return b"\0".join((b"task", _canonical([meant, properties.get("reply_to") or ""]), wire))


def _command_text(method: str, arguments: Mapping[str, Any], addressed: Mapping[str, Any], now: float) -> bytes:
    return b"\0".join((b"command", _canonical([method, arguments, addressed, now])))


def _canonical(value: Any) -> bytes:
    text: str = dumps(value, sort_keys=True, separators=(",", ":"))
    return text.encode()


def _mac(key: bytes, text: bytes) -> str:
    return hmac.new(key, text, hashlib.sha256).hexdigest()


def _check_mac(given: Any, text: bytes, keys: Sequence[bytes]) -> None:
    if not isinstance(given, str):
        raise Unsigned("not signed")
    macs = [_mac(key, text).encode() for key in keys]
    if not any([hmac.compare_digest(mac, given.encode(errors="replace")) for mac in macs]):  # noqa: C419 (all of them)
        raise Unsigned("a wrong signature")
