"""Creates a task, or repeats one with changes: by a form made of the parameters, or by the JSON that the API takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Depends, Form, Query, Request, Response
from sqlalchemy.orm import Session

from app.api.deps import SessionDep, SettingsDep
from app.api.http.body_route import body_limit
from app.api.http.problems import status_of
from app.api.http.router import SlashRouter
from app.catalogue import TaskType, find_type
from app.core.config import Settings
from app.errors import (
    Conflict,
    Forbidden,
    InvalidArguments,
    InvalidInput,
    InvalidTask,
    QuotaExceeded,
    ServiceError,
    TaskNotAllowed,
)
from app.models.task import OnConflict
from app.schemas.task import TaskCreate
from app.services.accounts.auth_service import Principal
from app.services.operations import limit_service
from app.services.task_service import task_service
from app.services.tasks import new_rows
from app.services.tasks.permissions import types_for
from app.web.access import PageUser, rights_of
from app.web.rendering import page, redirect
from app.web.shown_tasks import shown
from app.web.task_form.fields import changed
from app.web.task_form.filling import editable, filled_with, typed_of
from app.web.task_form.options import OPTIONS, TYPED_DEFAULTS
from app.web.task_form.reading import Reading, body_of
from app.web.task_form.shapes import Kind

router = SlashRouter()

# What a newcomer tries first: it needs nothing and shows its progress.
_FIRST = "app.tasks.common_tasks.long_running_task"
# Each byte of a form may be escaped as three.
_ESCAPED = 3
_FIELDS_BYTES = 64 * 1024
# What the reader can put right in the form.
_REFUSALS = (InvalidInput, Conflict, Forbidden, QuotaExceeded)
# The form has all parameters by name, and what is empty in it is to be empty in the task that repeats another one.
_EMPTY: Mapping[str, Any] = {"args": [], "tags": [], "metadata": {}} | dict.fromkeys(
    ("timeout_seconds", "max_attempts", "retry_backoff_seconds", "limit", "limit_key", "webhook_url")
)


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


def _form_bytes(settings: Settings) -> int:
    return _FIELDS_BYTES + _ESCAPED * (settings.max_arguments_bytes + settings.max_metadata_bytes)


async def _typed(request: Request) -> dict[str, str]:
    return {name: str(value) for name, value in (await request.form()).items()}


Typed = Annotated[dict[str, str], Depends(_typed)]
KindName = Annotated[str, Form(alias="celery_task_name", max_length=200)]


@router.get("/new")
def new_task(
    request: Request,
    db: SessionDep,
    user: PageUser,
    settings: SettingsDep,
    name: Annotated[str | None, Query(alias="task")] = None,
) -> Response:
    return _page(request, db, user, settings, Sheet(_kind_for(user, name)))


@router.post("/new")
@body_limit(_form_bytes)
def create_task(
    request: Request, db: SessionDep, user: PageUser, settings: SettingsDep, name: KindName, form: Typed
) -> Response:
    form_of = form.get("form_of", name)
    if "choose" in form or name != form_of:
        kept = _kept(form, form_of)
        if "choose" in form and not kept:
            return redirect(request, f"/new?{urlencode({'task': name})}")
        return _page(request, db, user, settings, Sheet(_kind_for(user, name), kept, is_other="choose" not in form))
    try:
        if (turned := _turned(user, settings, name, form)) is not None:
            return _page(request, db, user, settings, turned)
        wanted = _wanted(name, form, settings)
        rights_of(user)(wanted)
        task, is_new = task_service.create_or_find(db, wanted, user.id)
    except _REFUSALS as error:
        return _page(request, db, user, settings, Sheet(_kind_for(user, name), form, error=error))
    return redirect(request, f"/tasks/{task.id}", _done(is_new, wanted.on_conflict))


@router.get("/tasks/{task_id}/change")
def change_task(request: Request, db: SessionDep, user: PageUser, settings: SettingsDep, task_id: UUID) -> Response:
    (task,) = shown([task_service.get_task(db, task_id, owner=user.owner)])
    kind = find_type(task.celery_task_name)
    filled = typed_of(task, kind)
    return _page(request, db, user, settings, Sheet(kind, _all_typed(filled.typed), task_id, lost=filled.lost))


@router.post("/tasks/{task_id}/change")
@body_limit(_form_bytes)
def retry_with_changes(
    request: Request, db: SessionDep, user: PageUser, settings: SettingsDep, task_id: UUID, name: KindName, form: Typed
) -> Response:
    """Repeat an ended task as a new one. `***` keeps the secret that it hides."""
    try:
        if (turned := _turned(user, settings, name, form, of=task_id)) is not None:
            return _page(request, db, user, settings, turned)
        changes = _task(name, form, settings)
        if form.get("by") != "json":
            changes = {**_EMPTY, **changes}
        task, is_new = task_service.retry_with_changes(
            db, task_id, changes, owner=user.owner, within_quota=True, check=rights_of(user), owns=user.owns
        )
    except _REFUSALS as error:
        return _page(request, db, user, settings, Sheet(find_type(name), form, task_id, error=error))
    return redirect(request, f"/tasks/{task.id}", _done(is_new, changes.get("on_conflict")))


def _done(is_new: bool, on_conflict: str | None) -> str:
    """Return what the page of the task says: it may be another one that has the unique key."""
    if is_new:
        return "created"
    return "replaced" if on_conflict == OnConflict.REPLACE else "found"


def _turned(
    user: Principal, settings: Settings, name: str, form: Mapping[str, str], of: UUID | None = None
) -> Sheet | None:
    """Return what a button shows that creates nothing: another row, or the other side. None for any other button.

    Raises ServiceError where the other side cannot say what was typed, since it is none of a task.
    """
    if of is None and not find_type(name).may_be_created_by(user.id, user.role, settings):
        raise TaskNotAllowed
    if "edit" in form:
        typed, focus = changed(form, form["edit"])
        return Sheet(find_type(name), typed, of, focus=focus)
    if "show" not in form:
        return None
    if form.get("by") != "json":
        if form["show"] != "json":
            return Sheet(find_type(name), form, of)
        task = Reading(find_type(name), form, settings.max_json_values).checked()
        return Sheet(find_type(name), {"by": "json", "json": editable(task)}, of)
    if form["show"] == "json":
        return Sheet(find_type(name), form, of)
    task = body_of(form.get("json", ""), settings.max_json_values)
    kind = find_type(name if of else str(task.get("celery_task_name", name)))
    if of is None and not kind.may_be_created_by(user.id, user.role, settings):
        raise TaskNotAllowed
    filled = filled_with(task, kind)
    if of and task.get("celery_task_name", name) != name:
        filled.lost.append("celery_task_name")
    return Sheet(kind, form if filled.lost else _all_typed(filled.typed), of, lost=filled.lost)


def _all_typed(typed: Mapping[str, str]) -> dict[str, str]:
    """Return what was typed with every option: one that the task does not have is empty, and has no default."""
    return dict.fromkeys(OPTIONS, "") | dict(typed)


def _kept(form: Mapping[str, str], form_of: str) -> dict[str, str]:
    """Return what was typed into the form of another task beside its arguments, and differs from what stood there."""
    stood = dict.fromkeys(OPTIONS, "") | {"name": _name(form_of)} | TYPED_DEFAULTS
    return {name: form[name] for name in OPTIONS if name in form and form[name] != stood[name]}


def _name(celery_task_name: str) -> str:
    return celery_task_name.rpartition(".")[2]


def _kind_for(user: Principal, name: str | None) -> TaskType | None:
    """Return the task of this name, or another one, that the user may create; None if there is none."""
    by_name = {each.celery_task_name: each for each in types_for(user.id, user.role)}
    return by_name.get(name or _FIRST) or next(iter(by_name.values()), None)


def _groups(user: Principal) -> list[tuple[str, list[str]]]:
    """Return the names of the tasks that the user may create, by their modules."""
    names = sorted(each.celery_task_name.rpartition(".") for each in types_for(user.id, user.role))
    return [(module, ["".join(name) for name in of]) for module, of in groupby(names, lambda name: name[0])]


def _task(name: str, form: Mapping[str, str], settings: Settings) -> dict[str, Any]:
    most = settings.max_json_values
    if form.get("by") == "json":
        return body_of(form.get("json", ""), most)
    return Reading(find_type(name), form, most).checked()


def _wanted(name: str, form: Mapping[str, str], settings: Settings) -> TaskCreate:
    """Return the task as the API takes it. Raises InvalidTask, which for a form names all fields that are wrong."""
    task = _task(name, form, settings)
    try:
        return new_rows.parse(task)
    except InvalidTask as error:
        if form.get("by") != "json":
            try:
                find_type(name).check(task.get("args", []), task["kwargs"])
            except InvalidArguments as more:
                raise InvalidTask(errors=[*error.errors, *more.errors]) from None
        raise


def _page(request: Request, db: Session, user: Principal, settings: Settings, sheet: Sheet) -> Response:
    """Return the page; with an error, which is told at the fields that it concerns."""
    values: dict[str, Any] = {
        "sheet": sheet,
        "kind": sheet.kind,
        "groups": [] if sheet.of else _groups(user),
        "action": f"/tasks/{sheet.of}/change" if sheet.of else "/new",
        "error": sheet.error,
        "reasons": sheet.error.errors if isinstance(sheet.error, InvalidInput) else [],
        "wrong_fields": [],
        "limits": [],
    }
    if sheet.kind is not None and not sheet.by_json:
        values |= _fields(sheet, sheet.kind, settings, values["reasons"])
        values["limits"] = [limit.name for limit in limit_service.list_limits(db)]
    return page(request, "new_task.html", values, 200 if sheet.error is None else status_of(type(sheet.error)))


def _fields(sheet: Sheet, kind: TaskType, settings: Settings, errors: Any) -> dict[str, Any]:
    """Return the fields with what is wrong with each, and which of them has the focus."""
    typed = {"name": _name(kind.celery_task_name)} | TYPED_DEFAULTS | dict(sheet.typed)
    reading = Reading(kind, typed, settings.max_json_values)
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
