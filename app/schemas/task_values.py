"""Types of the values in task bodies: priorities, times, numbers, and values that may hold secrets."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from app.core.redacted_text import redact_text
from app.core.redaction import holds_mask, redact
from app.models.task import TaskPriority

MAX_SECONDS = 366 * 24 * 3600

_PRIORITIES: dict[Any, TaskPriority] = {**dict(enumerate(TaskPriority, start=1)), "urgent": TaskPriority.CRITICAL}


def _priority(value: Any) -> Any:
    """Map 1–4 (low to critical) and `urgent` to a priority; return other values unchanged."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    return _PRIORITIES.get(value, value)  # 3.0 equals 3 in JSON Schema


class _OtherForms:
    """Adds the other forms to the JSON Schema. Its enumeration stays one component, so that clients get one class."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> JsonSchemaValue:
        urgent = {"const": "urgent", "type": "string"}
        return {"anyOf": [handler(schema), urgent, {"type": "integer", "minimum": 1, "maximum": 4}]}


PriorityIn = Annotated[TaskPriority, BeforeValidator(_priority), _OtherForms()]


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
