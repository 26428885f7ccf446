"""Types of the values in bodies: JSON, texts, times, numbers, priorities, and values that may hold secrets.

Accepted values can be stored and read back unchanged.
"""

import math
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, GetJsonSchemaHandler, StringConstraints
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from app.core.config import get_settings
from app.core.json_text import dump_json, dumped, json_size
from app.core.redacted_text import redact_text
from app.core.redaction import holds_mask, redact
from app.models.task import TaskPriority

# Deepest nesting of arguments, results and metadata: far below what breaks a parser (`app/core/json_text.py`).
MAX_DEPTH = 64
# Of a task, as stored. Metadata is for labels; what a body works on is an argument or a file.
MAX_METADATA_BYTES = 64 * 1024


def _check_json(value: Any, depth: int) -> None:
    if depth < 0:
        raise PydanticCustomError("json_too_deep", "The JSON is nested too deeply")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("finite_number", "NaN and infinity are not JSON numbers")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key)
            _check_json(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            _check_json(item, depth - 1)


def _check_text(value: str) -> None:
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise PydanticCustomError("string_unicode", "Lone surrogates are not Unicode text")


def _json_value(value: Any) -> Any:
    _check_json(value, MAX_DEPTH)
    return value


def without_nul(value: Any) -> Any:
    """Refuse NUL: PostgreSQL's text and JSONB cannot store it. JSON text (args, kwargs, results) can."""
    if isinstance(value, str) and "\0" in value:
        raise PydanticCustomError("string_nul", "The NUL character cannot be stored")
    if isinstance(value, dict):
        for key, item in value.items():
            without_nul(key)
            without_nul(item)
    elif isinstance(value, list):
        for item in value:
            without_nul(item)
    return value


def check_bytes(size: int, limit: int) -> None:
    if size > limit:
        raise PydanticCustomError("json_too_large", "The JSON is larger than {limit} bytes", {"limit": limit})


# Sizes are those of the stored form: compact, with `\uXXXX` for characters beyond ASCII.


def _within_arguments(value: Any) -> Any:
    """Serialize once: the row, the quotas and the check of the parameters use the same text."""
    value = dumped(value)
    check_bytes(len(dump_json(value)), get_settings().max_arguments_bytes)
    return value


def _within_metadata(value: Any) -> Any:
    check_bytes(json_size(value), MAX_METADATA_BYTES)
    return value


def _within_result(value: Any) -> Any:
    check_bytes(json_size(value), get_settings().max_result_bytes)
    return value


# Names of limits stand in URLs, and before a colon.
LIMIT_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$"
LimitName = Annotated[str, StringConstraints(pattern=LIMIT_NAME)]
JSONValue = Annotated[Any, AfterValidator(_json_value), AfterValidator(_within_result)]
JSONArray = Annotated[list[Any], AfterValidator(_json_value), AfterValidator(_within_arguments)]
JSONObject = Annotated[dict[str, Any], AfterValidator(_json_value)]
SearchableObject = Annotated[
    dict[str, Any], AfterValidator(_json_value), AfterValidator(without_nul), AfterValidator(_within_metadata)
]

ShortText = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(without_nul)]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(without_nul)]


# -- Types of the values in task bodies: priorities, times, numbers, and values that may hold secrets ------------------

MAX_SECONDS = 366 * 24 * 3600

_PRIORITIES: dict[Any, TaskPriority] = {**dict(enumerate(TaskPriority, start=1)), "urgent": TaskPriority.CRITICAL}


def _priority(value: Any) -> Any:
    """Map 1–4 (low to critical) and `urgent` to a priority; return other values unchanged."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    return _PRIORITIES.get(value, value)  # 3.0 equals 3 in JSON Schema


class _FormsOfPriority:
    """Adds the other forms to the JSON Schema. Its enumeration stays one component, so that clients get one class."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> JsonSchemaValue:
        urgent = {"const": "urgent", "type": "string"}
        return {"anyOf": [handler(schema), urgent, {"type": "integer", "minimum": 1, "maximum": 4}]}


PriorityIn = Annotated[TaskPriority, BeforeValidator(_priority), _FormsOfPriority()]


def _not_a_number(value: Any) -> Any:
    """Refuse numbers, which pydantic would read as seconds since 1970. The API offers RFC 3339 alone."""
    if isinstance(value, int | float) or (isinstance(value, str) and ":" not in value):
        raise PydanticCustomError("datetime_parsing", "Input should be a date and time with an offset (RFC 3339)")
    return value


def _in_utc(value: datetime) -> datetime:
    """Convert to UTC. Refuse a time that its offset moves out of the calendar: Python could not read the row."""
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("datetime_range", "In UTC the time is outside the years 1 to 9999") from None


Moment = Annotated[AwareDatetime, BeforeValidator(_not_a_number), AfterValidator(_in_utc)]


def _a_number(value: Any) -> Any:
    """Refuse true and "1", which pydantic would read as 1."""
    if isinstance(value, bool | str):
        raise PydanticCustomError("number_type", "must be a number")
    return value


Number = BeforeValidator(_a_number)
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS), Number]
TimeLimit = Annotated[float, Field(gt=0, le=MAX_SECONDS), Number]
Attempts = Annotated[int, Field(ge=1, le=100), Number]

# Answers show `***` below keys that name a secret (password, token, api_key, …). The row and the task keep the value.
Shown = AfterValidator(redact)
ShownText = AfterValidator(lambda text: None if text is None else redact_text(text))


def _refuse_mask(value: Any) -> Any:
    """Refuse `***`: the caller sends back a mask, and the task would run with it."""
    if holds_mask(value):
        raise PydanticCustomError("hidden_value", "*** hides a secret: send the value itself")
    return value


NotMasked = AfterValidator(_refuse_mask)


class Editable(StrEnum):
    """When PATCH can change a field of `TaskCreate` that bears this beside its type. Without it, PATCH cannot."""

    ALWAYS = "always"
    WHILE_PENDING = "while pending"
