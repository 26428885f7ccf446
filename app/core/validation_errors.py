"""Converts pydantic's errors to `FieldError`, without the rejected value, which some of pydantic's messages quote."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic_core.core_schema import ErrorType

from app.errors import FieldError

MAX_ERRORS = 50
MAX_LOC_CHARACTERS = 100
# The messages of these errors can quote the value; pydantic's other messages hold fixed text and the schema's limits.
_MAY_QUOTE = frozenset(
    {
        "value_error",
        "assertion_error",
        "json_invalid",
        "iteration_error",
        "mapping_type",
        "get_attribute_error",
        "timezone_offset",
        "datetime_object_invalid",
        "url_syntax_violation",
    }
)
# The last two are raised for large bodies: looking through one takes half a millisecond.
_FIXED = frozenset({*get_args(ErrorType), "too_many_fields", "too_many_values"}) - _MAY_QUOTE
_GENERIC = "The value is not valid"
_TAG = "The tag is not one of the expected tags"
# Shorter pieces of a value occur in many messages by chance.
_MIN_ECHO = 3
_MAX_LOOK = 1000


def field_errors(errors: Sequence[Mapping[str, Any]], *where: int | str) -> list[FieldError]:
    """Convert pydantic's errors, at most MAX_ERRORS, and put `where` before each location.

    The errors must include their input, by which a quoted value is recognised.
    """
    return [
        {
            "loc": [
                part if isinstance(part, int) else str(part)[:MAX_LOC_CHARACTERS] for part in (*where, *each["loc"])
            ],
            "msg": without_value(each["type"], each["msg"], each.get("input")),
            "type": each["type"],
        }
        for each in errors[:MAX_ERRORS]
    ]


def without_value(kind: str, message: str, value: Any) -> str:
    """Return the message without the value: its part before a colon or comma, or a general message."""
    if kind == "union_tag_invalid":
        return _TAG
    if kind.endswith("_parsing") or message.startswith("value is not a valid email address"):
        return re.split(r"[:,]", message, maxsplit=1)[0]
    if kind in _FIXED:
        return message
    return _GENERIC if any(piece in message for piece in _pieces(value)) else message


def _pieces(value: Any) -> Iterator[str]:
    """Yield the texts and numbers of a value, as a message would show them."""
    waiting = [value]
    for _ in range(_MAX_LOOK):
        if not waiting:
            return
        each = waiting.pop()
        if isinstance(each, Mapping):
            waiting += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple | set):
            waiting += each
        elif isinstance(each, str | float) or (isinstance(each, int) and abs(each) < 10**100):
            text = str(each)
            if len(text) >= _MIN_ECHO and not isinstance(each, bool):
                yield text
