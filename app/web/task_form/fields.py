"""The fields of a form, with what was typed into them: a tree, bounded whatever a client sends.

First come the options of a task, such as its priority: their fields are made of TaskCreate.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from app.catalogue import TaskType
from app.core.redaction import MASK
from app.models.task import TaskPriority
from app.schemas.task import TaskCreate
from app.services.tasks.task_edits import COPIED
from app.web.task_form.shapes import MAX_DEPTH, Kind, Shape, Shapes, shape_of

_NOT_OPTIONS = ("celery_task_name", "args", "kwargs")
# What a field is without being sent. A form that sends nothing says the same.
DEFAULTS: Mapping[str, Any] = {
    name: each.get_default(call_default_factory=True)
    for name, each in TaskCreate.model_fields.items()
    if not each.is_required()
}
# What is empty in the form is to be empty in the task that repeats another one: the form has all parameters by name.
EMPTY: Mapping[str, Any] = {name: DEFAULTS[name] for name in COPIED if name in DEFAULTS and not DEFAULTS[name]}
# What stands in the form of a new task. `name` is that of the task.
TYPED_DEFAULTS = {"task_type": "manual", "priority": TaskPriority.NORMAL.value}


def _option_shape(name: str, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Shape:
    if name == "priority":  # its other spellings are for the API alone
        return Shape({"enum": [each.value for each in TaskPriority]}, {})
    found = shape_of(schema, definitions)
    without = {key: value for key, value in found.schema.items() if key not in {"description", "default", "pattern"}}
    return Shape(without, found.definitions, in_one_line=name in {"tags", "depends_on"})


OPTIONS = Shapes(TaskCreate, _option_shape, without=_NOT_OPTIONS)


# -- The tree of fields, of the options and of the arguments that the task takes ---------------------------------------

ARGUMENTS = "kwargs"
PREFIX = f"{ARGUMENTS}."
# Of inputs, beside those of the options. A request has 1,000 fields at most.
MAX_INPUTS = 500
# What the input of a model or a list holds that has its own fields. Any other text in it is JSON.
GIVEN = {Kind.OBJECT: "{}", Kind.LIST: "[]"}
_MAX_PARTS = 2 * MAX_DEPTH + 2
_INDEX = re.compile(r"0|[1-9]\d{0,8}", re.ASCII)
_AS_INPUT = {
    Kind.NUMBER: ("number", re.compile(r"-?\d*\.?\d+([eE][-+]?\d+)?", re.ASCII)),
    Kind.DATE: ("date", re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)),
    Kind.MOMENT: ("datetime-local", re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(\.\d{1,3})?", re.ASCII)),
    Kind.TIME: ("time", re.compile(r"\d\d:\d\d(:\d\d)?(\.\d{1,3})?", re.ASCII)),
}


@dataclass(frozen=True)
class Field:
    """One input, or the inputs of a model or a list. `value` is as typed."""

    name: str
    label: str | int
    """A parameter, a property, or the number of a row among those of its list, from 0."""
    title: str
    """What the reader calls it: `lines #1 article`."""
    shape: Shape
    required: bool
    value: str
    kind: Kind
    fields: tuple["Field", ...] = ()
    is_given: bool = True
    """Whether a model or a list is sent, though it may be empty."""

    @property
    def input_type(self) -> str:
        """The type of an HTML input. A browser would empty one of a value that does not fit it: that is a text."""
        found, fitting = _AS_INPUT.get(self.kind, ("text", None))
        return found if fitting is None or not self.value or fitting.fullmatch(self.value) else "text"

    @property
    def has_lines(self) -> bool:
        return self.kind is Kind.JSON or (self.kind is Kind.TEXT and (self.shape.is_long or "\n" in self.value))

    @property
    def choices(self) -> list[str]:
        """The choices as typed, and `***` where it keeps a secret."""
        return [*self.shape.choices, *([MASK] if self.value == MASK else [])]

    def leaves(self) -> Iterator["Field"]:
        """Yield the inputs of it, and it itself where it is a model or a list."""
        yield self
        for each in self.fields:
            yield from each.leaves()


@dataclass
class _Typed:
    """The typed values by the names of their inputs, and how many inputs have been made of them."""

    form: Mapping[str, str]
    inputs: int = 0
    is_cut: bool = False

    @cached_property
    def rows(self) -> Mapping[str, list[int]]:
        """The rows of each list, in order, by its name. Other names with something below them have none."""
        found: dict[str, set[int]] = {}
        for name in self.form:
            parts = name.split(".", _MAX_PARTS + 1)
            for at in range(1, len(parts) if len(parts) <= _MAX_PARTS else 0):
                rows = found.setdefault(".".join(parts[:at]), set())
                if _INDEX.fullmatch(parts[at]):
                    rows.add(int(parts[at]))
        return {name: sorted(rows) for name, rows in found.items()}

    def field(self, name: str, label: str | int, shape: Shape, required: bool, within: str = "") -> Field:
        """Return the field of this name, with those below it."""
        title = f"{within} {label if isinstance(label, str) else f'#{label + 1}'}".strip()
        value, kind = self.form.get(name, ""), shape.kind
        self.inputs += 1
        if kind in GIVEN and value not in {"", GIVEN[kind]}:
            kind = Kind.JSON
        found = Field(name, label, title, shape, required, value, kind)
        if kind not in GIVEN:
            return found
        is_given = required or value != "" or name in self.rows
        return replace(found, is_given=is_given, fields=tuple(self._parts(found)) if is_given else ())

    def _parts(self, whole: Field) -> Iterator[Field]:
        parts: Iterable[tuple[str | int, str | int, Shape, bool]]
        if whole.kind is Kind.OBJECT:
            parts = ((name, name, shape, required) for name, shape, required in whole.shape.properties())
        else:
            items = whole.shape.items()
            parts = ((row, at, items, True) for at, row in enumerate(self.rows.get(whole.name, ())))
        for part, label, shape, required in parts:
            if self.inputs > 2 * MAX_INPUTS:
                self.is_cut = True
                return
            yield self.field(f"{whole.name}.{part}", label, shape, required, whole.title)


@dataclass(frozen=True)
class Fields:
    """All fields of a form."""

    options: Mapping[str, Field]
    arguments: list[Field] = field(default_factory=list)
    inputs: int = 0
    is_cut: bool = False
    """Whether there was more than a form can have."""

    @property
    def is_full(self) -> bool:
        return self.inputs >= MAX_INPUTS

    def all(self) -> Iterator[Field]:
        """Yield the fields in their order on the page."""
        yield self.options["name"]
        for each in self.arguments:
            yield from each.leaves()
        yield from (each for name, each in self.options.items() if name != "name")


def fields_of(kind: TaskType, form: Mapping[str, str]) -> Fields:
    """Return the fields for a task: the options of any task, and its own parameters."""
    typed = _Typed(form)
    arguments = [typed.field(PREFIX + name, name, shape, required) for name, shape, required in parameters(kind)]
    options = {
        name: Field(name, name, name, shape, name == "name", form.get(name, ""), shape.kind)
        for name, shape in OPTIONS.items()
    }
    return Fields(options, arguments, typed.inputs, typed.is_cut)


def parameters(kind: TaskType) -> Iterator[tuple[str, Shape, bool]]:
    """Yield each parameter that has a field, its shape, and whether it is required. `*names` go by JSON alone."""
    schema = kind.parameters
    required, definitions = set(schema.get("required", ())), schema.get("$defs", {})
    for name, each in schema.get("properties", {}).items():
        if name != kind.positions.rest:
            yield name, shape_of(each, definitions), name in required


def changed_form(form: Mapping[str, str], deed: str) -> tuple[dict[str, str], str]:
    """Return what was typed after a button was pressed, and the name of the field that the reader goes on with.

    `add NAME` adds a row to a list, `give NAME` shows the fields of a model, `drop NAME` takes a row away, and `leave
    NAME` leaves a model or a list out. Any other text changes nothing.
    """
    verb, _, name = deed.partition(" ")
    found = dict(form)
    if not name.startswith(PREFIX):
        return found, ""
    if verb == "add":
        rows = _Typed(form).rows.get(name, [])
        row = f"{name}.{rows[-1] + 1 if rows else 0}"
        return {**found, name: GIVEN[Kind.LIST], row: ""}, row
    if verb == "give":
        return {**found, name: GIVEN[Kind.OBJECT]}, name
    if verb in {"drop", "leave"}:
        kept = {key: value for key, value in found.items() if key != name and not key.startswith(f"{name}.")}
        return kept, name if verb == "leave" else name.rpartition(".")[0]
    return found, ""
