"""Checks of JSON from clients: accepted values can be stored and read back unchanged."""

import math
from typing import Annotated, Any

from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError

from app.core.config import get_settings
from app.core.json_text import dump_json, dumped, json_size


def _check(value: Any, depth: int) -> None:
    if depth < 0:
        raise PydanticCustomError("json_too_deep", "The JSON is nested too deeply")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("finite_number", "NaN and infinity are not JSON numbers")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key)
            _check(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth - 1)


def _check_text(value: str) -> None:
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise PydanticCustomError("string_unicode", "Lone surrogates are not Unicode text")


def _json_value(value: Any) -> Any:
    _check(value, get_settings().max_json_depth)
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
    check_bytes(json_size(value), get_settings().max_metadata_bytes)
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
