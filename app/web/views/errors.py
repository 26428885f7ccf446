"""Failures in groups: what fails, since when, and what its user says of it."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Form, Path, Query, Request, Response

from app.api.deps import SessionDep
from app.api.http.router import SlashRouter
from app.models.error_group import FINGERPRINT, ErrorState
from app.services.operations import error_group_service
from app.services.operations.error_group_service import ErrorFilter
from app.web import charts
from app.web.access import PageUser
from app.web.rendering import NavigationEntry, page, redirect

router = SlashRouter()
NAVIGATION = (NavigationEntry(3, "/errors", "Errors"),)

ROWS = 50
Fingerprint = Annotated[str, Path(pattern=FINGERPRINT)]


@router.get("/errors")
def list_errors(
    request: Request,
    db: SessionDep,
    user: PageUser,
    state: Annotated[ErrorState, Query()] = ErrorState.OPEN,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    found = error_group_service.list_error_groups(db, ErrorFilter(user.owner, state), ROWS, cursor)
    following = found.last and urlencode({"state": state.value, "cursor": str(found.last)})
    values: dict[str, Any] = {
        "groups": [(group, spark(group.last_24h)) for group in found.items],
        "state": state.value,
        "states": [each.value for each in ErrorState],
        "next_page": f"/errors?{following}" if following else None,
    }
    return page(request, "errors.html", values)


@router.post("/errors/{fingerprint}/resolve")
def resolve(request: Request, db: SessionDep, user: PageUser, fingerprint: Fingerprint) -> Response:
    error_group_service.resolve_error_group(db, fingerprint, owner=user.owner)
    return redirect(request, "/errors", "resolved")


@router.post("/errors/{fingerprint}/ignore")
def ignore(
    request: Request,
    db: SessionDep,
    user: PageUser,
    fingerprint: Fingerprint,
    days: Annotated[int, Form(ge=1, le=365)] = 7,
) -> Response:
    error_group_service.ignore_error_group(db, fingerprint, datetime.now(UTC) + timedelta(days=days), owner=user.owner)
    return redirect(request, "/errors", "ignored")


@router.post("/errors/{fingerprint}/reopen")
def reopen(request: Request, db: SessionDep, user: PageUser, fingerprint: Fingerprint) -> Response:
    error_group_service.reopen_error_group(db, fingerprint, owner=user.owner)
    return redirect(request, "/errors", "reopened")


def spark(numbers: list[int]) -> list[charts.Bar]:
    """Return the picture of the failures of each hour of a day."""
    return charts.columns({"failed": numbers}, charts.SPARK_WIDTH, charts.SPARK_HEIGHT)
