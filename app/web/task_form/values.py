"""The values of a form: what was typed, as a task with what is wrong in it, and a task as if it had been typed."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from inspect import Parameter
from typing import Any

from pydantic import TypeAdapter, ValidationError

from app.catalogue import TaskType
from app.core.json_text import MAX_VALUES, SMALL_BYTES, has_more_values, load_json, parse_json
from app.core.redaction import MASK
from app.errors import FieldError, InvalidTask, ServiceError, Text
from app.schemas.task import TaskRead
from app.schemas.values import PriorityIn
from app.services.tasks.task_edits import COPIED
from app.web.task_form.fields import (
    ARGUMENTS,
    DEFAULTS,
    GIVEN,
    MAX_INPUTS,
    OPTIONS,
    PREFIX,
    Field,
    Fields,
    fields_of,
    parameters,
)
from app.web.task_form.shapes import Kind, Shape, as_json, as_text

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d)(:\d\d(?:\.\d{1,3})?)?", re.ASCII)
# Which field concerns what has no field of its own, by the error's type or code.
_FIELD_OF = {
    "start_given_twice": "run_at", "expires_before_start": "expires_at", "on_conflict_without_key": "unique_key",
    "unique_key_taken": "unique_key", "priority_not_allowed": "priority",
    "limit_reached": "limit", "unknown_limit": "limit",
}  # fmt: skip
Place = tuple[str | int, ...]


class Reading:
    """A form that was read: the `task` as TaskCreate takes it, the `problems`, and the fields by their `places` in it.

    All of it may have MAX_VALUES values.
    """

    def __init__(self, kind: TaskType, form: Mapping[str, str]) -> None:
        self.fields: Fields = fields_of(kind, form)
        self.problems: list[FieldError] = []
        self.places: dict[Place, Field] = {}
        self._left = MAX_VALUES
        self.task: dict[str, Any] = {"celery_task_name": kind.celery_task_name, ARGUMENTS: {}}
        for name, option in self.fields.options.items():
            self._read(option, (name,), self.task)
        for argument in self.fields.arguments:
            self._read(argument, (ARGUMENTS, str(argument.label)), self.task[ARGUMENTS])
        if self.fields.is_cut:
            self._refuse(
                (ARGUMENTS,),
                Text("The form has more than {} fields: write the task as JSON", MAX_INPUTS),
                "too_many_fields",
            )
        self._by_position(kind)

    def checked(self) -> dict[str, Any]:
        """Return the task. Raises InvalidTask, naming the fields whose text is no value of their kind."""
        if self.problems:
            raise InvalidTask(errors=self.problems)
        return self.task

    def _read(self, field: Field, place: Place, into: Any) -> None:
        self.places[place] = field
        if field.kind in {Kind.OBJECT, Kind.LIST}:
            if field.is_given:
                _put(into, place[-1], self._read_parts(field, place))
            return
        if says_nothing(field.kind, field.value):
            return
        self._left -= 1
        try:
            _put(
                into,
                place[-1],
                self._json(field.value) if field.kind is Kind.JSON else value_of(field.shape, field.value),
            )
        except ValueError as error:
            kind = "json_invalid" if field.kind is Kind.JSON else "form_value"
            self._refuse(place, str(error), kind)

    def _read_parts(self, field: Field, place: Place) -> Any:
        if field.kind is Kind.OBJECT:
            properties: dict[str, Any] = {}
            for each in field.fields:
                self._read(each, (*place, each.label), properties)
            return properties
        items: list[Any] = []
        for each in field.fields:  # a row that is left empty is left out: the places are those of the others
            self._read(each, (*place, len(items)), items)
        return items

    def _json(self, typed: str) -> Any:
        """Raise ValueError for what is no JSON, or more values than are left for all of the form."""
        if typed.strip() == MASK:
            return MASK
        if self._left <= 0 or has_more_values(typed.encode("utf-8", "surrogatepass"), self._left):
            raise ValueError(Text("is not JSON: {}", f"more than {MAX_VALUES} JSON values"))
        try:
            value = parse_json(typed)
        except ValueError as error:
            raise ValueError(Text("is not JSON: {}", str(error))) from None
        self._left -= _number_of_values(value)
        return value

    def _by_position(self, kind: TaskType) -> None:
        """Move what no caller may name from `kwargs` to `args`, up to the first that is left out."""
        arguments = self.task[ARGUMENTS]
        for each in kind.task_parameters.signature.parameters.values():
            if each.kind is not Parameter.POSITIONAL_ONLY or each.name not in arguments:
                return
            args = self.task.setdefault("args", [])
            self.places["args", len(args)] = self.places[ARGUMENTS, each.name]
            args.append(arguments.pop(each.name))

    def _refuse(self, place: Place, message: str, kind: str) -> None:
        self.problems.append({"loc": list(place), "msg": message, "type": kind})

    def placed(
        self, error: ServiceError, errors: Sequence[FieldError]
    ) -> tuple[dict[str, list[str]], list[FieldError]]:
        """Return the messages by the names of the fields that they concern, and the errors that concern none."""
        by_name: dict[str, list[str]] = {}
        rest: list[FieldError] = []
        whole: FieldError = {"loc": [], "msg": error.detail, "type": error.code}
        for each in errors or [whole]:
            if (field := self._field_of(each)) is not None:
                by_name.setdefault(field.name, []).append(each["msg"])
            elif errors:
                rest.append(each)
        return by_name, rest

    def _field_of(self, error: FieldError) -> Field | None:
        """Return the field at the place, or the next one around it."""
        place = tuple(error["loc"])
        for end in range(len(place), 0, -1):
            if (found := self.places.get(place[:end])) is not None:
                return found
        return self.fields.options.get(_FIELD_OF.get(error["type"], ""))


def says_nothing(kind: Kind, typed: str) -> bool:
    """Return whether the input counts as left empty: spaces alone are a value of a text only."""
    return not (typed if kind is Kind.TEXT else typed.strip())


def value_of(shape: Shape, typed: str) -> Any:
    """Return the value that a text, typed into one input, stands for. Raises ValueError, which says what is wrong."""
    if typed == MASK:  # keeps the secret that it hides
        return typed
    if shape.kind is Kind.NUMBER:
        return _number(shape, typed)
    if shape.kind is Kind.CHOICE:
        if typed not in shape.choices:
            raise ValueError(Text("must be {}", reduce(partial(Text, "{} or {}"), map(repr, shape.choices))))
        return shape.choices[typed]
    if shape.kind is Kind.MOMENT and (found := _MOMENT.fullmatch(typed)):
        return f"{found[1]}{found[2] or ':00'}Z"
    if shape.kind is Kind.TEXTS:
        return [part.strip() for part in typed.split(",") if part.strip()]
    return typed.replace("\r\n", "\n").replace("\r", "\n")  # browsers send the end of a line as both


def _number(shape: Shape, typed: str) -> Any:
    try:
        value = load_json(typed)
    except ValueError:
        value = None
    # Of an int nothing is asked: one of 400 digits is no float. What its field takes, the schema says.
    is_number = type(value) is int or (isinstance(value, float) and math.isfinite(value))
    if not is_number:
        raise ValueError("must be a whole number" if shape.is_integer else "must be a number")
    return value


def _put(into: Any, key: str | int, value: Any) -> None:
    if isinstance(into, list):
        into.append(value)
    else:
        into[key] = value


def _number_of_values(value: Any) -> int:
    found, waiting = 0, [value]
    while waiting:
        each = waiting.pop()
        found += 1
        waiting += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
    return found


def body_of(typed: str) -> dict[str, Any]:
    """Return the JSON of a whole task. Raises InvalidTask."""
    try:
        task = parse_json(typed)
    except ValueError as error:
        raise InvalidTask(Text("This is not JSON: {}", str(error))) from None
    if not isinstance(task, dict):
        raise InvalidTask("A task is a JSON object")
    return task


# -- A task as if it had been typed into the form, and as JSON; and what of it the form cannot say ---------------------

_PRIORITY = TypeAdapter[Any](PriorityIn)
_ORDER = ("name", "task_type", "celery_task_name", "args", ARGUMENTS)


@dataclass
class Filled:
    """What stands in the inputs, by their names, and the places of the task that would be lost."""

    typed: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)


class _TooMany(Exception):
    """A model or a list has more inputs than the form may have."""


def filled_with(task: Mapping[str, Any], kind: TaskType) -> Filled:
    """Return the form of a task that is given as the API takes it. Positional arguments go to their names."""
    found = Filled()
    known = {name: shape for name, shape, _ in parameters(kind)}
    arguments, found.lost = _by_name(task, kind)
    _Filler(found).fill(arguments, known)
    for name, value in task.items():
        if name in {"celery_task_name", "args", ARGUMENTS}:
            continue
        if name not in OPTIONS or not _fill_option(found.typed, name, value):
            found.lost.append(name)
    return found


def _by_name(task: Mapping[str, Any], kind: TaskType) -> tuple[dict[str, Any], list[str]]:
    """Return the arguments by the names of their parameters, and what of them cannot be given so."""
    args, kwargs = task.get("args", []), task.get(ARGUMENTS, {})
    lost = [
        name for name, value, form in (("args", args, list), (ARGUMENTS, kwargs, dict)) if not isinstance(value, form)
    ]
    if lost:
        return {}, lost
    named = dict(zip(kind.positions.names, args, strict=False))
    is_all = len(args) <= len(kind.positions.names) and not named.keys() & kwargs.keys()
    return {**named, **kwargs}, [] if is_all else ["args"]


def _fill_option(typed: dict[str, str], name: str, value: Any) -> bool:
    """Fill the option, and return whether the form says it. What a task is without it is said by leaving it out."""
    if name in DEFAULTS and _is_same(value, DEFAULTS[name]):
        return True
    if name == "priority":
        try:
            value = _PRIORITY.validate_python(value).value
        except ValidationError:
            return False
    return _fill_input(typed, OPTIONS[name], name, value)


class _Filler:
    """Fills the inputs of the arguments, of which a form has MAX_INPUTS at most."""

    def __init__(self, filled: Filled) -> None:
        self._filled, self._left = filled, MAX_INPUTS

    def fill(self, arguments: Mapping[str, Any], known: Mapping[str, Shape]) -> None:
        """Fill the fields of the parameters. Parts of models that these do not say are shown as JSON."""
        typed = self._filled.typed
        for name, value in arguments.items():
            shape, left, parts = known.get(name), self._left, dict[str, str]()
            try:
                is_said = shape is not None and self._fill(parts, shape, PREFIX + name, value)
            except _TooMany:
                self._left, parts, is_said = left, {PREFIX + name: as_json(value)}, True
            if is_said:
                typed |= parts
            else:
                self._filled.lost.append(PREFIX + name)

    def _fill(self, typed: dict[str, str], shape: Shape, name: str, value: Any) -> bool:
        self._left -= 1
        if self._left < 0:
            raise _TooMany
        if shape.kind not in GIVEN:
            return _fill_input(typed, shape, name, value)
        parts = {name: GIVEN[shape.kind]}
        fill_parts = self._fill_rows if shape.kind is Kind.LIST else self._fill_properties
        is_said = fill_parts(parts, shape, name, value)
        typed |= parts if is_said else {name: as_json(value)}
        return True

    def _fill_properties(self, typed: dict[str, str], shape: Shape, name: str, value: Any) -> bool:
        known = {key: each for key, each, _ in shape.properties()}
        if not isinstance(value, dict) or value.keys() - known.keys():
            return False
        self._left -= len(known) - len(value)
        return all(self._fill(typed, known[key], f"{name}.{key}", each) for key, each in value.items())

    def _fill_rows(self, typed: dict[str, str], shape: Shape, name: str, value: Any) -> bool:
        if not isinstance(value, list):
            return False
        items = shape.items()
        return all(self._fill(typed, items, f"{name}.{at}", each) for at, each in enumerate(value))


def _fill_input(typed: dict[str, str], shape: Shape, name: str, value: Any) -> bool:
    """Fill one input, and return whether it says the value: an empty one says nothing, no null and no empty text."""
    text = as_json(value) if shape.kind is Kind.JSON else _as_typed(shape, value)
    if says_nothing(shape.kind, text) or not _can_be_typed(text):
        return False
    typed[name] = text
    if shape.kind is Kind.JSON:
        return True
    try:
        return _is_same(value_of(shape, text), value)
    except ValueError:
        return False


def _as_typed(shape: Shape, value: Any) -> str:
    if shape.kind is Kind.TEXTS and isinstance(value, list):
        return ", ".join(map(as_text, value))
    if shape.kind is Kind.MOMENT and isinstance(value, str):
        return value.removesuffix("Z")
    return as_text(value)


def _can_be_typed(text: str) -> bool:
    """Return whether an input keeps the text as it is: browsers change some characters, and UTF-8 lacks surrogates."""
    if "\0" in text or "\r" in text:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two values are the same JSON: 1, 1.0 and true are three."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def typed_of(task: TaskRead, kind: TaskType) -> Filled:
    """Return a task that is repeated as if it had been typed, with its JSON. It does not wait as the old one did.

    What the form cannot say stands in the JSON alone: `by` is `json` then.
    """
    fields = task.model_dump(mode="json", include={*COPIED} - {"celery_task_name"}, exclude_none=True)
    found = filled_with(fields, kind)
    found.typed |= {"by": "json" if found.lost else "form", "json": editable_json(fields)}
    return found


def editable_json(task: Mapping[str, Any]) -> str:
    """Return the task as JSON to edit: indented, unless that would multiply a large value."""
    ordered = {name: task[name] for name in (*_ORDER, *task) if name in task}
    compact = as_json(ordered)
    return compact if len(compact) > SMALL_BYTES else as_json(ordered, indent=2)
