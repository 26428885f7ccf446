"""Failures in groups: what fails, since when, what its user says of it; and a page for each group."""

from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Form, Path, Query, Request, Response
from sqlalchemy.orm import Session

from app.api.deps import SessionDep
from app.api.http.responses import Cursor
from app.api.http.router import SlashRouter
from app.api.http.turns import costly
from app.api.task_filters import visible_to_admin
from app.core import drawing
from app.core.moments import moment
from app.errors import InvalidInput, TaskNotFound
from app.models.error_group import FINGERPRINT, ErrorState
from app.models.task import TaskStatus
from app.models.task_filter import TaskFilter
from app.schemas.task import TaskAttemptRead, TaskRead
from app.services.operations import error_group_service
from app.services.operations.error_group_service import HOUR, LOOK, ErrorFilter, ErrorSort
from app.services.task_service import task_service
from app.services.tasks.task_history import cursor_after
from app.web.access import PageUser
from app.web.forms import Back, checked_back, names_of_owners, path_of
from app.web.responses import NavigationEntry, page, redirect
from app.web.shown_tasks import as_shown, seconds_of

router = SlashRouter()
NAVIGATION = (NavigationEntry(3, "/errors", "Errors"),)
OBJECT_PAGES = {"error": "/errors/"}

ROWS = 50
MAX_TEXT = 200
Fingerprint = Annotated[str, Path(pattern=FINGERPRINT)]


@router.get("/errors")
@costly(lambda _: True)
def list_errors(
    request: Request,
    db: SessionDep,
    user: PageUser,
    state: Annotated[ErrorState, Query()] = ErrorState.OPEN,
    text: Annotated[str, Query(alias="q", max_length=MAX_TEXT)] = "",
    sort: Annotated[ErrorSort, Query()] = ErrorSort.LAST_SEEN,
    whose: Annotated[UUID | None, Query(alias="user")] = None,
    cursor: Cursor = None,
) -> Response:
    text = text.replace("\x00", " ").strip()
    wanted = ErrorFilter(user_id=visible_to_admin(user, whose), state=state)
    found = error_group_service.list_error_groups(db, wanted, ROWS, cursor, sort, text)
    counts = error_group_service.count_error_groups(db, wanted, text)
    shown = {"state": state, "q": text, "sort": sort, "user": whose}
    values: dict[str, Any] = {
        "groups": [(group, *spark(group.last_24h)) for group in found.items],
        "state": state.value,
        "tabs": [(each.value, counts.by_state[each], _path(shown | {"state": each})) for each in ErrorState],
        "is_cut": counts.is_cut,
        "most": LOOK,
        "text": text,
        "sort": sort.value,
        "sorted_by": {each.value: _path(shown | {"sort": each}) for each in ErrorSort},
        "whose": whose,
        "everybodys": _path(shown | {"user": None}),
        "owners": names_of_owners(db, user, [*(group.user_id for group in found.items), whose]),
        "next_page": found.last and _path(shown | {"cursor": found.last}),
    }
    return page(request, "errors.html", values)


def _path(shown: dict[str, Any]) -> str:
    """Return the path of the list in this state. What is as without it is left out."""
    usual = {"state": ErrorState.OPEN, "sort": ErrorSort.LAST_SEEN}
    return path_of("/errors", {name: value for name, value in shown.items() if value != usual.get(name)})


@router.post("/errors/{fingerprint}/resolve")
def resolve(
    request: Request, db: SessionDep, user: PageUser, fingerprint: Fingerprint, back: Back = "/errors"
) -> Response:  # fmt: skip
    error_group_service.resolve_error_group(db, fingerprint, owner=user.owner)
    return redirect(request, checked_back(back, "/errors"), "resolved")


@router.post("/errors/{fingerprint}/ignore")
def ignore(
    request: Request,
    db: SessionDep,
    user: PageUser,
    fingerprint: Fingerprint,
    days: Annotated[int, Form(ge=0, le=365)] = 7,
    until: Annotated[str, Form(max_length=40)] = "",
    back: Back = "/errors",
) -> Response:
    """Ignore it until that time in UTC, else for so many days; 0: until it is reopened."""
    try:
        ends = moment(until) if until.strip() else datetime.now(UTC) + timedelta(days=days) if days else None
    except ValueError:
        raise InvalidInput("until is no date and time") from None
    error_group_service.ignore_error_group(db, fingerprint, ends, owner=user.owner)
    return redirect(request, checked_back(back, "/errors"), "ignored")


@router.post("/errors/{fingerprint}/reopen")
def reopen(
    request: Request, db: SessionDep, user: PageUser, fingerprint: Fingerprint, back: Back = "/errors"
) -> Response:  # fmt: skip
    error_group_service.reopen_error_group(db, fingerprint, owner=user.owner)
    return redirect(request, checked_back(back, "/errors"), "reopened")


def spark(numbers: list[int]) -> tuple[list[drawing.Bar], int]:
    """Return the picture of the failures of each hour of a day, and the highest number of an hour."""
    return drawing.columns({"failed": numbers}, drawing.SPARK_WIDTH, drawing.SPARK_HEIGHT), max(numbers, default=0)


# -- One group of failures: its newest traceback, its tasks, when it failed, and on which workers ----------------------

TASKS = 10
# Hours of each window.
WINDOWS = {"24h": 24, "7d": 168}


@router.get("/errors/{fingerprint}")
@costly(lambda _: True)
def show_error_group(
    request: Request,
    db: SessionDep,
    user: PageUser,
    fingerprint: Fingerprint,
    window: Annotated[str, Query(pattern="^(24h|7d)$")] = "24h",
) -> Response:
    group = error_group_service.get_error_group(db, fingerprint, owner=user.owner)
    failed = TaskFilter(user_id=user.owner, status=[TaskStatus.FAILED], error=fingerprint)
    tasks = as_shown(task_service.show_page(db, failed, TASKS).items)
    begin, hours = error_group_service.failures_by_hour(db, fingerprint, WINDOWS[window])
    values: dict[str, Any] = {
        "group": group,
        "attempt": _attempt_of(db, tasks[0], user.owner) if tasks else None,
        "tasks": tasks,
        "seconds_of": seconds_of,
        "workers": Counter(task.worker for task in tasks if task.worker).most_common(),
        "chart": drawing.chart(begin, HOUR, stacked={"failed": hours}),
        "window": window,
        "windows": list(WINDOWS),
        "owner": names_of_owners(db, user, [group.user_id]).get(group.user_id),
        "earliest": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M"),
    }
    return page(request, "error_group.html", values)


def _attempt_of(db: Session, task: TaskRead, owner: UUID | None) -> TaskAttemptRead | None:
    """Return the attempt that failed; None where the task is gone, or was retried meanwhile."""
    with suppress(TaskNotFound):
        before = cursor_after(task.attempt - 1)
        for attempt in task_service.list_attempts(db, task.id, 1, owner=owner, cursor=before).items:
            return TaskAttemptRead.model_validate(attempt, from_attributes=True)
    return None
