"""Converts pydantic's errors to `FieldError`, without the rejected value, which some of pydantic's messages quote."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ErrorType

from app.core.languages import CHINESE, texts_of
from app.core.nearest import did_you_mean
from app.errors import FieldError, InvalidInput, Text

Model = TypeVar("Model", bound=BaseModel)

MAX_ERRORS = 50
MAX_LOC_CHARACTERS = 100
# The messages of these errors can quote the value; pydantic's other messages hold fixed text and the schema's limits.
_MAY_QUOTE = frozenset({
    "value_error", "assertion_error", "json_invalid", "iteration_error", "mapping_type",
    "get_attribute_error", "timezone_offset", "datetime_object_invalid", "url_syntax_violation",
})  # fmt: skip
# The last two are raised for large bodies: looking through one takes half a millisecond.
_FIXED = frozenset({*get_args(ErrorType), "too_many_fields", "too_many_values"}) - _MAY_QUOTE
_GENERIC = "The value is not valid"
# What is said of the errors that clients meet, by pydantic's type; beside a text, the name of what fills its gap in the
# context. Other types keep pydantic's text (https://docs.pydantic.dev/latest/errors/validation_errors/).
_AN_INTEGER, _A_NUMBER, _A_BOOLEAN = "must be a whole number", "must be a number", "must be true or false"
_A_TIME = "must be a time with an offset, such as 2030-01-02T03:04:05Z (RFC 3339)"
_PLUS = "must be a time with an offset: in a URL, write its `+` as %2B"
_PLUS_LOST = re.compile(r"\d \d{2}:?\d{2}$")
_WITH_GAP = {
    "string_too_short": ("must have {} characters or more", "min_length"),
    "string_too_long": ("must have {} characters at most", "max_length"),
    "string_pattern_mismatch": ("must match the pattern {}", "pattern"),
    "greater_than": ("must be greater than {}", "gt"),
    "greater_than_equal": ("must be {} or more", "ge"),
    "less_than": ("must be less than {}", "lt"),
    "less_than_equal": ("must be {} at most", "le"),
    "enum": ("must be {}", "expected"),
    "literal_error": ("must be {}", "expected"),
    "too_long": ("must have {} items at most", "max_length"),
    "too_short": ("must have {} items or more", "min_length"),
}
_TEXTS = {
    "missing": "is required",
    "missing_argument": "is required",
    "missing_keyword_only_argument": "is required",
    "extra_forbidden": "unknown field",
    "string_type": "must be text",
    "finite_number": "must be a finite number",
    "none_required": "must be null",
    "timezone_aware": _A_TIME,
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), _AN_INTEGER),
    **dict.fromkeys(("float_type", "float_parsing", "decimal_type", "decimal_parsing"), _A_NUMBER),
    **dict.fromkeys(("bool_type", "bool_parsing"), _A_BOOLEAN),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), "must be a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "dataclass_type"), "must be an object"),
    **dict.fromkeys(("datetime_type", "datetime_parsing", "datetime_from_date_parsing"), _A_TIME),
    **dict.fromkeys(("date_type", "date_parsing", "date_from_datetime_parsing"), "must be a date, such as 2030-01-02"),
    **dict.fromkeys(("uuid_type", "uuid_parsing"), "must be a UUID"),
}
# Patterns of the API in words.
_OF = "A-Z a-z 0-9 . _ - and begin with none of"
PATTERNS = {
    r"^[0-9a-f]{32}$": "must be 32 hexadecimal digits",
    r"^[A-Za-z0-9][A-Za-z0-9._-]{2,63}$": f"must have 3 to 64 characters of {_OF} . _ -",
    r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$": f"must have 100 characters at most, of {_OF} . -",
    "^[ -~]*$": "must be printable ASCII",
}
_TAG = "The tag is not one of the expected tags"
# Shorter pieces of a value occur in many messages by chance.
_MIN_ECHO = 3
_MAX_LOOK = 1000


def field_errors(errors: Sequence[Mapping[str, Any]], *where: int | str) -> list[FieldError]:
    """Convert pydantic's errors, at most MAX_ERRORS, and put `where` before each location.

    The errors must include their input, by which a quoted value is recognised, and their context.
    """
    return [
        {
            "loc": [
                part if isinstance(part, int) else str(part)[:MAX_LOC_CHARACTERS] for part in (*where, *each["loc"])
            ],
            "msg": _text(each),
            "type": each["type"],
        }
        for each in errors[:MAX_ERRORS]
    ]


def errors_of_model(model: type[BaseModel], error: ValidationError) -> list[FieldError]:
    """Convert what pydantic says of a value for this model, unknown fields with the nearest known ones."""
    return name_nearest(model, field_errors(error.errors(include_url=False)))


def parsed(model: type[Model], fields: Mapping[str, Any], refusal: type[InvalidInput]) -> Model:
    """Return the fields as this model. Raises `refusal`, which names the invalid fields."""
    try:
        return model.model_validate(dict(fields))
    except ValidationError as error:
        raise refusal(errors=errors_of_model(model, error)) from None


def name_nearest(model: Any, errors: Sequence[FieldError], at: int = 0) -> list[FieldError]:
    """Return the errors of a `model`; those of unknown fields name the nearest known one.

    `at` is how many parts of each location stand before the model's own.
    """
    return [_with_nearest(model, each, at) if each["type"] == "extra_forbidden" else each for each in errors]


def _with_nearest(model: Any, error: FieldError, at: int) -> FieldError:
    *path, name = error["loc"][at:]
    found = _model_at(model, path)
    if found is None:
        return error
    known = [field.alias or each for each, field in found.model_fields.items()]
    return {**error, "msg": Text("unknown field{}", did_you_mean(str(name), known))}


def _model_at(annotation: Any, path: Sequence[str | int]) -> type[BaseModel] | None:
    """Return the model at this place below the annotation, through lists and options."""
    model = next(_models_in(annotation), None)
    for part in path:
        if model is None or isinstance(part, int):
            continue
        fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
        model = next(_models_in(fields.get(part)), None)
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def validator_error(kind: str, text: str) -> PydanticCustomError:
    """Return the error for a validator to raise, whose text has gaps."""
    return PydanticCustomError(kind, "{text}", {"text": text})


def own_text(error: Mapping[str, Any]) -> Text | None:
    """Return the text with gaps that this service has given to an error; None if it is pydantic's, or has none."""
    context = error.get("ctx") or {}
    raised = getattr(context.get("error"), "args", ())
    return next((each for each in (error["msg"], context.get("text"), *raised[:1]) if isinstance(each, Text)), None)


def _text(error: Mapping[str, Any]) -> str:
    kind, context = error["type"], error.get("ctx") or {}
    if context.get("min_length") == 1:
        return "must not be empty"
    if (words := PATTERNS.get(str(context.get("pattern")))) is not None:
        return words
    template, name = _WITH_GAP.get(kind, ("", ""))
    if name in context:  # else it is an error of our own of that type, which has a text of its own
        return Text(template, _plain(context[name]))
    text = _TEXTS.get(kind) or own_text(error) or error["msg"]
    if text is _A_TIME and _PLUS_LOST.search(str(error.get("input"))):
        return _PLUS
    return text if kind in _TEXTS else without_value(kind, text, error.get("input"))


def _plain(value: Any) -> Any:
    """Return a limit as people write it: 60 and not 60.0. Values of which one is meant are `'a', 'b' or 'c'`."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and "' or '" in value:
        others, _, last = value.rpartition(" or ")
        return Text("{} or {}", others, last)
    return value


def without_value(kind: str, message: str, value: Any) -> str:
    """Return the message without the value: its part before a colon or comma, or a general message."""
    if not isinstance(message, Text):
        message = message.removeprefix("Value error, ")  # pydantic's, before the text of a ValueError
    if kind == "union_tag_invalid":
        return _TAG
    if message.startswith("value is not a valid email address"):
        return "must be an e-mail address"
    if kind.endswith("_parsing"):
        return re.split(r"[:,]", message, maxsplit=1)[0]
    # A text of this service that has no gaps repeats nothing, also where it names the fields that were sent.
    if kind in _FIXED or message in texts_of("app.core", CHINESE):
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
