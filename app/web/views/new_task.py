"""Creates a task: by a form that is made of the task's parameters, or by the JSON that the API takes."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Form, Query, Request, Response

from app.api.deps import SessionDep
from app.api.http.body_route import body_limit
from app.api.http.problems import status_of
from app.api.http.router import SlashRouter
from app.catalogue import find_type
from app.core.config import Settings
from app.errors import Conflict, InvalidInput, ServiceError
from app.models.task import TaskPriority
from app.services.task_service import task_service
from app.services.tasks import task_creation
from app.services.tasks.permissions import check_may_create, types_for
from app.web.access import PageUser
from app.web.rendering import page, redirect
from app.web.task_form import body_of, fields_of, task_of

router = SlashRouter()

# What a newcomer tries first: it needs nothing and shows its progress.
_FIRST = "app.tasks.common_tasks.long_running_task"
# Each byte of a form may be escaped as three.
_ESCAPED = 3
_FIELDS_BYTES = 64 * 1024


def _form_bytes(settings: Settings) -> int:
    return _FIELDS_BYTES + _ESCAPED * (settings.max_arguments_bytes + settings.max_metadata_bytes)


@router.get("/new")
def new_task(request: Request, user: PageUser, name: Annotated[str | None, Query(alias="task")] = None) -> Response:
    return _form(request, user, name, {})


async def _typed(request: Request) -> dict[str, str]:
    return {name: str(value) for name, value in (await request.form()).items()}


@router.post("/new")
@body_limit(_form_bytes)
def create_task(
    request: Request,
    db: SessionDep,
    user: PageUser,
    name: Annotated[str, Form(alias="celery_task_name", max_length=200)],
    form: Annotated[dict[str, str], Depends(_typed)],
) -> Response:
    try:
        task = body_of(form.get("json", "")) if form.get("by") == "json" else task_of(find_type(name), form)
        wanted = task_creation.parse(task)
        check_may_create([wanted], user.id, user.role, user.max_priority)
        (created,) = task_service.create_tasks(db, [wanted], user.id, within_quota=True)
    except (InvalidInput, Conflict) as error:
        return _form(request, user, name, form, error)
    return redirect(request, f"/tasks/{created.id}")


def _form(
    request: Request, user: PageUser, name: str | None, typed: Mapping[str, Any], error: ServiceError | None = None
) -> Response:
    kinds = types_for(user.id, user.role)
    by_name = {each.celery_task_name: each for each in kinds}
    kind = by_name.get(name or _FIRST) or next(iter(kinds), None)
    values = {
        "kinds": kinds,
        "kind": kind,
        "fields": fields_of(kind, _arguments(typed)) if kind else [],
        "typed": typed,
        "json": typed.get("json") or _example(kind.celery_task_name if kind else ""),
        "name": typed.get("name") or (kind.celery_task_name.rpartition(".")[2] if kind else ""),
        "priorities": [priority.value for priority in TaskPriority],
        "error": error,
        "reasons": error.errors if isinstance(error, InvalidInput) else [],
    }
    return page(request, "new_task.html", values, 200 if error is None else status_of(type(error)))


def _arguments(typed: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix("kwargs."): value for name, value in typed.items() if name.startswith("kwargs.")}


def _example(celery_task_name: str) -> str:
    task = {"name": "my task", "task_type": "manual", "celery_task_name": celery_task_name, "args": [], "kwargs": {}}
    return json.dumps(task, indent=2)
