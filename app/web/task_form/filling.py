"""A task as if it had been typed into the form, and as JSON; and what of it the form cannot say."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from app.catalogue import TaskType
from app.core.json_text import SMALL_BYTES
from app.schemas.task import TaskRead
from app.schemas.task_values import PriorityIn
from app.web.task_form.fields import ARGUMENTS, GIVEN, MAX_INPUTS, PREFIX, parameters
from app.web.task_form.options import DEFAULTS, OPTIONS
from app.web.task_form.reading import says_nothing, value_of
from app.web.task_form.shapes import Kind, Shape, as_json, as_text

_PRIORITY = TypeAdapter[Any](PriorityIn)
_ORDER = ("name", "task_type", "celery_task_name", "args", ARGUMENTS)
# The time of an old task is not that of the one that repeats it.
_NOT_REPEATED = {"run_at", "delay_seconds", "expires_at", "depends_on", "unique_key", "on_conflict"}


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
    fields = task.model_dump(mode="json", include={*OPTIONS, "args", ARGUMENTS} - _NOT_REPEATED, exclude_none=True)
    found = filled_with(fields, kind)
    found.typed |= {"by": "json" if found.lost else "form", "json": editable(fields)}
    return found


def editable(task: Mapping[str, Any]) -> str:
    """Return the task as JSON to edit: indented, unless that would multiply a large value."""
    ordered = {name: task[name] for name in (*_ORDER, *task) if name in task}
    compact = as_json(ordered)
    return compact if len(compact) > SMALL_BYTES else as_json(ordered, indent=2)
