"""Endpoints of schedules: create, read, change, pause, trigger, backfill."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Path, Query, Request, Response, status

from app import errors
from app.api.deps import SessionDep, TaskReader, TaskWriter
from app.api.endpoints.tasks import QUOTA_PROBLEMS, REPLAYED_HEADER, TASK_PROBLEMS, IdempotencyKey, task_bytes
from app.api.http.body_route import body_limit
from app.api.http.problems import Answers, raises
from app.api.http.responses import MAX_LIMIT, Cursor, Limit, ListRenderer, created, rendered
from app.api.http.router import SlashRouter
from app.api.task_filters import seen_by
from app.models.schedule import Schedule
from app.schemas.schedule import (
    BackfillPreview,
    BackfillRead,
    BackfillRequest,
    ScheduleCreate,
    ScheduledTime,
    SchedulePatch,
    ScheduleRead,
    ScheduleRunRead,
)
from app.schemas.task import TaskRead
from app.schemas.task_changes import named_in
from app.services.schedules.runs import RUNS
from app.services.schedules.service import SCHEDULES, NextTime, ScheduleFilter, schedule_service

router = SlashRouter(prefix="/schedules", tags=["schedules"])
TAG_DESCRIPTION = "Make tasks again and again: by cron lines in time zones, or at intervals."

PREVIEWED = 100

ScheduleId = Annotated[
    UUID,
    Path(description="The schedule's id.", examples=["019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d12"]),
    Answers(errors.ScheduleNotFound),
]
Count = Annotated[int, Query(ge=1, le=100, description="How many times.")]

_SCHEDULES, _RUNS = ListRenderer(ScheduleRead, SCHEDULES), ListRenderer(ScheduleRunRead, RUNS)
_LOCATION: dict[str, Any] = {"Location": {"description": "The URL of what was made", "schema": {"type": "string"}}}
_KEY_PROBLEMS = (errors.IdempotencyKeyReused, errors.IdempotencyKeyInFlight, errors.IdempotentScheduleDeleted)
_SUBMIT_PROBLEMS = (*(errors.LimitReached, errors.UniqueKeyTaken, errors.KeptTasksTooLarge), *QUOTA_PROBLEMS)


@router.post(
    "/",
    status_code=status.HTTP_201_CREATED,
    response_model=ScheduleRead,
    response_description="The schedule is committed",
    responses={201: {"headers": {**_LOCATION, **REPLAYED_HEADER}}},
)
@raises(*TASK_PROBLEMS, errors.InvalidSchedule, *_KEY_PROBLEMS, errors.TooManySchedules)
@body_limit(task_bytes)
def create_schedule(
    request: Request, db: SessionDep, user: TaskWriter, body: ScheduleCreate, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make a schedule. Its task is checked as in `POST /tasks/`.

    Each nominal time has one task, which carries `schedule_id` and `metadata.scheduled_for`. Around clock changes, a
    cron line fires as Debian's cron does. Times before the creation are not made up: a backfill does that.
    """
    accepted = schedule_service.accept(db, body, user.id, idempotency_key, rights=user.rights)
    return created(request, ScheduleRead.model_validate(accepted.result), replayed=accepted.replayed)


@router.get("/", response_model=list[ScheduleRead], response_description="Schedules, the newest first")
@raises(errors.AdminOnly)
def list_schedules(
    request: Request,
    db: SessionDep,
    user: TaskReader,
    wanted: Annotated[ScheduleFilter, Query()],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List schedules, the newest first. The `Link` header names the next page."""
    page = schedule_service.list_schedules(db, seen_by(user, wanted), limit, cursor=cursor)
    return _SCHEDULES.page(request, page)


@router.get(
    "/{schedule_id}", response_model=ScheduleRead, response_description="The schedule"
)  # fmt: skip
def get_schedule(db: SessionDep, user: TaskReader, schedule_id: ScheduleId) -> Schedule:
    """Return one schedule."""
    return schedule_service.get_schedule(db, schedule_id, owner=user.owner)


@router.patch("/{schedule_id}", response_model=ScheduleRead, response_description="The changed schedule")
@raises(*TASK_PROBLEMS, errors.InvalidSchedule)
@body_limit(task_bytes)
def update_schedule(db: SessionDep, user: TaskWriter, schedule_id: ScheduleId, body: SchedulePatch) -> Schedule:
    """Change a schedule. Omitted fields keep their values, also those of `task`.

    A changed timing counts from now on: no time of the past is made up. Tasks that were made stay as they are.
    """
    return schedule_service.update_schedule(
        db, schedule_id, named_in(body), owner=user.owner, rights=user.rights, owns=user.owns
    )


@router.delete("/{schedule_id}", status_code=status.HTTP_204_NO_CONTENT, response_description="The schedule is deleted")
def delete_schedule(db: SessionDep, user: TaskWriter, schedule_id: ScheduleId) -> None:
    """Delete a schedule. Its tasks stay."""
    schedule_service.delete_schedule(db, schedule_id, owner=user.owner)


@router.get("/{schedule_id}/next", response_model=list[ScheduledTime], response_description="The next times")
@raises(errors.InvalidSchedule)
def list_next_times(db: SessionDep, user: TaskReader, schedule_id: ScheduleId, count: Count = 10) -> list[NextTime]:
    """List the next times of a schedule, also while it is paused."""
    return schedule_service.next_times(db, schedule_id, count, owner=user.owner)


@router.get(
    "/{schedule_id}/runs",
    response_model=list[ScheduleRunRead],
    response_description="What became of its times, the last one first",
)
def list_runs(
    request: Request,
    db: SessionDep,
    user: TaskReader,
    schedule_id: ScheduleId,
    limit: Limit = MAX_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """List what became of the times of a schedule, the last one first. The `Link` header names the next page.

    The last 1,000 are kept, for 90 days.
    """
    page = schedule_service.runs(db, schedule_id, limit, owner=user.owner, cursor=cursor)
    return _RUNS.page(request, page)


@router.post(
    "/{schedule_id}/trigger",
    status_code=status.HTTP_201_CREATED,
    response_model=TaskRead,
    response_description="The task is committed and will run",
    responses={
        200: {
            "model": TaskRead,
            "description": "The task that has the `unique_key`, as it was or replaced, by `on_conflict`",
            "headers": _LOCATION,
        },
        201: {"headers": _LOCATION},
    },
)
@raises(*TASK_PROBLEMS, *_SUBMIT_PROBLEMS)
def trigger_schedule(request: Request, db: SessionDep, user: TaskWriter, schedule_id: ScheduleId) -> Response:
    """Make the task of a schedule now, also while it is paused. Its `metadata.scheduled_for` is the time of the call.

    The task neither obeys `overlap` nor counts for it. Errors are those of `POST /tasks/`.
    """
    task, is_new = schedule_service.trigger(
        db, schedule_id, owner=user.owner, within_quota=True, rights=user.rights
    )  # fmt: skip
    prefix = request.scope["path"].partition(router.prefix)[0]
    code = status.HTTP_201_CREATED if is_new else status.HTTP_200_OK
    return rendered(TaskRead.model_validate(task), code, {"Location": f"{prefix}/tasks/{task.id}"})


@router.post("/{schedule_id}/pause", response_model=ScheduleRead, response_description="The schedule")
def pause_schedule(db: SessionDep, user: TaskWriter, schedule_id: ScheduleId) -> Schedule:
    """Pause a schedule: it makes no tasks by itself. Tasks that were made stay as they are."""
    return schedule_service.pause(db, schedule_id, owner=user.owner)


@router.post("/{schedule_id}/resume", response_model=ScheduleRead, response_description="The schedule")
@raises(errors.InvalidSchedule)
def resume_schedule(db: SessionDep, user: TaskWriter, schedule_id: ScheduleId) -> Schedule:
    """Resume a schedule. The times of the pause count as missed: `catch_up` decides what becomes of them."""
    return schedule_service.resume(db, schedule_id, owner=user.owner)


@router.post(
    "/{schedule_id}/backfill",
    status_code=status.HTTP_201_CREATED,
    response_model=BackfillRead,
    response_description="All tasks are committed and will run",
    responses={200: {"model": BackfillPreview, "description": "The dry run: nothing was made"}},
)
@raises(errors.TooManyTimes, errors.InvalidSchedule, *TASK_PROBLEMS, *_SUBMIT_PROBLEMS)
def backfill_schedule(db: SessionDep, user: TaskWriter, schedule_id: ScheduleId, body: BackfillRequest) -> Response:
    """Make the tasks of the nominal times of a range that have none; 1,000 at most. Skipped times have none.

    All are made, or none, and the quotas hold as for `POST /tasks/batch`. Times to come are left out. It works while
    the schedule is paused. The tasks neither obey `overlap` nor count for it.
    """
    if body.dry_run:
        times = schedule_service.preview_backfill(db, schedule_id, body.from_, body.to, owner=user.owner)
        return rendered(BackfillPreview(count=len(times), scheduled_for=times[:PREVIEWED]))
    ids = schedule_service.backfill(
        db, schedule_id, body.from_, body.to, owner=user.owner, within_quota=True, rights=user.rights
    )
    return rendered(BackfillRead(count=len(ids), task_ids=ids), status.HTTP_201_CREATED)
