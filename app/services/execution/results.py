"""What a body may say: a percentage, a name, and how large its result, detail of progress, chunk of output and
arguments of a retry may be.
"""

from math import isfinite
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from app.core.config import get_settings
from app.core.json_text import dump_json, json_size
from app.ddl.columns import ShortText
from app.errors import ResultTooLarge

MOST_CHARACTERS = ShortText.characters
# What pydantic makes of a SecretStr and a SecretBytes.
SHOWN_SECRET = '"**********"'  # noqa: S105


def check_percent(progress: int) -> None:
    """Raise ValueError for a progress outside 0–100."""
    if not 0 <= progress <= 100:  # noqa: PLR2004 (percent)
        raise ValueError(f"progress must be between 0 and 100, not {progress}")


def check_name(name: Any, of_what: str) -> None:
    """Raise TypeError or ValueError for what is not a text of 1 to 200 characters that every engine stores."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a {of_what} is a text, not {type(name).__name__}")
    if not 0 < len(name) <= MOST_CHARACTERS or "\0" in name:
        raise ValueError(f"the name of a {of_what} has 1 to {MOST_CHARACTERS} characters, none of them NUL")
    name.encode()


def check_size(value: Any, what: str = "result", *, arguments: bool = False) -> None:
    """Raises ResultTooLarge, and what `dump_json` raises for what is not JSON. Nothing is ever cut."""
    check_bytes(0 if value is None else json_size(value), what, arguments=arguments)


def check_bytes(size: int, what: str, *, arguments: bool = False) -> None:
    """As `check_size`, of JSON of this size in bytes."""
    settings = get_settings()
    name, limit = "MAX_RESULT_BYTES", settings.max_result_bytes
    if arguments:
        name, limit = "MAX_ARGUMENTS_BYTES", settings.max_arguments_bytes
    if size > limit:
        raise ResultTooLarge(f"the {what} takes {size} bytes of JSON, {name} allows {limit}: keep it elsewhere")


def to_json(value: Any, what: str = "result", *, arguments: bool = False) -> Any:
    """A body's return value as plain JSON (dates, UUIDs, dataclasses and pydantic models included).

    Raises TypeError or ValueError where it cannot be JSON, NaN and infinity included; ResultTooLarge. With `arguments`,
    which a body is to get again, also where a secret would be lost.
    """
    try:
        plain = to_jsonable_python(value)
        check_size(plain, what, arguments=arguments)
        if arguments and SHOWN_SECRET in dump_json(plain):
            raise ValueError("pydantic masks the value of a SecretStr or SecretBytes, take it with get_secret_value()")
    except ResultTooLarge:
        raise
    except PydanticSerializationError as error:
        raise TypeError(f"the {what} is not JSON: {error}") from None
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError  # a UnicodeError takes other arguments
        raise kind(f"the {what} is not JSON: {error}") from None
    return plain


# Of a value that is looked at rather than written out: so many members, and no character beyond ASCII, which might be
# a lone surrogate. In JSON no character of it takes more than six bytes, no number more than `_NUMBER`.
_FEW = 16
_NUMBER = 32
_LARGE = 2**63


def is_plainly_small(value: Any, limit: int) -> bool:  # noqa: C901, PLR0911 (a tight loop's: no calls of its own)
    """Whether a flat dict is JSON of at most `limit` bytes, told without writing it. False may mean anything."""
    if type(value) is not dict or len(value) > _FEW:
        return False
    size = 2
    for name, inner in value.items():
        if type(name) is not str or not name.isascii():
            return False
        kind = type(inner)
        if kind is str:
            if not inner.isascii():
                return False
            size += 6 * len(inner)
        elif kind is int:
            if not -_LARGE < inner < _LARGE:
                return False
        elif kind is float:
            if not isfinite(inner):
                return False
        elif inner is not None and kind is not bool:
            return False
        size += 6 * len(name) + _NUMBER
    return size <= limit
