"""Endpoints of failures in groups: list, read, resolve, ignore, reopen."""

from typing import Annotated
from uuid import UUID

from fastapi import Path, Query, Request, Response

from app.api.deps import SessionDep, TaskReader, TaskWriter
from app.api.http.problems import Answers, problems, raises
from app.api.http.responses import Cursor, Limit, ListRenderer
from app.api.http.router import SlashRouter
from app.api.http.turns import costly
from app.api.task_filters import seen_by
from app.errors import AdminOnly, ErrorGroupNotFound, InsufficientScope
from app.models.error_group import FINGERPRINT
from app.schemas.error_group import EXAMPLE, ErrorGroupIgnore, ErrorGroupRead
from app.services.accounts.auth_service import Principal
from app.services.operations import error_group_service
from app.services.operations.error_group_service import LISTS, ErrorFilter, ErrorGroupState, ErrorSort

router = SlashRouter(prefix="/errors", tags=["errors"])
TAG_DESCRIPTION = "Failures in groups: resolve, ignore, reopen."

_GROUPS = ListRenderer(ErrorGroupRead, LISTS[ErrorSort.LAST_SEEN])
Fingerprint = Annotated[
    str,
    Path(pattern=FINGERPRINT, description="The fingerprint of the group.", examples=[EXAMPLE]),
    Answers(ErrorGroupNotFound),
]
_PROBLEMS = problems(401, InsufficientScope, ErrorGroupNotFound)


def _owner(user: Principal) -> UUID | None:
    """Return whose groups the caller reaches; None for those of all users."""
    return None if user.is_admin else user.id


@router.get("/", response_model=list[ErrorGroupRead], response_description="Groups, the one that failed last first")
@raises(AdminOnly)
@costly(lambda _: True)
def list_error_groups(
    request: Request,
    db: SessionDep,
    user: TaskReader,
    wanted: Annotated[ErrorFilter, Query()],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List failures in groups, the last one first. The `Link` header names the next page.

    A new group appears after one pass of maintenance, half a second. A group without a failed task stays for 30 days.
    """
    page = error_group_service.list_error_groups(db, seen_by(user, wanted), limit, cursor)
    return _GROUPS.page(request, page)


@router.get(
    "/{fingerprint}", response_model=ErrorGroupRead, response_description="The group"
)  # fmt: skip
def get_error_group(db: SessionDep, user: TaskReader, fingerprint: Fingerprint) -> ErrorGroupState:
    """Return one group of failures."""
    return error_group_service.get_error_group(db, fingerprint, owner=_owner(user))


@router.post("/{fingerprint}/resolve", response_model=ErrorGroupRead, response_description="The group")
def resolve_error_group(db: SessionDep, user: TaskWriter, fingerprint: Fingerprint) -> ErrorGroupState:
    """Mark a group as resolved. A new failure reopens it."""
    return error_group_service.resolve_error_group(db, fingerprint, owner=_owner(user))


@router.post("/{fingerprint}/ignore", response_model=ErrorGroupRead, response_description="The group")
def ignore_error_group(
    db: SessionDep, user: TaskWriter, fingerprint: Fingerprint, body: ErrorGroupIgnore | None = None
) -> ErrorGroupState:
    """Ignore a group until a time, or until it is reopened. New failures count, and do not reopen it."""
    until = None if body is None else body.until
    return error_group_service.ignore_error_group(db, fingerprint, until, owner=_owner(user))


@router.post("/{fingerprint}/reopen", response_model=ErrorGroupRead, response_description="The group")
def reopen_error_group(db: SessionDep, user: TaskWriter, fingerprint: Fingerprint) -> ErrorGroupState:
    """Reopen a resolved or ignored group."""
    return error_group_service.reopen_error_group(db, fingerprint, owner=_owner(user))
