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
from app.services.schedules.listing import ScheduleFilter
from app.services.schedules.timing import timing_of
from app.services.user_service import user_service
from app.web import charts, shown_schedules
from app.web.access import PageUser
from app.web.responses import NavigationEntry, language_of, page
from app.web.shown_schedules import LAST_RUNS, Health

router = SlashRouter()
NAVIGATION = (NavigationEntry(3, "/schedules", "Schedules"),)

ROWS = 50
Text = Annotated[str, Query(max_length=200)]


class Row(NamedTuple):
    """A schedule, its times in words, the picture of the kinds of its last outcomes, and whether it works."""

    schedule: Schedule
    words: str
    bars: Mapping[str, str]
    health: Health


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
        "troubled": [row for row in rows if row.health.trouble],
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
    language, health = language_of(request).code, shown_schedules.health_of(db, schedules)
    pictures = {each: charts.outcomes(its.outcomes, LAST_RUNS) for each, its in health.items()}
    return [Row(each, in_words(timing_of(each), language), pictures[each.id], health[each.id]) for each in schedules]


def _owners(db: SessionDep, user: Principal, schedules: list[Schedule], chosen: UUID | None) -> dict[UUID, str]:
    """Return the names of the owners, which administrators alone are told."""
    if user.owner is not None:
        return {}
    return user_service.usernames(db, {schedule.user_id for schedule in schedules} | ({chosen} if chosen else set()))


def _path(asked: dict[str, Any], **changed: Any) -> str:
    """Return the path of the list with these parameters; None leaves one out."""
    named = {name: value for name, value in (asked | changed).items() if value is not None}
    return "/schedules" + (f"?{urlencode(named)}" if named else "")
