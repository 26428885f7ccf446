"""Makes a schedule, or changes one: its times with a preview, and its task by the form of a new task."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request, Response
from sqlalchemy.orm import Session

from app import errors
from app.api.deps import SessionDep, SettingsDep
from app.api.http.body_route import body_limit
from app.api.http.router import SlashRouter
from app.catalogue import find_type
from app.core.config import Settings
from app.models.schedule import Schedule
from app.schedules.zones import zone_names
from app.schemas.schedule import ScheduleCreate, ScheduleRead
from app.services.accounts.auth_service import Principal
from app.services.schedules.definitions import parse_fields
from app.services.schedules.service import schedule_service
from app.web import schedule_fields
from app.web.access import PageUser
from app.web.forms import REFUSALS
from app.web.responses import language_of, page, redirect
from app.web.task_form import sheets
from app.web.task_form.fields import DEFAULTS
from app.web.task_form.values import Reading, editable_json, filled_with

router = SlashRouter()


@router.get("/schedules/preview")
def preview_times(request: Request, _user: PageUser) -> Response:
    """Show the next times of what is typed, as a part of the page. The parameters are the fields that decide them."""
    typed = schedule_fields.typed_in(request.query_params)
    found = schedule_fields.preview(typed, datetime.now(UTC), language_of(request).code)
    return page(request, "schedule_preview.html", {"preview": found})


@router.get("/schedules/new")
def new_schedule(
    request: Request,
    db: SessionDep,
    user: PageUser,
    settings: SettingsDep,
    name: Annotated[str | None, Query(alias="task", max_length=200)] = None,
) -> Response:
    form = _Form(request, db, user, settings, schedule_fields.TYPED_DEFAULTS)
    return form.page(sheets.Sheet(sheets.kind_for(user, name)))


@router.post("/schedules/new")
@body_limit(sheets.form_bytes)
def create_schedule(
    request: Request, db: SessionDep, user: PageUser, settings: SettingsDep, name: sheets.KindName, form: sheets.Typed
) -> Response:
    return _Form(request, db, user, settings, schedule_fields.typed_in(form)).sent(name, form)


@router.get("/schedules/{schedule_id}/change")
def change_schedule(
    request: Request, db: SessionDep, user: PageUser, settings: SettingsDep, schedule_id: UUID
) -> Response:
    schedule = schedule_service.get_schedule(db, schedule_id, owner=user.owner)
    shown = ScheduleRead.model_validate(schedule)
    form = _Form(request, db, user, settings, schedule_fields.typed_of(shown), schedule)
    try:
        return form.page(_sheet_of(shown.task))
    except errors.UnknownTask as error:  # it is gone: another one may take its place
        return form.page(sheets.Sheet(sheets.kind_for(user, None), error=error))


@router.post("/schedules/{schedule_id}/change")
@body_limit(sheets.form_bytes)
def update_schedule(
    request: Request, db: SessionDep, user: PageUser, settings: SettingsDep, schedule_id: UUID, name: sheets.KindName,
    form: sheets.Typed,
) -> Response:  # fmt: skip
    """Change what differs from the schedule as it is. `***` keeps the secret that it hides."""
    schedule = schedule_service.get_schedule(db, schedule_id, owner=user.owner)
    return _Form(request, db, user, settings, schedule_fields.typed_in(form), schedule).sent(name, form)


class _Form:
    """The form of a request: of a new schedule, or of one that is changed."""

    def __init__(
        self, request: Request, db: Session, user: Principal, settings: Settings, typed: Mapping[str, str],
        schedule: Schedule | None = None,
    ) -> None:  # fmt: skip
        self._request, self._db, self._user, self._settings = request, db, user, settings
        self._typed, self._schedule = typed, schedule

    def sent(self, name: str, form: Mapping[str, str]) -> Response:
        """Do what was sent, or show what a button does that saves nothing."""
        if form.get("show") == "preview":
            return self.page(sheets.Sheet(sheets.kind_for(self._user, name), form))
        form_of = form.get("form_of", name)
        if "choose" in form or name != form_of:
            kept = sheets.kept_of(form, form_of)
            return self.page(sheets.Sheet(sheets.kind_for(self._user, name), kept, is_other="choose" not in form))
        try:
            if (sheet := sheets.turned_sheet(self._user, self._settings, name, form)) is not None:
                return self.page(sheet)
            task = self._task(name, form)
            schedule = self._create(task) if self._schedule is None else self._change(self._schedule, task, form)
        except REFUSALS as error:
            return self.page(sheets.Sheet(sheets.kind_for(self._user, name), form, error=error))
        done = "schedule_created" if self._schedule is None else "schedule_changed"
        return redirect(self._request, f"/schedules/{schedule.id}", done)

    def _task(self, name: str, form: Mapping[str, str]) -> dict[str, Any]:
        """Return the task that was typed. Raises InvalidTask, or InvalidSchedule with what else is wrong."""
        before = None
        if self._schedule is not None:
            before = schedule_fields.typed_of(ScheduleRead.model_validate(self._schedule))
        wrong = schedule_fields.problems(self._typed, datetime.now(UTC), before)
        try:
            task = _task_of(name, form)
        except errors.InvalidTask as error:
            if not wrong:
                raise
            wrong += error.errors
        if wrong:
            raise errors.InvalidSchedule(errors=wrong)
        return task

    def _create(self, task: dict[str, Any]) -> Schedule:
        values = schedule_fields.read(self._typed)
        wanted: ScheduleCreate = parse_fields(ScheduleCreate, {**values, "task": task})
        return schedule_service.accept(self._db, wanted, self._user.id, rights=self._user.rights).result

    def _change(self, schedule: Schedule, task: dict[str, Any], form: Mapping[str, str]) -> Schedule:
        shown = ScheduleRead.model_validate(schedule)
        before = schedule_fields.typed_of(shown)
        changes = schedule_fields.changes(self._typed, before)
        if task != _as_sent(shown.task, by_json=form.get("by") == "json"):
            changes["task"] = _without(shown.task, task)
        if not changes:
            return schedule
        user = self._user
        return schedule_service.update_schedule(
            self._db, schedule.id, changes, owner=user.owner, rights=user.rights, owns=user.owns
        )

    def page(self, sheet: sheets.Sheet) -> Response:
        """Return the page, with what is wrong at the fields that it concerns."""
        error, own = sheet.error, []
        if isinstance(error, errors.InvalidInput):
            own = [each for each in error.errors if each["loc"][:1] != ["task"]]
            of_task = [{**each, "loc": each["loc"][1:]} for each in error.errors if each["loc"][:1] == ["task"]]
            if own or of_task:
                sheet.error = errors.InvalidTask(errors=of_task)  # type: ignore[arg-type]
        values = sheets.values_of(self._db, self._user, sheet)
        fields = schedule_fields.inputs(self._typed)
        wrong: dict[str, list[str]] = {}
        for each in own:
            if (field := fields.get(str(next(iter(each["loc"]), "")))) is not None:
                wrong.setdefault(field.name, []).append(each["msg"])
            else:
                values["reasons"] = [*values["reasons"], each]
        values |= {
            "error": error,
            "at": fields,
            "by": self._typed.get(schedule_fields.BY) or "cron",
            "wrong": wrong | values["wrong"],
            "wrong_at": [each for each in fields.values() if each.name in wrong],
            "focus": next(iter(wrong), "" if values["wrong_fields"] or sheet.focus else "schedule.name")
            or values.get("focus", ""),
            "zones": zone_names(),
            "preview": schedule_fields.preview(self._typed, datetime.now(UTC), language_of(self._request).code),
            "changed": self._schedule,
            "action": f"/schedules/{self._schedule.id}/change" if self._schedule else "/schedules/new",
        }
        return page(self._request, "new_schedule.html", values, error)


def _sheet_of(task: Mapping[str, Any]) -> sheets.Sheet:
    """Return the form of the task of a schedule, or its JSON where the form cannot say it. Raises UnknownTask."""
    kind = find_type(task["celery_task_name"])
    filled = filled_with(task, kind)
    typed = sheets.all_typed(filled.typed) | {"by": "json" if filled.lost else "form", "json": editable_json(task)}
    return sheets.Sheet(kind, typed, lost=filled.lost)


def _task_of(name: str, form: Mapping[str, str]) -> dict[str, Any]:
    """Return the task that was typed. Raises InvalidTask, whose fields stand below `task`."""
    try:
        task = sheets.task_of(name, form)
    except errors.InvalidTask as error:
        raise error.below("task") from None
    try:
        if form.get("by") != "json":
            find_type(name).check(task.get("args", []), task["kwargs"])
    except errors.InvalidArguments as error:
        raise errors.InvalidTask(errors=error.errors).below("task") from None
    return task


def _as_sent(task: Mapping[str, Any], *, by_json: bool) -> dict[str, Any]:
    """Return what the form of this task sends where nothing in it was changed."""
    if by_json:
        return dict(task)
    try:
        sheet = _sheet_of(task)
    except errors.UnknownTask:
        return {}
    assert sheet.kind is not None
    return Reading(sheet.kind, sheet.typed).task


def _without(before: Mapping[str, Any], task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes that make this task of the one before: what it does not name has its default again."""
    gone = {name: DEFAULTS.get(name) for name in before if name not in task}
    if "unique_key" not in task:
        gone.pop("on_conflict", None)
    return {**gone, **task}
