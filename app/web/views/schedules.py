"""The schedules of a user, or of all: when each is next, what became of its last runs, which are paused and why."""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Query, Request, Response

from app.api.deps import SessionDep
from app.api.http.paging import read_cursor
from app.api.http.router import SlashRouter
from app.models.schedule import Schedule
from app.schedules.words import in_words
from app.services.accounts.auth_service import Principal
from app.services.schedule_service import schedule_service
from app.services.schedules import history
from app.services.schedules.history import Outcome
from app.services.schedules.listing import ScheduleFilter
from app.services.schedules.timing import timing_of
from app.services.user_service import user_service
from app.web import charts
from app.web.access import PageUser
from app.web.rendering import NavigationEntry, language_of, page

router = SlashRouter()
NAVIGATION = (NavigationEntry(3, "/schedules", "Schedules"),)

ROWS = 50
# Runs of the picture in a row of the list.
LAST_RUNS = 30
# What a schedule is in that the service has paused: its own reason is shown.
_PAUSED = Outcome("paused")
Text = Annotated[str, Query(max_length=200)]


class Row(NamedTuple):
    """A schedule, its times in words, the picture of the kinds of its last outcomes, and what is wrong with these.

    `error`: of the task that failed.
    """

    schedule: Schedule
    words: str
    bars: Mapping[str, str]
    outcomes: list[str]
    trouble: Outcome | None
    error: str | None


@router.get("/schedules")
def list_schedules(
    request: Request,
    db: SessionDep,
    user: PageUser,
    name: Text = "",
    tag: Text = "",
    celery_task_name: Text = "",
    paused: Annotated[bool | None, Query()] = None,
    user_id: Annotated[UUID | None, Query()] = None,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """List schedules, the newest first. The filters are those of the API; `user_id` is of administrators alone."""
    sent = {"name": name, "tag": tag, "celery_task_name": celery_task_name}
    asked: dict[str, Any] = {each: text for each in sent if (text := sent[each].replace("\x00", "").strip())}
    wanted = ScheduleFilter(user_id=user.owner or user_id, paused=paused, **asked)
    found = schedule_service.list_schedules(db, wanted, ROWS, before=read_cursor(cursor))
    if paused is not None:
        asked["paused"] = str(paused).lower()
    if user.owner is None and user_id is not None:
        asked["user_id"] = str(user_id)
    rows = _rows(request, db, found.items)
    values = {
        "rows": rows,
        "troubled": [row for row in rows if row.trouble],
        "most": LAST_RUNS,
        "owners": _owners(db, user, found.items, user_id),
        "whose": user_id,
        "asked": asked,
        "paused": paused,
        "tabs": [(each, _path(asked, paused=each)) for each in (None, "false", "true")],
        "without": {each: _path(asked, **{each: None}) for each in asked},
        "next_page": None if found.last is None else _path(asked, cursor=found.last),
    }
    return page(request, "schedules.html", values)


def _rows(request: Request, db: SessionDep, schedules: list[Schedule]) -> list[Row]:
    language = language_of(request).code
    last = history.last_outcomes(db, [schedule.id for schedule in schedules], LAST_RUNS)
    troubles = {schedule.id: _trouble_of(schedule, last[schedule.id]) for schedule in schedules}
    errors = history.errors_of(db, {each.task_id for each in troubles.values() if each and each.task_id})
    rows = []
    for schedule in schedules:
        kinds, trouble = [each.kind for each in last[schedule.id]], troubles[schedule.id]
        error = errors.get(trouble.task_id) if trouble and trouble.task_id else None
        words = in_words(timing_of(schedule), language)
        rows.append(Row(schedule, words, charts.outcomes(kinds, LAST_RUNS), kinds, trouble, error))
    return rows


def _trouble_of(schedule: Schedule, outcomes: list[Outcome]) -> Outcome | None:
    """Return why the schedule does not work. One that its owner has paused, or that has ended, is to do nothing."""
    if schedule.pause_reason is not None:
        return _PAUSED
    return None if schedule.next_run_at is None else history.trouble_of(outcomes)


def _owners(db: SessionDep, user: Principal, schedules: list[Schedule], chosen: UUID | None) -> dict[UUID, str]:
    """Return the names of the owners, which administrators alone are told."""
    if user.owner is not None:
        return {}
    return user_service.usernames(db, {schedule.user_id for schedule in schedules} | ({chosen} if chosen else set()))


def _path(asked: dict[str, Any], **changed: Any) -> str:
    """Return the path of the list with these parameters; None leaves one out."""
    named = {name: value for name, value in (asked | changed).items() if value is not None}
    return "/schedules" + (f"?{urlencode(named)}" if named else "")
