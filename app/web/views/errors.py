"""Failures in groups: what fails, since when, and what its user says of it."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Form, Path, Query, Request, Response

from app.api.deps import SessionDep
from app.api.http.router import SlashRouter
from app.api.http.turns import costly
from app.api.task_filters import visible_to_admin
from app.core.moments import moment
from app.errors import InvalidInput
from app.models.error_group import FINGERPRINT, ErrorState
from app.services.operations import error_group_service
from app.services.operations.error_group_service import LOOK, ErrorFilter, ErrorSort
from app.services.user_service import user_service
from app.web import charts
from app.web.access import PageUser
from app.web.forms import Back, checked_back
from app.web.responses import NavigationEntry, page, redirect

router = SlashRouter()
NAVIGATION = (NavigationEntry(3, "/errors", "Errors"),)

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
    cursor: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    text = text.replace("\x00", " ").strip()
    wanted = ErrorFilter(visible_to_admin(user, whose), state, text=text or None)
    found = error_group_service.list_error_groups(db, wanted, ROWS, cursor, sort)
    counts = error_group_service.count_error_groups(db, wanted)
    shown = {"state": state, "q": text, "sort": sort, "user": whose}
    owners = {group.user_id for group in found.items} | ({whose} if whose else set())
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
        "owners": user_service.usernames(db, owners) if user.is_admin else {},
        "next_page": None if found.last is None else _path(shown | {"cursor": found.last}),
    }
    return page(request, "errors.html", values)


def _path(shown: dict[str, Any]) -> str:
    """Return the path of the list in this state. What is as without it is left out."""
    usual = {"state": ErrorState.OPEN, "sort": ErrorSort.LAST_SEEN}
    named = {name: str(value) for name, value in shown.items() if value and value != usual.get(name)}
    return f"/errors?{urlencode(named)}" if named else "/errors"


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


def spark(numbers: list[int]) -> tuple[list[charts.Bar], int]:
    """Return the picture of the failures of each hour of a day, and the highest number of an hour."""
    return charts.columns({"failed": numbers}, charts.SPARK_WIDTH, charts.SPARK_HEIGHT), max(numbers, default=0)
