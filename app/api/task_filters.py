"""The filter of lists and counts of tasks, and the users whose tasks a caller may read."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from fastapi import Depends, Query, Request

from app.api.deps import TaskReader
from app.api.http.problems import Answers
from app.api.http.router import MAX_NAMED
from app.api.http.turns import current_caller
from app.db.listing import WHOSE, Filter, Whose
from app.db.session import SessionLocal
from app.errors import AdminOnly, InsufficientScope, InvalidInput, InvalidSearch, Text
from app.models.task import TaskStatus, WaitingReason
from app.models.task_filter import TaskFilter
from app.schemas.task_filter import TaskFilterIn, TaskFilterQuery, named_fields
from app.services.accounts.auth_service import Principal
from app.services.tasks.search import ALL, Search, parse
from app.services.user_service import user_service

_EMPTY = "The filter is empty: it would match all tasks"
WhoseByDefaultAll = Annotated[Whose, Query(description=WHOSE)]
Wanted = TypeVar("Wanted", bound=Filter)


async def task_filter(request: Request, user: TaskReader, query: Annotated[TaskFilterQuery, Query()]) -> TaskFilter:
    """Return the requested filter. Raises AdminOnly or InsufficientScope for tasks of other users.

    Raises InvalidSearch for a search that means nothing, or that names again what a parameter names.
    """
    # `async`, because two thread switches would cost more.
    fields = named_fields(query)
    if "user:" not in fields.get("q", "") or not user.is_admin:
        return filter_of(user, **_with_search(user, fields))
    # A name is looked up in the database.
    return filter_of(user, **await request.state.threads.run(current_caller(), partial(_with_search, user, fields)))


def filter_in_body(user: Principal, body: TaskFilterIn) -> TaskFilter:
    """Return the filter of a body, with its search. Raises InvalidInput if it is empty, and as `task_filter`."""
    fields = _with_search(user, named_fields(body), ("body", "filter", "q"))
    if not fields:
        raise InvalidInput(errors=[{"loc": ["filter"], "msg": _EMPTY, "type": "empty_filter"}])
    return filter_of(user, **fields)


def _with_search(user: Principal, fields: dict[str, Any], place: Sequence[str] = ("query", "q")) -> dict[str, Any]:
    """Return the fields, with those of the search among them instead of it. Raises InvalidSearch."""
    if "q" not in fields:
        return fields
    others = {name: value for name, value in fields.items() if name != "q"}
    search = read_search(user, fields["q"])
    reasons = search.reasons[:MAX_NAMED]
    reasons += [Text("{} is a parameter, too: send one of both", name) for name in search.fields if name in others]
    if reasons:
        raise InvalidSearch(reasons, place)
    return others | search.fields


def read_search(user: Principal, text: str) -> Search:
    """Return what a search means to this user now."""
    return parse(text, user, datetime.now(UTC), _find_user)


def _find_user(name: str) -> UUID | None:
    with SessionLocal() as db:
        return user_service.find_id(db, name)


def filter_of_search(user: Principal, search: Search) -> TaskFilter:
    """Return the filter of a search on the pages: administrators see everybody's tasks, unless it names a user.

    Raises AdminOnly for the tasks of others.
    """
    fields = dict(search.fields)
    return filter_of(user, fields.pop("user_id", ALL if user.is_admin else None), **fields)


def filter_of(
    user: Principal,
    user_id: UUID | Literal["all"] | None = None,
    status: Sequence[TaskStatus] = (),
    *,
    waiting_for: WaitingReason | None = None,
    error: str | None = None,
    schedule_id: UUID | None = None,
    workflow_id: UUID | None = None,
    **fields: Any,
) -> TaskFilter:
    """Return the filter of these values. Raises AdminOnly or InsufficientScope for tasks of other users."""
    # All that wait are pending, and all that have a fingerprint are failed: an index serves that.
    states = status or ([TaskStatus.PENDING] if waiting_for else [TaskStatus.FAILED] if error else [])
    # A fingerprint is of one user, as a schedule and a workflow are: an administrator need not name them.
    is_of_one_user = error or schedule_id or workflow_id
    owner = visible_to_admin(user, user_id) if is_of_one_user else _visible_owner(user, user_id)
    of_one = {"error": error, "schedule_id": schedule_id, "workflow_id": workflow_id}
    return TaskFilter(**{**fields, **of_one, "user_id": owner, "status": states, "waiting_for": waiting_for})


def _visible_owner(user: Principal, wanted: UUID | Literal["all"] | None) -> UUID | None:
    if wanted is None or wanted == user.id:
        return user.id
    user.check_admin("see the tasks of others")
    return None if wanted == "all" else wanted


def visible_to_admin(user: Principal, wanted: UUID | Literal["all"] | None) -> UUID | None:
    """Return whose rows the user sees: their own, and for administrators those of all users if they name none.

    Raises AdminOnly, InsufficientScope for rows of others.
    """
    return _visible_owner(user, "all" if wanted is None and user.is_admin else wanted)


def seen_by(user: Principal, wanted: Wanted) -> Wanted:
    """Return the filter of what the user may see: administrators see that of all unless it names one.

    Raises AdminOnly, InsufficientScope for what is of others.
    """
    return wanted.model_copy(update={"user_id": visible_to_admin(user, getattr(wanted, "user_id", None))})


TaskFilterDep = Annotated[TaskFilter, Depends(task_filter), Answers(401, InsufficientScope, AdminOnly)]
