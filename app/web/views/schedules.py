"""Schedules: the list, and one: when it is next, what became of its times, and what can be done to it."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, tzinfo
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from fastapi import Form, Query, Request, Response
from sqlalchemy.orm import Session

from app.api.deps import SessionDep
from app.api.http.responses import Cursor
from app.api.http.router import SlashRouter
from app.core import drawing
from app.core.moments import moment
from app.errors import InvalidInput, ScheduleNotFound, ServiceError, TooManyTimes
from app.models.schedule import Schedule
from app.schedules.words import in_words
from app.schedules.zones import InvalidTiming, times_with_changes
from app.schemas.schedule import ScheduleRead
from app.services.schedules import backfills, runs
from app.services.schedules.runs import Fate, Outcome, RunState, fates_of_tasks, outcome_of
from app.services.schedules.scheduled_tasks import now_of, timing_of
from app.services.schedules.service import ScheduleFilter, schedule_service
from app.web.access import PageUser
from app.web.forms import REFUSALS, Confirmed, ListQuery, ask_to_confirm, names_of_owners, next_page, path_of
from app.web.responses import JSONTexts, NavigationEntry, language_of, page, redirect, zone_of

# -- The name of a schedule, and whether it works ----------------------------------------------------------------------

# Runs by which a schedule is judged, and of the picture in a row of the list.
LAST_RUNS = 30
# What a schedule is in that the service has paused: its own reason is shown.
_PAUSED = Outcome("paused")


class Health(NamedTuple):
    """The kinds of the last outcomes of a schedule, what is wrong with them, and the error of the task that failed."""

    outcomes: list[str]
    trouble: Outcome | None
    error: str | None


def schedule_name(db: Session, schedule_id: UUID | None) -> str | None:
    """Return the name of a schedule; None without one, or where it is deleted."""
    if schedule_id is None:
        return None
    with suppress(ScheduleNotFound):
        return schedule_service.get_schedule(db, schedule_id).name
    return None


def health_of_schedules(db: Session, schedules: Sequence[Schedule]) -> dict[UUID, Health]:
    """Return whether each of these schedules works, by its id."""
    last = runs.last_outcomes(db, [schedule.id for schedule in schedules], LAST_RUNS)
    troubles = {schedule.id: _trouble_of(schedule, last[schedule.id]) for schedule in schedules}
    errors = runs.errors_of(db, {each.task_id for each in troubles.values() if each and each.task_id})
    return {
        schedule_id: Health(
            [each.kind for each in last[schedule_id]],
            trouble,
            errors.get(trouble.task_id) if trouble and trouble.task_id else None,
        )
        for schedule_id, trouble in troubles.items()
    }


def _trouble_of(schedule: Schedule, outcomes: Sequence[Outcome]) -> Outcome | None:
    """Return why the schedule does not work. One that its owner has paused, or that has ended, is to do nothing."""
    if schedule.pause_reason is not None:
        return _PAUSED
    return None if schedule.next_run_at is None else runs.trouble_of(outcomes)


# -- The list ----------------------------------------------------------------------------------------------------------

router = SlashRouter()
NAVIGATION = (NavigationEntry(3, "/schedules", "Schedules"),)
OBJECT_PAGES = {"schedule": "/schedules/"}

ROWS = 50


class Row(NamedTuple):
    """A schedule, its times in words, the picture of the kinds of its last outcomes, and whether it works."""

    schedule: Schedule
    words: str
    bars: Mapping[str, str]
    health: Health


class Asked(ListQuery, ScheduleFilter):
    """The filters are those of the API."""


@router.get("/schedules")
def list_schedules(
    request: Request, db: SessionDep, user: PageUser, asked: Annotated[Asked, Query()], cursor: Cursor = None
) -> Response:
    """List schedules, the newest first."""
    found = schedule_service.list_schedules(db, asked.of(user), ROWS, cursor=cursor)
    rows, named = _rows(request, db, found.items), asked.named(user)
    whose = asked.user_id if isinstance(asked.user_id, UUID) else None
    values = {
        "rows": rows,
        "troubled": [row for row in rows if row.health.trouble],
        "most": LAST_RUNS,
        "owners": names_of_owners(db, user, [*(each.user_id for each in found.items), whose]),
        "whose": whose,
        "asked": named,
        "paused": asked.paused,
        "tabs": [(each, path_of("/schedules", named, paused=each)) for each in (None, "false", "true")],
        "without": {each: path_of("/schedules", named, **{each: None}) for each in named},
        "next_page": next_page(found, "/schedules", named),
    }
    return page(request, "schedules.html", values)


def _rows(request: Request, db: SessionDep, schedules: list[Schedule]) -> list[Row]:
    language, health = language_of(request).code, health_of_schedules(db, schedules)
    pictures = {each: drawing.outcomes(its.outcomes, LAST_RUNS) for each, its in health.items()}
    return [Row(each, in_words(timing_of(each), language), pictures[each.id], health[each.id]) for each in schedules]


# -- One schedule: when it is next, what became of its times, and what can be done to it -------------------------------

TIMES = 10
RUNS = 50
# Times of a backfill that are shown before it is made, as in the API.
PREVIEWED = 100
# Of the axis of the timeline.
_PARTS = 4
Typed = Annotated[str, Form(max_length=40)]


@router.get("/schedules/{schedule_id}")
def show_schedule(
    request: Request, db: SessionDep, user: PageUser, schedule_id: UUID, cursor: Cursor = None
) -> Response:
    return _shown(request, db, user, schedule_id, cursor)


def _shown(
    request: Request,
    db: Session,
    user: PageUser,
    schedule_id: UUID,
    cursor: str | None = None,
    refused: ServiceError | None = None,
    typed: tuple[str, str] | None = None,
) -> Response:
    row = schedule_service.get_schedule(db, schedule_id, owner=user.owner)
    now = now_of(db)
    found = schedule_service.runs(db, schedule_id, RUNS, owner=user.owner, cursor=cursor)
    following = next_page(found, f"/schedules/{schedule_id}")
    known = fates_of_tasks(db, {run.task_id for run in found.items if run.task_id is not None})
    zone = zone_of(row.timezone)
    values: dict[str, Any] = {
        "schedule": ScheduleRead.model_validate(row),
        "health": health_of_schedules(db, [row])[row.id],
        "zone": zone,
        "words": in_words(timing_of(row), language_of(request).code),
        "owner": names_of_owners(db, user, [row.user_id]).get(row.user_id),
        "held_for": row.held_for,
        **_coming(db, row, now),
        "runs": [(run, outcome_of(run.task_id, run.skipped, known), _fate(run, known)) for run in found.items],
        "picture": picture(found.items, known, now, zone, is_newest=cursor is None),
        "is_newest": cursor is None,
        "next_page": following and f"{following}#runs",
        "range": typed or _range(row, now, zone),
        "json": JSONTexts(),
        "refused": refused,
    }
    return page(request, "schedule.html", values, refused)


def _range(schedule: Schedule, now: datetime, zone: tzinfo) -> tuple[str, str]:
    """Return the begin and the end of a backfill that the page proposes, as a field takes them."""
    try:
        begin = backfills.recent_begin(timing_of(schedule), now)
    except InvalidTiming:
        begin = now
    return f"{begin.astimezone(zone):%Y-%m-%dT%H:%M:%S}", f"{now.astimezone(zone):%Y-%m-%dT%H:%M:%S}"


def _coming(db: Session, schedule: Schedule, now: datetime) -> dict[str, Any]:
    """Return the next times, also of a schedule that is paused; none where its zone is gone, which `broken` says."""
    try:
        times = schedule_service.next_times(db, schedule.id, TIMES)
        shown = times_with_changes(schedule.timezone, now, [time.scheduled_for for time in times])
    except InvalidInput as error:
        return {"coming": [], "broken": error}
    return {"coming": list(zip(shown, (time.run_at for time in times), strict=True)), "broken": None}


def picture(
    runs: list[RunState], known: dict[UUID, Fate], now: datetime, zone: tzinfo, *, is_newest: bool
) -> dict[str, Any] | None:
    """Return the bars of these runs by time, and the ticks of their axis. Up to now, if they are the newest."""
    if not runs:
        return None
    begin = min(run.scheduled_for for run in runs)
    spans = [_span(run, known, now) for run in reversed(runs)]
    end = max([span[2] for span in spans] + ([now] if is_newest else []))
    end = max(end, begin + timedelta(seconds=_PARTS))
    # What is long lies below.
    spans.sort(key=lambda span: span[0] != "missed")
    quarter = (end - begin) / _PARTS
    ticks = [(begin + quarter * at).astimezone(zone) for at in range(_PARTS)]
    return {"bars": drawing.marks(begin, spans, end), "ticks": ticks, "format": drawing.clock_format(quarter)}


def _span(run: RunState, known: dict[UUID, Fate], now: datetime) -> tuple[str, datetime, datetime]:
    kind = outcome_of(run.task_id, run.skipped, known)
    fate = _fate(run, known)
    if fate is None or fate.started_at is None:
        return kind, run.scheduled_for, run.until or run.scheduled_for
    return kind, max(fate.started_at, run.scheduled_for), fate.finished_at or now


def _fate(run: RunState, known: dict[UUID, Fate]) -> Fate | None:
    return None if run.task_id is None else known.get(run.task_id)


@router.post("/schedules/{schedule_id}/pause")
def pause_schedule(request: Request, db: SessionDep, user: PageUser, schedule_id: UUID) -> Response:
    schedule_service.pause(db, schedule_id, owner=user.owner)
    return redirect(request, f"/schedules/{schedule_id}", "schedule_paused")


@router.post("/schedules/{schedule_id}/resume")
def resume_schedule(request: Request, db: SessionDep, user: PageUser, schedule_id: UUID) -> Response:
    try:
        schedule_service.resume(db, schedule_id, owner=user.owner)
    except InvalidInput as error:
        return _shown(request, db, user, schedule_id, refused=error)
    return redirect(request, f"/schedules/{schedule_id}", "schedule_resumed")


@router.post("/schedules/{schedule_id}/trigger")
def trigger_schedule(request: Request, db: SessionDep, user: PageUser, schedule_id: UUID) -> Response:
    try:
        task, is_new = schedule_service.trigger(
            db, schedule_id, owner=user.owner, within_quota=True, rights=user.rights
        )
    except REFUSALS as error:
        return _shown(request, db, user, schedule_id, refused=error)
    return redirect(request, f"/tasks/{task.id}", "created" if is_new else "found")


@router.get("/schedules/{schedule_id}/backfill")
def leave_backfill(request: Request, _user: PageUser, schedule_id: UUID) -> Response:
    """Lead to the schedule whoever opens the address of a preview, which only its form shows."""
    return redirect(request, f"/schedules/{schedule_id}")


@router.post("/schedules/{schedule_id}/backfill")
def backfill_schedule(
    request: Request,
    db: SessionDep,
    user: PageUser,
    schedule_id: UUID,
    begin: Typed = "",
    end: Typed = "",
    confirmed: Confirmed = False,
) -> Response:
    """Show which times of the range have no task, and once that is confirmed make their tasks."""
    schedule = schedule_service.get_schedule(db, schedule_id, owner=user.owner)
    try:
        zone = zone_of(schedule.timezone)
        since, until = _moment("begin", begin, zone), _moment("end", end, zone)
        if until < since:
            raise InvalidInput.at(["end"], "must not be before it begins", "empty_range")
        if not confirmed:
            times = schedule_service.preview_backfill(db, schedule_id, since, until, owner=user.owner)
            shown = times_with_changes(schedule.timezone, since, times[:PREVIEWED])
            values = {"schedule": schedule, "zone": zone, "number": len(times), "coming": shown}
            return page(request, "backfill.html", {**values, "since": since, "until": until})
        schedule_service.backfill(
            db, schedule_id, since, until, owner=user.owner, within_quota=True, rights=user.rights
        )
    except (*REFUSALS, TooManyTimes) as error:
        db.rollback()
        return _shown(request, db, user, schedule_id, refused=error, typed=(begin, end))
    return redirect(request, f"/schedules/{schedule_id}", "backfilled")


@router.post("/schedules/{schedule_id}/delete")
def delete_schedule(
    request: Request, db: SessionDep, user: PageUser, schedule_id: UUID, confirmed: Confirmed = False
) -> Response:
    if not confirmed:
        schedule = schedule_service.get_schedule(db, schedule_id, owner=user.owner)
        return ask_to_confirm(request, "delete_schedule", schedule.name, f"/schedules/{schedule_id}")
    schedule_service.delete_schedule(db, schedule_id, owner=user.owner)
    return redirect(request, "/schedules", "schedule_deleted")


def _moment(name: str, typed: str, zone: tzinfo) -> datetime:
    """Return the time that was typed, in UTC; without an offset it is of the zone. Raises InvalidInput."""
    try:
        return moment(typed, zone, last=name == "end")
    except ValueError:
        raise InvalidInput.at([name], "is not a valid date and time", "form_value") from None
