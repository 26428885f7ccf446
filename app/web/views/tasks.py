"""The list of tasks, the ways to narrow it down, and the stream of the tasks on a page of it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request, Response

from app.api.deps import SessionDep, WatcherDep
from app.api.http.responses import Cursor
from app.api.http.router import SlashRouter
from app.api.http.sse import EventStream
from app.api.http.turns import costly
from app.api.task_filters import filter_of_search, read_search
from app.catalogue import known_queues
from app.models.task import TaskPriority, TaskStatus, WaitingReason
from app.models.task_filter import MAX_SEARCH, Longest, TaskFilter
from app.services.task_service import task_service
from app.services.tasks import task_counts, task_queries
from app.services.tasks.permissions import types_for
from app.services.tasks.search import ALL, KEYS, Search
from app.services.user_service import user_service
from app.web.access import PageUser, credential_of
from app.web.forms import names_of_owners, path_of
from app.web.responses import NavigationEntry, page
from app.web.shown_tasks import ROWS, STATES_OF, as_shown, left_of, seconds_of, waited_of

router = SlashRouter()
NAVIGATION = (NavigationEntry(2, "/tasks", "Tasks"),)

Text = Annotated[str, Query(alias="q", max_length=MAX_SEARCH)]
# The key of the search for each of the facets, in their order.
FACETS = {"status": "status", "queue": "queue", "task": "celery_task_name", "tag": "tag", "user": "user_id"}


@router.get("/tasks")
@costly(lambda arguments: bool(arguments["text"] or arguments["sort"] or arguments["filters"]))
def list_tasks(
    request: Request,
    db: SessionDep,
    user: PageUser,
    text: Text = "",
    cursor: Cursor = None,
    sort: Annotated[Longest | None, Query()] = None,
    skip: Annotated[int, Query(ge=0, lt=task_queries.PAGE_LOOK)] = 0,
    filters: Annotated[bool, Query()] = False,
) -> Response:
    search = read_search(user, text)
    wanted = filter_of_search(user, search)
    rows, following = _rows(db, wanted, cursor, sort, skip)
    tasks = as_shown(rows)
    owners = names_of_owners(db, user, {task.user_id for task in tasks} | _users(search))
    counts = _counts(db, search, user)
    found = _found(db, search, wanted, user) if filters else {}
    is_first = cursor is None and sort is None
    is_all = is_first and following is None
    values = {
        "search": search,
        "keys": KEYS,
        "completions": _completions(user),
        "statuses": [status.value for status in TaskStatus],
        "tasks": tasks,
        "owners": owners if user.is_admin else None,
        "named": {f"user:{user_id}": f"user:{name}" for user_id, name in owners.items()},
        "possible_deeds": _possible(search),
        "seconds_of": seconds_of,
        "waited_of": waited_of,
        "left_of": left_of,
        "counts": counts,
        "matching": (len(tasks), False) if is_all else _matching(db, search, wanted, counts, found.get("status")),
        "sort": sort and sort.value,
        "newest": task_queries.PAGE_LOOK,
        "facets": _facets(db, search, found) if filters else None,
        "next_page": path_of("/tasks", {"q": search.text}, **following) if following else None,
        "is_first": is_first,
    }
    return page(request, "tasks.html", values | {"now": datetime.now(UTC)})


@router.get("/facets")
@costly(lambda _: True)
def show_facets(request: Request, db: SessionDep, user: PageUser, text: Text = "") -> Response:
    """Show the facets of a search, for a page that is open."""
    search = read_search(user, text)
    found = _found(db, search, filter_of_search(user, search), user)
    return page(request, "facets.html", {"facets": _facets(db, search, found)})


def _rows(
    db: SessionDep, wanted: TaskFilter, cursor: str | None, sort: Longest | None, skip: int
) -> tuple[Sequence[dict[str, Any]], dict[str, str] | None]:
    """Return the rows of a page of the list, and the parameters of the next one."""
    if sort is None:
        found = task_service.show_page(db, wanted, ROWS, cursor=cursor)
        return found.items, None if found.last is None else {"cursor": found.last}
    rows, behind = task_queries.shown_longest(db, wanted, sort, ROWS, skip)
    return rows, None if behind is None else {"sort": sort.value, "skip": str(behind)}


def _found(
    db: SessionDep, search: Search, wanted: TaskFilter, user: PageUser
) -> dict[str, list[task_counts.FacetValue]]:  # fmt: skip
    """Return the values that occur most of each field; none of a search that finds more than was meant."""
    fields = [field for key, field in FACETS.items() if key != "user" or user.is_admin]
    return {} if search.problems else task_counts.read_facets(db, wanted, fields)


def _facets(db: SessionDep, search: Search, found: dict[str, list[task_counts.FacetValue]]) -> list[dict[str, Any]]:
    """Return what was found of each key, each value with the search for it. Chosen ones are left out."""
    chosen = {name: value if isinstance(value, list) else [value] for name, value in search.fields.items()}
    names = user_service.usernames(db, {each.value for each in found.get("user_id", ())})
    return [
        {
            "key": key,
            "values": [
                (shown := names.get(each.value, str(each.value)), search.with_value(key, shown), each)
                for each in found[field]
                if each.value not in chosen.get(field, ())
            ],
        }
        for key, field in FACETS.items()
        if field in found
    ]


def _users(search: Search) -> set[UUID]:
    """Return the user whom the search names."""
    return {search.fields["user_id"]} - {ALL} if "user_id" in search.fields else set()


def _completions(user: PageUser) -> dict[str, list[str]]:
    """Return what can stand behind each key of the search, as far as it is known without asking the database."""
    return {
        "status": [status.value for status in TaskStatus],
        "queue": sorted(known_queues()),
        "task": [each.celery_task_name for each in types_for(user.rights)],
        "priority": [priority.value for priority in TaskPriority],
        "waiting": [reason.value for reason in WaitingReason],
        "user": ["me"],
        "after": ["1h", "24h", "7d"],
        "before": ["1h", "24h", "7d"],
        **{key: [] for key in ("tag", "type", "name", "limit", "error")},
    }


def _counts(db: SessionDep, search: Search, user: PageUser) -> dict[str, int] | None:
    """Return the numbers of the tabs: of the same search with each status. None where that would read the rows."""
    others = Search(search.text, {name: value for name, value in search.fields.items() if name != "status"})
    wanted = filter_of_search(user, others)
    if task_counts.reads_many(wanted) or task_queries.page_reads_many(wanted):
        return None
    return task_service.show_counts(db, wanted)


def _matching(
    db: SessionDep, search: Search, wanted: TaskFilter, counts: dict[str, int] | None,
    by_status: Sequence[task_counts.FacetValue] | None,
) -> tuple[int, bool] | None:  # fmt: skip
    """Return how many tasks the search finds, and whether these are only the ones that were looked at.

    None if counting them takes too long. `by_status`: the facet, if it was read.
    """
    if counts is not None:
        return sum(counts[status] for status in search.fields.get("status", TaskStatus)), False
    if by_status is not None:  # it holds all states, and has read the same rows
        return sum(each.number for each in by_status), any(each.is_more for each in by_status)
    return task_counts.count_newest(db, wanted)


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
    """Stream the states of the tasks on a page of the list. What a busy service changes elsewhere costs nothing."""
    return EventStream(await watcher.follow_rows(ids, credential_of(request, user)), watcher.leave)
