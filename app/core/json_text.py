"""JSON as the exact text that is stored and answered: compact, ASCII only, bounded in depth.

`Forms` tells which values of JSON are equal.
"""

import json
import sys
from collections.abc import Callable, Hashable, Mapping
from typing import Any

# Up to this size, parsing, checking and hiding secrets take a few milliseconds at most, whatever the JSON holds. Larger
# JSON is worked on in a thread, so that other requests go on.
SMALL_BYTES = 16 * 1024
# Of one text that a client sends. So many small values take a hundredth of a second and ten megabytes.
MAX_VALUES = 100_000
# pydantic, which writes the answers, refuses 255 levels.
MAX_DEPTH = 200
TOO_DEEP = f"JSON nested more than {MAX_DEPTH} deep"


_COMPACT = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
# The counting works on so many bytes at a time, so that other threads can run in between.
_PIECE = 64 * 1024
_LONG_NUMBER = b"0" * 1000
_AS_DIGITS = bytes(ord("0") if byte in b"0123456789" else ord(" ") for byte in range(256))


class DumpedList(list[Any]):
    """A list that carries its JSON text. Do not change it: the text would stay as it is."""

    json_text: str


class DumpedDict(dict[str, Any]):
    """A dict that carries its JSON text. Do not change it: the text would stay as it is."""

    json_text: str


def dumped(value: Any) -> Any:
    """Return a copy of this list or dict that carries its JSON text, so that `dump_json` writes it once.

    Raises ValueError and TypeError as `dump_json` does.
    """
    copy: DumpedList | DumpedDict = DumpedList(value) if isinstance(value, list) else DumpedDict(value)
    copy.json_text = dump_json(value)
    return copy


def dump_json(value: Any) -> str:
    """`value` as compact ASCII JSON text.

    Raises ValueError for NaN, infinity, a circular reference, lone surrogates and more than MAX_DEPTH levels, TypeError
    for a value that JSON does not have.
    """
    if isinstance(value, DumpedList | DumpedDict):
        return value.json_text
    try:
        text = _COMPACT.encode(value)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    # Both checks are rare: few values hold so many brackets, or a character beyond the basic plane.
    if text.count("[") + text.count("{") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH):
        raise ValueError(TOO_DEEP)
    if "\\ud" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("lone surrogates are not Unicode text") from None
    return text


def json_size(value: Any) -> int:
    """Return the size of the JSON text of `value`, in bytes. Raises ValueError and TypeError as `dump_json` does."""
    return len(dump_json(value))


def parse_json(text: str) -> Any:
    """Return the value of this JSON text. Raises ValueError, whose text says what is wrong, and where.

    Bounded as a body of the API is: MAX_DEPTH levels and MAX_VALUES values (`has_more_values`).
    """
    if has_more_values(text.encode("utf-8", "surrogatepass"), MAX_VALUES):
        raise ValueError(f"more than {MAX_VALUES} JSON values")
    value = load_json(text)
    if text.count("[") + text.count("{") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH):
        raise ValueError(TOO_DEEP)
    return value


def load_json(text: str | bytes) -> Any:
    """Return the value of this JSON text. Raises ValueError, whose text says what is wrong, and where.

    A text in bytes is in UTF-8, UTF-16 or UTF-32 (RFC 8259 §8.1 wants UTF-8).
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"the byte at {error.start} is not UTF-8") from None
    except ValueError:
        raise ValueError(f"a number of more than {sys.get_int_max_str_digits()} digits") from None


def has_more_values(text: bytes, limit: int) -> bool:
    """Return whether JSON text in UTF-8 has more than `limit` values, without parsing it.

    Counts commas and brackets outside of strings. So arrays and objects count twice; 1,000 digits of a number, which
    take as long, count as 1,000 values. Other encodings can be overcounted.
    """
    if _weight(text) < limit:
        return False
    if b"\0" in text:  # UTF-16 or UTF-32, in which the byte of a quote is part of other characters, too
        return True
    text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    found, inside = 0, False
    for at in range(0, len(text), _PIECE):
        parts = text[at : at + _PIECE].split(b'"')
        found += _weight(b" ".join(parts[inside::2]))
        if found >= limit:
            break
        inside ^= len(parts) % 2 == 0
    return found >= limit


def _weight(text: bytes) -> int:
    values = text.count(b",") + text.count(b"[") + text.count(b"{")
    return values + len(_LONG_NUMBER) * text.translate(_AS_DIGITS).count(_LONG_NUMBER)


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        level = [inner for outer in level if isinstance(outer, dict | list | tuple) for inner in _items(outer)]
        if not level:
            return False
    return True


def _items(outer: Any) -> Any:
    return outer.values() if isinstance(outer, dict) else outer


# -- Compares JSON values as JSON does: each part is looked at once, however often its whole is compared ---------------

MAX_FORM_DEPTH = 250
ShownField = Callable[[Mapping[Any, Any], Any], Any]


class Forms:
    """Gives equal JSON values one form: `1` and `1.0` are equal, but `1` and `true` are not, as for Python's `==`.

    The values must live as long as this does.
    """

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._known: dict[tuple[int, bool], Hashable] = {}

    def of(
        self, value: Any, shown: Callable[[Mapping[Any, Any], Any], Any] | None = None, depth: int = MAX_FORM_DEPTH
    ) -> Hashable:
        """Return the form of a value; with `shown(object, key)`, of what that gives for each field of an object.

        What is nested deeper than `depth` is equal.
        """
        if not isinstance(value, dict | list | tuple):  # in Python anything may be sent, which is refused later
            return isinstance(value, bool), value if isinstance(value, Hashable) else id(value)
        if depth == 0:
            return ()
        at = id(value), shown is not None
        if at not in self._known:
            parts: Hashable
            if isinstance(value, dict):
                fields = ((key, value[key] if shown is None else shown(value, key)) for key in value)
                parts = frozenset((key, self.of(inner, shown, depth - 1)) for key, inner in fields)
            else:
                parts = tuple(self.of(inner, shown, depth - 1) for inner in value)
            # A number for the whole, so that a form of what holds it stays small.
            self._known[at] = "part", self._numbers.setdefault(parts, len(self._numbers))
        return self._known[at]
