"""The form of a new task: its fields from the JSON Schema of the task's parameters, and what was typed as JSON.

A field left empty is left out, so that the parameter's default holds. A parameter that is no plain text, number or
choice is typed as JSON.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.catalogue import TaskType
from app.core.json_text import SMALL_BYTES, parse_json
from app.errors import FieldError, InvalidTask
from app.schemas.task import TaskRead

PREFIX = "kwargs."
# The fields of TaskCreate that the form has besides, and what each is typed as.
OPTIONS = {
    "name": "text",
    "task_type": "text",
    "priority": "text",
    "tags": "list",
    "delay_seconds": "number",
    "timeout_seconds": "number",
    "max_attempts": "number",
    "metadata": "json",
}


@dataclass(frozen=True)
class Field:
    """One parameter: `kind` is `text`, `number`, `choice` or `json`. `default` and `value` are as typed."""

    name: str
    kind: str
    required: bool
    description: str
    default: str
    value: str
    choices: Mapping[str, Any]
    """What each choice, as typed, stands for."""
    step: str = "any"


def fields_of(kind: TaskType, values: Mapping[str, Any]) -> list[Field]:
    """Return the fields for the task's parameters, filled with these values."""
    schema = kind.parameters
    required = set(schema.get("required", ()))
    definitions = schema.get("$defs", {})
    return [
        _field(name, _resolved(each, definitions), name in required, values)
        for name, each in schema.get("properties", {}).items()
        if name != kind.positions.rest  # `*names`: by JSON alone
    ]


def _field(name: str, schema: dict[str, Any], required: bool, values: Mapping[str, Any]) -> Field:
    kind, step = "json", "any"
    choices: dict[str, Any] = {}
    if "enum" in schema:
        kind, choices = "choice", {_typed(each): each for each in schema["enum"]}
    elif schema.get("type") == "boolean":
        kind, choices = "choice", {"true": True, "false": False}
    elif schema.get("type") in {"integer", "number"}:
        kind, step = "number", "1" if schema["type"] == "integer" else "any"
    elif schema.get("type") == "string":
        kind = "text"
    return Field(
        name,
        kind,
        required,
        schema.get("description", ""),
        _typed(schema["default"]) if schema.get("default") is not None else "",
        _typed(values[name]) if name in values else "",
        choices,
        step,
    )


def _resolved(schema: dict[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Follow a reference, and take `X | null` for X: the form leaves a field out in place of null."""
    if "$ref" in schema:
        schema = {**definitions.get(schema["$ref"].rpartition("/")[2], {}), **schema}
    options = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    return {**_resolved(options[0], definitions), **schema} if len(options) == 1 else schema


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def task_of(kind: TaskType, form: Mapping[str, str], most_values: int) -> dict[str, Any]:
    """Return the task as TaskCreate takes it. Raises InvalidTask, naming the fields whose JSON or number is none.

    `most_values` is MAX_JSON_VALUES, for each field.
    """
    problems: list[FieldError] = []
    task: dict[str, Any] = {"celery_task_name": kind.celery_task_name, "kwargs": {}}
    read = partial(_read, problems, most_values)
    for name, how in OPTIONS.items():
        read(task, (name,), how, form.get(name, ""))
    for field in fields_of(kind, {}):
        typed = form.get(PREFIX + field.name, "")
        if typed in field.choices:
            task["kwargs"][field.name] = field.choices[typed]
        else:
            read(task["kwargs"], ("kwargs", field.name), field.kind, typed)
    if problems:
        raise InvalidTask(errors=problems)
    return task


def _read(
    problems: list[FieldError], most_values: int, into: dict[str, Any], place: tuple[str, ...], kind: str, typed: str
) -> None:
    if not typed.strip():
        return
    if kind == "text":
        into[place[-1]] = typed
    elif kind == "list":
        into[place[-1]] = [part.strip() for part in typed.split(",") if part.strip()]
    else:
        try:
            into[place[-1]] = parse_json(typed, most_values)
        except ValueError as error:
            problems.append({"loc": list(place), "msg": f"is not JSON: {error}", "type": "json_invalid"})


def arguments_in(form: Mapping[str, str]) -> dict[str, str]:
    """Return what the form has for the parameters, by their names."""
    return {name.removeprefix(PREFIX): value for name, value in form.items() if name.startswith(PREFIX)}


def typed_of(task: TaskRead, kind: TaskType) -> dict[str, str]:
    """Return a task as if it had been typed into the form, and as JSON. Positional arguments go to their names.

    What the form cannot say stands in the JSON alone: `by` is `json` then. The task does not wait as the old one did.
    """
    fields = task.model_dump(mode="json", include={*OPTIONS, "args", "kwargs"} - {"delay_seconds"}, exclude_none=True)
    names = {each.name: each.kind for each in fields_of(kind, {})}
    arguments = {**dict(zip(names, task.args, strict=False)), **task.kwargs}
    typed = {PREFIX + name: _typed(value) for name, value in arguments.items()}
    typed |= {name: _typed(fields[name]) for name, how in OPTIONS.items() if name in fields and how != "list"}
    # An empty field is left out, and so cannot say null or "".
    is_said = len(task.args) <= len(names) and arguments.keys() <= names.keys()
    is_said = is_said and not any(value is None or value == "" for value in arguments.values())
    typed |= {} if is_said else {"by": "json"}
    return typed | {"tags": ", ".join(task.tags), "json": _editable(fields)}


def _editable(fields: dict[str, Any]) -> str:
    """Return the fields as JSON to edit: indented, unless that would multiply a large value."""
    compact = json.dumps(fields, ensure_ascii=False)
    return compact if len(compact) > SMALL_BYTES else json.dumps(fields, ensure_ascii=False, indent=2)


def body_of(typed: str, most_values: int) -> dict[str, Any]:
    """Return the JSON of a whole task, of `most_values` values at most. Raises InvalidTask."""
    try:
        task = parse_json(typed, most_values)
    except ValueError as error:
        raise InvalidTask(f"This is not JSON: {error}") from None
    if not isinstance(task, dict):
        raise InvalidTask("A task is a JSON object")
    return task
