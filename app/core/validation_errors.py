"""pydantic's errors as ours: the field, and why, without the value. Some of its messages quote what they refuse."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic_core.core_schema import ErrorType

from app.errors import FieldError

MAX_ERRORS = 50
MAX_LOC_CHARACTERS = 100
# Of pydantic's own errors these say more than a fixed text and what the schema holds.
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
_FIXED = frozenset(get_args(ErrorType)) - _MAY_QUOTE
_GENERIC = "The value is not valid"
_TAG = "The tag is none of the expected ones"
# Shorter pieces of a value stand in many messages by chance.
_MIN_ECHO = 3
_MAX_LOOK = 1000


def field_errors(errors: Sequence[Mapping[str, Any]], *where: int | str) -> list[FieldError]:
    """The first of them, with `where` before each place; with their input, since by it an echo is told."""
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
    """The message, as far as it does not repeat the value: what stands before a colon or a comma, or a general one."""
    if kind == "union_tag_invalid":
        return _TAG
    if kind.endswith("_parsing") or message.startswith("value is not a valid email address"):
        return re.split(r"[:,]", message, maxsplit=1)[0]
    if kind in _FIXED:
        return message
    return _GENERIC if any(piece in message for piece in _pieces(value)) else message


def _pieces(value: Any) -> Iterator[str]:
    """The texts and numbers in it, each as a message would write it."""
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
