"""What the form makes of a JSON Schema, as pydantic writes it: which input a value is typed into, and within what."""

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from pydantic import BaseModel

# Deeper models and lists are typed as JSON.
MAX_DEPTH = 4
_MAX_PROPERTIES = 100
_MAX_REFERENCES = 20
# A text that may be longer is typed into several lines.
_LINE = 500


class Kind(StrEnum):
    """How a value is typed. What has no kind of its own is typed as JSON."""

    TEXT = "text"
    NUMBER = "number"
    CHOICE = "choice"
    DATE = "date"
    MOMENT = "moment"
    TIME = "time"
    TEXTS = "texts"
    JSON = "json"
    OBJECT = "object"
    LIST = "list"


_OF_FORMAT = {"date": Kind.DATE, "date-time": Kind.MOMENT, "time": Kind.TIME}
# Of texts that are not described otherwise.
_FORMAT_HINTS = {"uuid": "UUID", "uri": "URL", "duration": "ISO 8601: PT1H30M"}


@dataclass(frozen=True)
class Shape:
    """One place of a schema: references are followed, and `X | null` is X."""

    schema: Mapping[str, Any]
    definitions: Mapping[str, Any]
    depth: int = 0
    """Of how many models and lists it is a part."""
    in_one_line: bool = False
    """Whether a list of texts is typed into one input, with commas."""

    @cached_property
    def kind(self) -> Kind:
        kind, schema = self.schema.get("type"), self.schema
        if "enum" in schema or "const" in schema or kind == "boolean":
            return Kind.CHOICE
        if kind in {"integer", "number"}:
            return Kind.NUMBER
        if kind == "string":
            return _OF_FORMAT.get(schema.get("format", ""), Kind.TEXT)
        if self.in_one_line:
            return Kind.TEXTS
        if self.depth < MAX_DEPTH and (self._has_fields or self._has_rows):
            return Kind.OBJECT if self._has_fields else Kind.LIST
        return Kind.JSON

    @property
    def _has_fields(self) -> bool:
        """Whether it is an object of known properties, of which no name could be taken for that of another place."""
        names = self.schema.get("properties", {})
        is_known = self.schema.get("type") == "object" and 0 < len(names) <= _MAX_PROPERTIES
        return is_known and not any("." in name for name in names)

    @property
    def _has_rows(self) -> bool:
        is_list = self.schema.get("type") == "array" and "prefixItems" not in self.schema
        return is_list and isinstance(self.schema.get("items"), dict)

    @property
    def is_boolean(self) -> bool:
        return self.schema.get("type") == "boolean" and "const" not in self.schema

    @property
    def is_integer(self) -> bool:
        return self.schema.get("type") == "integer"

    @cached_property
    def choices(self) -> Mapping[str, Any]:
        """What each choice, as typed, stands for."""
        if self.is_boolean:
            return {"true": True, "false": False}
        values = [self.schema["const"]] if "const" in self.schema else self.schema.get("enum", ())
        return {as_text(each): each for each in values}

    @property
    def description(self) -> str:
        return str(self.schema.get("description", ""))

    @property
    def default(self) -> str:
        """The default as text; "" where there is none, or where it is null."""
        found = self.schema.get("default")
        return "" if found is None else as_text(found)

    @property
    def is_long(self) -> bool:
        return "format" not in self.schema and bool(self.schema.get("maxLength", 0) > _LINE)

    def properties(self) -> Iterator[tuple[str, "Shape", bool]]:
        """Yield the name of each property, its shape, and whether it is required."""
        required = set(self.schema.get("required", ()))
        for name, each in self.schema.get("properties", {}).items():
            yield name, shape_of(each, self.definitions, self.depth + 1), name in required

    def items(self) -> "Shape":
        """Return the shape of each item of a list."""
        return shape_of(self.schema["items"], self.definitions, self.depth + 1)

    @cached_property
    def attributes(self) -> Mapping[str, str]:
        """The bounds as attributes of an HTML input. A bound that HTML has no attribute for is in the hint alone."""
        found: dict[str, Any] = {}
        if self.kind is Kind.NUMBER:
            low, high = self._least, self._most
            step = self.schema.get("multipleOf")
            fits = step and (low is None or math.isclose(math.remainder(low, step), 0, abs_tol=1e-9))
            found = {"min": low, "max": high, "step": step if fits else 1 if self.is_integer else "any"}
        elif self.kind is Kind.TEXT:
            found = {"minlength": self.schema.get("minLength"), "maxlength": self.schema.get("maxLength")}
            found["title"] = self.schema.get("pattern")
        return {name: as_text(value) for name, value in found.items() if value is not None}

    @property
    def _least(self) -> Any:
        below = self.schema.get("exclusiveMinimum")
        return self.schema.get("minimum", below + 1 if self.is_integer and below is not None else below)

    @property
    def _most(self) -> Any:
        above = self.schema.get("exclusiveMaximum")
        return self.schema.get("maximum", above - 1 if self.is_integer and above is not None else above)

    @cached_property
    def hint(self) -> str:
        """The bounds in signs that every reader knows."""
        signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
        found = [f"{sign} {_brief(self.schema[name])}" for name, sign in signs.items() if name in self.schema]
        found += [] if self.description else [_FORMAT_HINTS.get(self.schema.get("format", ""), "")]
        found += [f"/{self.schema['pattern']}/"] if self.kind is Kind.TEXT and "pattern" in self.schema else []
        return ", ".join(filter(None, found))


class Shapes(Mapping[str, Shape]):
    """The places of a model's fields, by their names, but for those in `without`.

    They are made when the first form is shown: a JSON Schema needs the model's validator, which few processes use.
    """

    def __init__(
        self,
        model: type[BaseModel],
        shape: Callable[[str, Mapping[str, Any], Mapping[str, Any]], Shape],
        without: Collection[str],
    ) -> None:
        self._model, self._shape, self._without = model, shape, without

    @cached_property
    def _made(self) -> Mapping[str, Shape]:
        schema = self._model.model_json_schema()
        return {
            name: self._shape(name, each, schema["$defs"])
            for name, each in schema["properties"].items()
            if name not in self._without
        }

    def __getitem__(self, name: str) -> Shape:
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


def shape_of(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int = 0) -> Shape:
    """Return the shape of this place, `depth` models and lists below the top."""
    for _ in range(_MAX_REFERENCES):
        options = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            schema = {**definitions.get(name, {}), **{key: value for key, value in schema.items() if key != "$ref"}}
        elif len(options) == 1:
            schema = {**options[0], **{key: value for key, value in schema.items() if key != "anyOf"}}
        else:
            break
    return Shape(schema, definitions, depth)


def as_text(value: Any) -> str:
    """Return a text as it is, and any other value as JSON."""
    return value if isinstance(value, str) else as_json(value)


def as_json(value: Any, indent: int | None = None) -> str:
    """Return the value as JSON text that a page can show: UTF-8 lacks lone surrogates, which are written as escapes."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text


def _brief(bound: Any) -> str:
    return as_text(int(bound) if isinstance(bound, float) and bound.is_integer() else bound)
