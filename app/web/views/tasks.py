"""The list of tasks, a task, what can be done to it, and the streams of both."""

from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Header, Query, Request, Response

from app.api.deps import SessionDep, WatcherDep
from app.api.http.paging import read_cursor
from app.api.http.router import SlashRouter
from app.api.http.sse import EventStream
from app.api.http.turns import costly
from app.live.frames import version_of
from app.models.task import TaskStatus
from app.schemas.task import TaskAttemptRead
from app.schemas.task_log import TaskLogRead
from app.services.task_service import task_service
from app.services.tasks import task_counts, task_pages
from app.web import charts
from app.web.access import PageUser, credential_of, rights_of
from app.web.confirming import Confirmed, ask
from app.web.curl import curl_of
from app.web.json_shown import JSONTexts
from app.web.rendering import NavigationEntry, page, redirect
from app.web.shown_tasks import ROWS, STATES_OF, left_of, possible, seconds_of, shown
from app.web.task_search import KEYS, MAX_LENGTH, Search, parse

router = SlashRouter()
NAVIGATION = (NavigationEntry(2, "/tasks", "Tasks"),)

ATTEMPTS = 50
LINES = 500
Text = Annotated[str, Query(alias="q", max_length=MAX_LENGTH)]
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID")]


@router.get("/tasks")
@costly(lambda arguments: bool(arguments["text"]))
def list_tasks(
    request: Request, db: SessionDep, user: PageUser, text: Text = "", cursor: Annotated[str | None, Query()] = None
) -> Response:
    now = datetime.now(UTC)
    search = parse(text, user, now)
    wanted = search.filter(user)
    found = task_service.show_page(db, wanted, ROWS, before=read_cursor(cursor))
    counts = _counts(db, search, user)
    next_page = None if found.last is None else "/tasks?" + urlencode({"q": search.text, "cursor": found.last.hex})
    values = {
        "search": search,
        "keys": KEYS,
        "statuses": [status.value for status in TaskStatus],
        "tasks": shown(found.items),
        "possible_deeds": _possible(search),
        "seconds_of": seconds_of,
        "left_of": left_of,
        "counts": counts,
        "matching": counts and sum(counts[status] for status in search.fields.get("status", TaskStatus)),
        "next_page": next_page,
        "is_first": cursor is None,
        "now": now,
    }
    return page(request, "tasks.html", values)


def _counts(db: SessionDep, search: Search, user: PageUser) -> dict[str, int] | None:
    """Return the numbers of the tabs: of the same search with each status. None where that would read the rows."""
    others = Search(search.text, {name: value for name, value in search.fields.items() if name != "status"})
    wanted = others.filter(user)
    if task_counts.reads_many(wanted) or task_pages.reads_many(wanted):
        return None
    return task_service.show_counts(db, wanted)


def _possible(search: Search) -> list[str]:
    """Return the bulk deeds that would do something in the states that the search names."""
    wanted = set(search.fields.get("status", TaskStatus))
    return [deed.value for deed, states in STATES_OF.items() if wanted & set(states)]


@router.get("/events")
async def follow_rows(
    request: Request,
    user: PageUser,
    watcher: WatcherDep,
    ids: Annotated[list[UUID], Query(alias="id", max_length=ROWS)],
) -> Response:
    """The states of the tasks on a page of the list: what a busy service changes elsewhere costs nothing."""
    stream = await watcher.follow_rows(ids, user.id, user.owner, credential_of(request, user))
    return EventStream(stream, watcher.leave)


@router.get("/tasks/{task_id}")
def show_task(request: Request, db: SessionDep, user: PageUser, task_id: UUID) -> Response:
    (task,) = shown([task_service.get_task(db, task_id, owner=user.owner)])
    earlier = max(task.attempt - ATTEMPTS, 0)
    found = task_service.list_attempts(db, task_id, ATTEMPTS, owner=user.owner, after=earlier)
    attempts = [TaskAttemptRead.model_validate(each, from_attributes=True) for each in found.items]
    now = datetime.now(UTC)
    begin = attempts[0].started_at if earlier and attempts else task.created_at
    spans = [(each.outcome.value, each.started_at, each.finished_at or now) for each in attempts]
    logs = task_service.newest_logs(db, task_id, LINES, owner=user.owner)
    values = {
        "task": task,
        "logs": [TaskLogRead.model_validate(line) for line in logs],
        "is_cut": len(logs) == LINES,
        "attempts": attempts,
        "earlier_attempts": earlier,
        "begin": begin,
        "possible": possible(task),
        "seconds": seconds_of(task, now),
        "left": left_of(task, now),
        "timeline": charts.timeline(begin, spans, task.finished_at or now),
        "curl": curl_of(request, task),
        "json": JSONTexts(),
    }
    db.rollback()  # all is read, and to write large JSON takes longer than a transaction may be idle
    return page(request, "task.html", values)


@router.get("/tasks/{task_id}/logs")
def show_lines(
    request: Request,
    db: SessionDep,
    user: PageUser,
    task_id: UUID,
    after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
) -> Response:
    """The lines after that number, for a page that is open."""
    found = task_service.list_logs(db, task_id, LINES, owner=user.owner, after=after)
    return page(request, "lines.html", {"logs": [TaskLogRead.model_validate(line) for line in found.items]})


@router.get("/tasks/{task_id}/events")
async def follow_task(
    request: Request, user: PageUser, watcher: WatcherDep, task_id: UUID, last_event_id: LastEventId = None
) -> Response:
    credential, seen = credential_of(request, user), version_of(last_event_id)
    stream = await watcher.follow(task_id, user.id, user.owner, credential, seen)
    return Response(status_code=204) if stream is None else EventStream(stream, watcher.leave)


@router.post("/tasks/{task_id}/cancel")
def cancel_task(
    request: Request, db: SessionDep, user: PageUser, task_id: UUID, confirmed: Confirmed = False
) -> Response:  # fmt: skip
    if not confirmed:
        return _ask(request, db, user, task_id, "cancel")
    task_service.cancel(db, task_id, owner=user.owner)
    return redirect(request, f"/tasks/{task_id}", "cancelled")


@router.post("/tasks/{task_id}/run-now")
def run_task_now(request: Request, db: SessionDep, user: PageUser, task_id: UUID) -> Response:
    task_service.run_now(db, task_id, owner=user.owner)
    return redirect(request, f"/tasks/{task_id}", "due")


@router.post("/tasks/{task_id}/retry")
def retry_task(request: Request, db: SessionDep, user: PageUser, task_id: UUID) -> Response:
    task_service.retry_task(db, task_id, owner=user.owner, within_quota=True, check=rights_of(user))
    return redirect(request, f"/tasks/{task_id}", "retried")


@router.post("/tasks/{task_id}/delete")
def delete_task(
    request: Request, db: SessionDep, user: PageUser, task_id: UUID, confirmed: Confirmed = False
) -> Response:  # fmt: skip
    if not confirmed:
        return _ask(request, db, user, task_id, "delete")
    task_service.delete(db, task_id, owner=user.owner)
    return redirect(request, "/tasks", "deleted")


def _ask(request: Request, db: SessionDep, user: PageUser, task_id: UUID, deed: str) -> Response:
    task = task_service.get_task(db, task_id, owner=user.owner)
    return ask(request, deed, task.name, f"/tasks/{task_id}")
