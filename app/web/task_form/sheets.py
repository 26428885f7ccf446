"""The sheet of a form that holds a task: which one, what was typed, as fields or JSON, and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Form, Request
from sqlalchemy.orm import Session

from app.catalogue import TaskType, find_type
from app.core.config import Settings
from app.errors import InvalidInput, ServiceError, TaskNotAllowed
from app.schemas.values import MAX_METADATA_BYTES
from app.services.accounts.auth_service import Principal
from app.services.operations import limit_service
from app.services.tasks.permissions import types_for
from app.web.task_form.fields import OPTIONS, TYPED_DEFAULTS, changed_form
from app.web.task_form.shapes import Kind
from app.web.task_form.values import Reading, body_of, editable_json, filled_with

# What a newcomer tries first: it needs nothing and shows its progress.
_FIRST = "app.tasks.common_tasks.long_running_task"
# Each byte of a form may be escaped as three.
_ESCAPED = 3
_FIELDS_BYTES = 64 * 1024


@dataclass
class Sheet:
    """What the page shows: the form of a task with what was `typed`, or the JSON, and what has become of it."""

    kind: TaskType | None
    typed: Mapping[str, str] = field(default_factory=dict)
    of: UUID | None = None
    """The task that is repeated."""
    error: ServiceError | None = None
    lost: list[str] = field(default_factory=list)
    """What of the JSON the form cannot say."""
    focus: str = ""
    is_other: bool = False
    """Whether it is the form of another task than the one that was sent."""

    @property
    def by_json(self) -> bool:
        return self.typed.get("by") == "json"


def form_bytes(settings: Settings) -> int:
    """Return how many bytes such a form may have."""
    return _FIELDS_BYTES + _ESCAPED * (settings.max_arguments_bytes + MAX_METADATA_BYTES)


async def _typed(request: Request) -> dict[str, str]:
    return {name: str(value) for name, value in (await request.form()).items()}


Typed = Annotated[dict[str, str], Depends(_typed)]
KindName = Annotated[str, Form(alias="celery_task_name", max_length=200)]


def turned_sheet(
    user: Principal, settings: Settings, name: str, form: Mapping[str, str], of: UUID | None = None
) -> Sheet | None:
    """Return what a button shows that creates nothing: another row, or the other side. None for any other button.

    Raises ServiceError where the other side cannot say what was typed, since it is none of a task.
    """
    if of is None and not find_type(name).may_be_created_by(user.id, user.role, settings):
        raise TaskNotAllowed
    if "edit" in form:
        typed, focus = changed_form(form, form["edit"])
        return Sheet(find_type(name), typed, of, focus=focus)
    if "show" not in form:
        return None
    if form.get("by") != "json":
        if form["show"] != "json":
            return Sheet(find_type(name), form, of)
        task = Reading(find_type(name), form).checked()
        return Sheet(find_type(name), {"by": "json", "json": editable_json(task)}, of)
    if form["show"] == "json":
        return Sheet(find_type(name), form, of)
    task = body_of(form.get("json", ""))
    kind = find_type(name if of else str(task.get("celery_task_name", name)))
    if of is None and not kind.may_be_created_by(user.id, user.role, settings):
        raise TaskNotAllowed
    filled = filled_with(task, kind)
    if of and task.get("celery_task_name", name) != name:
        filled.lost.append("celery_task_name")
    return Sheet(kind, form if filled.lost else all_typed(filled.typed), of, lost=filled.lost)


def all_typed(typed: Mapping[str, str]) -> dict[str, str]:
    """Return what was typed with every option: one that the task does not have is empty, and has no default."""
    return dict.fromkeys(OPTIONS, "") | dict(typed)


def kept_of(form: Mapping[str, str], form_of: str) -> dict[str, str]:
    """Return what was typed into the form of another task beside its arguments, and differs from what stood there."""
    stood = dict.fromkeys(OPTIONS, "") | {"name": _name(form_of)} | TYPED_DEFAULTS
    return {name: form[name] for name in OPTIONS if name in form and form[name] != stood[name]}


def _name(celery_task_name: str) -> str:
    return celery_task_name.rpartition(".")[2]


def kind_for(user: Principal, name: str | None) -> TaskType | None:
    """Return the task of this name, or another one, that the user may create; None if there is none."""
    by_name = {each.celery_task_name: each for each in types_for(user.rights)}
    return by_name.get(name or _FIRST) or next(iter(by_name.values()), None)


def _groups(user: Principal) -> list[tuple[str, list[str]]]:
    """Return the names of the tasks that the user may create, by their modules."""
    names = sorted(each.celery_task_name.rpartition(".") for each in types_for(user.rights))
    return [(module, ["".join(name) for name in of]) for module, of in groupby(names, lambda name: name[0])]


def task_of(name: str, form: Mapping[str, str]) -> dict[str, Any]:
    """Return the task that was typed, as TaskCreate takes it. Raises InvalidTask for what is no value of its field."""
    if form.get("by") == "json":
        return body_of(form.get("json", ""))
    return Reading(find_type(name), form).checked()


def values_of(db: Session, user: Principal, sheet: Sheet) -> dict[str, Any]:
    """Return what `task_part.html` shows of the sheet: its fields, with the error at those that it concerns."""
    values: dict[str, Any] = {
        "sheet": sheet,
        "kind": sheet.kind,
        "groups": [] if sheet.of else _groups(user),
        "error": sheet.error,
        "reasons": sheet.error.errors if isinstance(sheet.error, InvalidInput) else [],
        "wrong": {},
        "wrong_fields": [],
        "limits": [],
    }
    if sheet.kind is not None and not sheet.by_json:
        values |= _fields(sheet, sheet.kind, values["reasons"])
        values["limits"] = [limit.name for limit in limit_service.list_limits(db)]
    return values


def _fields(sheet: Sheet, kind: TaskType, errors: Any) -> dict[str, Any]:
    """Return the fields with what is wrong with each, and which of them has the focus."""
    typed = {"name": _name(kind.celery_task_name)} | TYPED_DEFAULTS | dict(sheet.typed)
    reading = Reading(kind, typed)
    wrong, rest = reading.placed(sheet.error, errors) if sheet.error is not None else ({}, errors)
    every = [*reading.fields.all()]
    first = next((each.name for each in every if each.name in wrong), "name")
    if sheet.focus:  # of a new row of several inputs, the first
        within = [each for each in every if f"{each.name}.".startswith(f"{sheet.focus}.")]
        first = next((each.name for each in within if each.kind is Kind.LIST or not each.fields), sheet.focus)
    plain = {"", typed["name"], *TYPED_DEFAULTS.values()}
    return {
        "fields": reading.fields,
        "has_options": any(each.value not in plain for each in reading.fields.options.values())
        or not OPTIONS.keys().isdisjoint(wrong),
        "wrong": wrong,
        "wrong_fields": [each for each in every if each.name in wrong],
        "focus": first,
        "reasons": rest,
    }
