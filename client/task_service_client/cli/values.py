"""`k=v` as the schema of a task's parameters reads it."""

import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from task_service_client.cli.exits import Refused
from task_service_client.cli.language import t

Schema = Mapping[str, Any]
FILE_ID = "file-id"
_ORDER = ("integer", "number", "boolean", "file", "string", "array", "object", "null", "any")
_OPENED = {"[": "array", "{": "object"}
_INTEGER, _NUMBER = re.compile(r"[+-]?[0-9]+"), re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


class Misfit(ValueError):
    """A text that no value of the schema is written as."""


class Upload(str):
    """The path of a file that is to be uploaded: its id is the value."""

    __slots__ = ()


class Content(str):
    """What a file holds. Its last line may end, also where it is a number."""

    __slots__ = ()


def arguments(items: Sequence[str], parameters: Schema) -> dict[str, Any]:
    """Return the arguments that `k=v`, `k:=JSON`, `k=@path` and `k:=@path` mean. A key that comes again makes a list.

    Raises Refused for a text that does not fit, for a parameter that the task does not have, and for a file that
    cannot be read.
    """
    if sum(item.partition("=")[2] == "@-" for item in items) > 1:
        raise Refused(t("stdin is read once: name @- for one argument"))
    found: dict[str, Any] = {}
    properties: Mapping[str, Schema] = parameters.get("properties", {})
    is_open = parameters.get("additionalProperties", True) is not False
    for item in items:
        key, is_json, text = _split(item)
        if key not in properties and not is_open:
            names = ", ".join(properties) or t("none")
            raise Refused(t("{item}: there is no parameter {key}. There are: {names}", item=item, key=key, names=names))
        kinds = [*_kinds(properties.get(key, {}), parameters)]
        try:
            if text.startswith("@") and (is_json or not any(_is_file(kind, parameters) for kind in kinds)):
                text = _content(text[1:])
            value = _json(text) if is_json else _of_kinds(text, kinds, parameters)
        except Misfit as misfit:
            raise Refused(t("{item}: {key} is {wanted}", item=item, key=key, wanted=misfit)) from None
        if isinstance(value, _Element):
            found.setdefault(key, []).append(value.value)
        elif key in found:
            raise Refused(t("{item}: {key} is there twice", item=item, key=key))
        else:
            found[key] = value
    return found


class _Element:
    """One element of a list."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _split(item: str) -> tuple[str, bool, str]:
    key, equals, text = item.partition("=")
    if not equals or not key.removesuffix(":"):
        raise Refused(t("{item}: write key=value, key:=JSON, or key=@path for a file", item=item))
    return (key[:-1], True, text) if key.endswith(":") else (key, False, text)


def _is_file(kind: Schema, root: Schema) -> bool:
    """Return whether the parameter takes a file, or a list of files, which are uploaded."""
    items = kind.get("items")
    if kind.get("type") == "array" and isinstance(items, Mapping):
        return any(_is_file(each, root) for each in _kinds(items, root))
    return kind.get("format") == FILE_ID


def _content(path: str) -> Content:
    """Return the text of a file; `-` is stdin. Raises Refused where there is none."""
    try:
        found = sys.stdin.buffer.read() if path == "-" else Path(path).expanduser().read_bytes()
        return Content(found.decode())
    except (OSError, RuntimeError) as error:  # no home for `~`
        raise Refused(f"@{path}: {getattr(error, 'strerror', None) or error}") from None
    except UnicodeDecodeError:
        raise Refused(t("@{path}: it is no text in UTF-8", path=path)) from None


def _kinds(schema: Schema, root: Schema) -> Iterator[Schema]:
    """Yield the plain schemas of which a value is to fit one."""
    if reference := schema.get("$ref"):
        yield from _kinds(root.get("$defs", {}).get(str(reference).rpartition("/")[2], {}), root)
        return
    for several in ("anyOf", "oneOf"):
        if several in schema:
            for each in schema[several]:
                yield from _kinds(each, root)
            return
    if isinstance(schema.get("type"), list):
        for each in schema["type"]:
            yield {**schema, "type": each}
        return
    yield schema


def _of_kinds(text: str, kinds: list[Schema], root: Schema) -> Any:
    """Return the value as the narrowest of these kinds: a number rather than a text, null where no text fits."""
    kinds = sorted(kinds, key=lambda kind: _breadth(kind, text))
    misfits = []
    for kind in kinds:
        try:
            return _of_kind(text, kind, root)
        except Misfit as misfit:
            misfits.append(str(misfit))
    raise Misfit(t(" or ").join(dict.fromkeys(misfits)))


def _breadth(kind: Schema, text: str) -> int:
    begins = text.lstrip() if isinstance(text, Content) else text
    if "enum" in kind or "const" in kind or kind.get("type", "any") == _OPENED.get(begins[:1]):
        return 0
    return 1 + _ORDER.index("file" if kind.get("format") == FILE_ID else kind.get("type", "any"))


def _of_kind(text: str, kind: Schema, root: Schema) -> Any:
    is_plain = kind.get("type", "any") in _AS_THEY_ARE and not kind.keys() & {"enum", "const", "format"}
    if isinstance(text, Content) and not is_plain:
        text = text.strip()
    if "enum" in kind or "const" in kind:
        return _choice(text, kind.get("enum", [kind.get("const")]))
    if kind.get("format") == FILE_ID:
        return Upload(text[1:]) if text.startswith("@") else text
    if kind.get("type") == "array":
        return _array(text, kind, root)
    return _READ.get(kind.get("type", "any"), _anything)(text)


def _choice(text: str, values: list[Any]) -> Any:
    for value in values:
        if text == (value if isinstance(value, str) else json.dumps(value)):
            return value
    raise Misfit(t("one of {values}", values=", ".join(str(value) for value in values)))


def _boolean(text: str) -> bool:
    if text.lower() not in (*_TRUE, *_FALSE):
        raise Misfit(t("true or false"))
    return text.lower() in _TRUE


def _integer(text: str) -> int:
    try:
        if not _INTEGER.fullmatch(text):
            raise ValueError(text)
        return int(text)
    except ValueError:  # also one of more digits than Python reads
        raise Misfit(t("an integer")) from None


def _number(text: str) -> float:
    """Return a number of JSON: an integer where it is written as one."""
    try:
        if not _NUMBER.fullmatch(text):
            raise ValueError(text)
        return int(text) if _INTEGER.fullmatch(text) else _finite(text)
    except ValueError:
        raise Misfit(t("a number")) from None


def _null(text: str) -> None:
    if text != "null":
        raise Misfit("null")


def _object(text: str) -> Any:
    return _typed_json(text, dict, t("a JSON object"))


def _array(text: str, kind: Schema, root: Schema) -> Any:
    """Return a JSON array, or one element of the list."""
    if (text.lstrip() if isinstance(text, Content) else text).startswith("["):
        return _typed_json(text, list, t("a JSON array"))
    items = kind.get("items")
    elements = [*_kinds(items, root)] if isinstance(items, Mapping) else [{}]
    return _Element(_of_kinds(text, elements, root))


def _typed_json(text: str, kind: type, words: str) -> Any:
    try:
        value = loads(text)
    except ValueError:
        raise Misfit(words) from None
    if not isinstance(value, kind):
        raise Misfit(words)
    return value


def _anything(text: str) -> Any:
    """Return JSON where the text is some, else the text: the parameter has no type."""
    try:
        return loads(text)
    except ValueError:
        return str(text)


def loads(text: str | bytes) -> Any:
    """Return JSON (RFC 8259), which has no NaN and no infinity. Raises ValueError."""
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _no_constant(text: str) -> Any:
    raise ValueError(text)


def _json(text: str) -> Any:
    try:
        return loads(text)
    except ValueError as error:
        raise Misfit(t("JSON after :=, and this is none ({reason})", reason=error)) from None


# Of a file: the others have no space around them.
_AS_THEY_ARE = ("string", "array", "any")
_READ: Mapping[str, Callable[[str], Any]] = {
    "string": str, "boolean": _boolean, "integer": _integer, "number": _number, "object": _object, "null": _null,
}  # fmt: skip
