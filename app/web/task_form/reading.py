"""What was typed into a form, as a task: each value, what is wrong with it, and where the reader can put it right."""

import math
import re
from collections.abc import Mapping, Sequence
from inspect import Parameter
from typing import Any

from app.catalogue import TaskType
from app.core.json_text import has_more_values, load_json, parse_json
from app.core.redaction import MASK
from app.errors import FieldError, InvalidTask, ServiceError
from app.web.task_form.fields import ARGUMENTS, MAX_INPUTS, Field, Fields, fields_of
from app.web.task_form.shapes import Kind, Shape

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

    `most_values` is MAX_JSON_VALUES, for all of it.
    """

    def __init__(self, kind: TaskType, form: Mapping[str, str], most_values: int) -> None:
        self.fields: Fields = fields_of(kind, form)
        self.problems: list[FieldError] = []
        self.places: dict[Place, Field] = {}
        self._most, self._left = most_values, most_values
        self.task: dict[str, Any] = {"celery_task_name": kind.celery_task_name, ARGUMENTS: {}}
        for name, option in self.fields.options.items():
            self._read(option, (name,), self.task)
        for argument in self.fields.arguments:
            self._read(argument, (ARGUMENTS, str(argument.label)), self.task[ARGUMENTS])
        if self.fields.is_cut:
            self._refuse(
                (ARGUMENTS,), f"The form has more than {MAX_INPUTS} fields: write the task as JSON", "too_many_fields"
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
            raise ValueError(f"is not JSON: more than {self._most} JSON values")
        try:
            value = parse_json(typed, self._most)
        except ValueError as error:
            raise ValueError(f"is not JSON: {error}") from None
        self._left -= _values_in(value)
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
            raise ValueError(f"must be {' or '.join(map(repr, shape.choices))}")
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


def _values_in(value: Any) -> int:
    found, waiting = 0, [value]
    while waiting:
        each = waiting.pop()
        found += 1
        waiting += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
    return found


def body_of(typed: str, most_values: int) -> dict[str, Any]:
    """Return the JSON of a whole task, of `most_values` values at most. Raises InvalidTask."""
    try:
        task = parse_json(typed, most_values)
    except ValueError as error:
        raise InvalidTask(f"This is not JSON: {error}") from None
    if not isinstance(task, dict):
        raise InvalidTask("A task is a JSON object")
    return task
