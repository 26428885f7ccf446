"""The list of tasks, and the stream of those on a page of it."""

from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Query, Request, Response

from app.api.deps import SessionDep, WatcherDep
from app.api.http.paging import read_cursor
from app.api.http.router import SlashRouter
from app.api.http.sse import EventStream
from app.api.http.turns import costly
from app.models.task import TaskStatus
from app.services.task_service import task_service
from app.services.tasks import task_counts, task_pages
from app.web.access import PageUser, credential_of
from app.web.rendering import NavigationEntry, page
from app.web.shown_tasks import ROWS, STATES_OF, left_of, seconds_of, shown
from app.web.task_search import KEYS, MAX_LENGTH, Search, parse

router = SlashRouter()
NAVIGATION = (NavigationEntry(2, "/tasks", "Tasks"),)

Text = Annotated[str, Query(alias="q", max_length=MAX_LENGTH)]


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
