"""Creates a task, or repeats one with changes: by a form made of the parameters, or by the JSON that the API takes."""

import json
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Depends, Form, Query, Request, Response

from app.api.deps import SessionDep, SettingsDep
from app.api.http.body_route import body_limit
from app.api.http.problems import status_of
from app.api.http.router import SlashRouter
from app.catalogue import find_type
from app.core.config import Settings
from app.errors import Conflict, Forbidden, InvalidInput, QuotaExceeded, ServiceError
from app.models.task import TaskPriority
from app.services.task_service import task_service
from app.services.tasks import new_rows
from app.services.tasks.permissions import types_for
from app.web.access import PageUser, rights_of
from app.web.rendering import page, redirect
from app.web.shown_tasks import shown
from app.web.task_form import OPTIONS, arguments_in, body_of, fields_of, task_of, typed_of

router = SlashRouter()

# What a newcomer tries first: it needs nothing and shows its progress.
_FIRST = "app.tasks.common_tasks.long_running_task"
# Each byte of a form may be escaped as three.
_ESCAPED = 3
_FIELDS_BYTES = 64 * 1024
# What the reader can put right in the form.
_REFUSALS = (InvalidInput, Conflict, Forbidden, QuotaExceeded)


def _form_bytes(settings: Settings) -> int:
    return _FIELDS_BYTES + _ESCAPED * (settings.max_arguments_bytes + settings.max_metadata_bytes)


async def _typed(request: Request) -> dict[str, str]:
    return {name: str(value) for name, value in (await request.form()).items()}


Typed = Annotated[dict[str, str], Depends(_typed)]
KindName = Annotated[str, Form(alias="celery_task_name", max_length=200)]


@router.get("/new")
def new_task(request: Request, user: PageUser, name: Annotated[str | None, Query(alias="task")] = None) -> Response:
    return _form(request, user, name, {})


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
        return _form(request, user, name, kept, is_other="choose" not in form)
    try:
        wanted = new_rows.parse(_task(name, form, settings))
        rights_of(user)(wanted)
        (created,) = task_service.create_tasks(db, [wanted], user.id, within_quota=True)
    except _REFUSALS as error:
        return _form(request, user, name, form, error)
    return redirect(request, f"/tasks/{created.id}", "created")


@router.get("/tasks/{task_id}/change")
def change_task(request: Request, db: SessionDep, user: PageUser, task_id: UUID) -> Response:
    (task,) = shown([task_service.get_task(db, task_id, owner=user.owner)])
    return _form(request, user, task.celery_task_name, typed_of(task, find_type(task.celery_task_name)), of=task_id)


@router.post("/tasks/{task_id}/change")
@body_limit(_form_bytes)
def retry_with_changes(
    request: Request,
    db: SessionDep,
    user: PageUser,
    settings: SettingsDep,
    task_id: UUID,
    name: KindName,
    form: Typed,
) -> Response:
    """Repeat an ended task as a new one. `***` keeps the secret that it hides."""
    try:
        changes = _task(name, form, settings)
        if form.get("by") != "json":  # it has all parameters by name, and what is empty in it is to be empty
            changes = {"args": [], "tags": [], "timeout_seconds": None, "max_attempts": None, **changes}
        created, _ = task_service.retry_with_changes(
            db, task_id, changes, owner=user.owner, within_quota=True, check=rights_of(user), owns=user.owns
        )
    except _REFUSALS as error:
        return _form(request, user, name, form, error, of=task_id)
    return redirect(request, f"/tasks/{created.id}", "created")


def _kept(form: Mapping[str, str], form_of: str) -> dict[str, str]:
    """Return what was typed into the form of another task beside its arguments, and differs from what stood there."""
    stood = dict.fromkeys(OPTIONS, "") | {"name": _name(form_of), "task_type": "manual", "priority": "normal"}
    return {name: form[name] for name in OPTIONS if name in form and form[name] != stood[name]}


def _name(celery_task_name: str) -> str:
    return celery_task_name.rpartition(".")[2]


def _task(name: str, form: Mapping[str, str], settings: Settings) -> dict[str, Any]:
    most = settings.max_json_values
    return body_of(form.get("json", ""), most) if form.get("by") == "json" else task_of(find_type(name), form, most)


def _form(
    request: Request,
    user: PageUser,
    name: str | None,
    typed: Mapping[str, str],
    error: ServiceError | None = None,
    of: UUID | None = None,
    is_other: bool = False,
) -> Response:
    """Return the form with what was typed; of a task that is repeated, for its kind alone."""
    by_name = {each.celery_task_name: each for each in types_for(user.id, user.role)}
    kind = by_name.get(name or _FIRST) or next(iter(by_name.values()), None)
    values = {
        "kinds": [] if of else [*by_name],
        "kind": kind,
        "action": f"/tasks/{of}/change" if of else "/new",
        "of": of,
        "by_form": of is None or typed.get("by") != "json",
        "fields": fields_of(kind, arguments_in(typed)) if kind else [],
        "typed": typed,
        "json": typed.get("json") or _example(kind.celery_task_name if kind else ""),
        "name": typed.get("name") or (_name(kind.celery_task_name) if kind else ""),
        "is_other": is_other,
        "priorities": [priority.value for priority in TaskPriority],
        "error": error,
        "reasons": error.errors if isinstance(error, InvalidInput) else [],
    }
    return page(request, "new_task.html", values, 200 if error is None else status_of(type(error)))


def _example(celery_task_name: str) -> str:
    task = {"name": "my task", "task_type": "manual", "celery_task_name": celery_task_name, "args": [], "kwargs": {}}
    return json.dumps(task, indent=2)
