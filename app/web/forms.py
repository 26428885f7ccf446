"""What a form has sent, as a model of the API, and what is wrong with it, by the names of its fields."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from app.core import validation_errors
from app.core.validation_errors import Model
from app.errors import FieldError, InvalidInput

_NUMBER = re.compile(r"-?(?:[0-9]{1,9}|[0-9]{0,9}\.[0-9]{1,9})")


def parsed(model: type[Model], typed: Mapping[str, Any]) -> Model:
    """Return the model. An empty field is one that was left out. Raises InvalidInput."""
    entered = {name: value for name, value in typed.items() if value not in ("", [], None)}
    return validation_errors.parsed(model, entered, InvalidInput)


def by_field(errors: Sequence[FieldError], depth: int = 1) -> dict[str, str]:
    """Return the first error of each field of a form, whose name is the first `depth` parts of the error's place."""
    found: dict[str, str] = {}
    for each in errors:
        found.setdefault("_".join(map(str, each["loc"][:depth])), each["msg"])
    return found


def number(text: str) -> int | float | str:
    """Return the number that was typed, or the text: the models say what is wrong with it."""
    typed = text.strip()
    if not _NUMBER.fullmatch(typed):
        return typed
    return float(typed) if "." in typed else int(typed)
