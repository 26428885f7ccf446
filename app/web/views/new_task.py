"""Creates a task, or repeats one with changes: by a form made of the parameters, or by the JSON that the API takes."""

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Query, Request, Response
from sqlalchemy.orm import Session

from app.api.deps import SessionDep, SettingsDep
from app.api.http.body_route import body_limit
from app.api.http.router import SlashRouter
from app.catalogue import find_type
from app.errors import InvalidArguments, InvalidTask
from app.models.task import OnConflict
from app.schemas.task import TaskCreate
from app.services.accounts.auth_service import Principal
from app.services.task_service import task_service
from app.services.tasks import new_rows
from app.web.access import PageUser
from app.web.forms import REFUSALS
from app.web.responses import page, redirect
from app.web.shown_tasks import as_shown
from app.web.task_form import sheets
from app.web.task_form.fields import EMPTY
from app.web.task_form.values import typed_of

router = SlashRouter()


@router.get("/new")
def new_task(
    request: Request, db: SessionDep, user: PageUser, name: Annotated[str | None, Query(alias="task")] = None
) -> Response:
    return _page(request, db, user, sheets.Sheet(sheets.kind_for(user, name)))


@router.post("/new")
@body_limit(sheets.form_bytes)
def create_task(
    request: Request, db: SessionDep, user: PageUser, settings: SettingsDep, name: sheets.KindName, form: sheets.Typed
) -> Response:
    form_of = form.get("form_of", name)
    if "choose" in form or name != form_of:
        kept = sheets.kept_of(form, form_of)
        if "choose" in form and not kept:
            return redirect(request, f"/new?{urlencode({'task': name})}")
        return _page(request, db, user, sheets.Sheet(sheets.kind_for(user, name), kept, is_other="choose" not in form))
    try:
        if (sheet := sheets.turned_sheet(user, settings, name, form)) is not None:
            return _page(request, db, user, sheet)
        wanted = _wanted(name, form)
        task, is_new = task_service.create_or_find(db, wanted, user.rights)
    except REFUSALS as error:
        return _page(request, db, user, sheets.Sheet(sheets.kind_for(user, name), form, error=error))
    return redirect(request, f"/tasks/{task.id}", _done(is_new, wanted.on_conflict))


@router.get("/tasks/{task_id}/change")
def change_task(request: Request, db: SessionDep, user: PageUser, task_id: UUID) -> Response:
    (task,) = as_shown([task_service.get_task(db, task_id, owner=user.owner)])
    kind = find_type(task.celery_task_name)
    filled = typed_of(task, kind)
    return _page(request, db, user, sheets.Sheet(kind, sheets.all_typed(filled.typed), task_id, lost=filled.lost))


@router.post("/tasks/{task_id}/change")
@body_limit(sheets.form_bytes)
def retry_with_changes(
    request: Request,
    db: SessionDep,
    user: PageUser,
    settings: SettingsDep,
    task_id: UUID,
    name: sheets.KindName,
    form: sheets.Typed,
) -> Response:
    """Repeat an ended task as a new one. `***` keeps the secret that it hides."""
    try:
        if (sheet := sheets.turned_sheet(user, settings, name, form, of=task_id)) is not None:
            return _page(request, db, user, sheet)
        changes = sheets.task_of(name, form)
        if form.get("by") != "json":
            changes = {**EMPTY, **changes}
        task, is_new = task_service.retry_with_changes(
            db, task_id, changes, owner=user.owner, within_quota=True, rights=user.rights, owns=user.owns
        )
    except REFUSALS as error:
        return _page(request, db, user, sheets.Sheet(find_type(name), form, task_id, error=error))
    return redirect(request, f"/tasks/{task.id}", _done(is_new, changes.get("on_conflict")))


def _done(is_new: bool, on_conflict: str | None) -> str:
    """Return what the page of the task says: it may be another one that has the unique key."""
    if is_new:
        return "created"
    return "replaced" if on_conflict == OnConflict.REPLACE else "found"


def _wanted(name: str, form: Mapping[str, str]) -> TaskCreate:
    """Return the task as the API takes it. Raises InvalidTask, which for a form names all fields that are wrong."""
    task = sheets.task_of(name, form)
    try:
        return new_rows.parse(task)
    except InvalidTask as error:
        if form.get("by") != "json":
            try:
                find_type(name).check(task.get("args", []), task["kwargs"])
            except InvalidArguments as more:
                raise InvalidTask(errors=[*error.errors, *more.errors]) from None
        raise


def _page(request: Request, db: Session, user: Principal, sheet: sheets.Sheet) -> Response:
    """Return the page; with an error, which is told at the fields that it concerns."""
    action = f"/tasks/{sheet.of}/change" if sheet.of else "/new"
    values = {"action": action} | sheets.values_of(db, user, sheet)
    return page(request, "new_task.html", values, sheet.error)
