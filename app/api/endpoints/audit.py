"""The audit, for administrators. Nothing here changes it: nothing anywhere does."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from app.api.deps import AdminUser, SessionDep
from app.api.http.paging import LINK_HEADER, Cursor, Limit, set_next_link
from app.api.http.problems import problems
from app.api.http.router import SlashRouter
from app.errors import AdminOnly, InsufficientScope, InvalidCursor
from app.models.audit import AuditEvent, AuditRecord
from app.schemas.audit import AuditRecordRead
from app.schemas.task import Moment
from app.services.audit.audit_service import AuditFilter, audit_service

router = SlashRouter(prefix="/audit", tags=["audit"])

_ID = "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"


def audit_filter(
    event: Annotated[
        list[AuditEvent], Query(description="Any of these; repeatable.", examples=[["login.failed", "login.throttled"]])
    ] = [],  # noqa: B006 (FastAPI copies it)
    actor_id: Annotated[UUID | None, Query(description="Done by this account.", examples=[_ID])] = None,
    object_id: Annotated[
        str | None, Query(max_length=128, description="Done to this user, task, key, route or address.", examples=[_ID])
    ] = None,
    created_after: Annotated[Moment | None, Query(description="Recorded later than this.")] = None,
    created_before: Annotated[Moment | None, Query(description="Recorded earlier than this.")] = None,
) -> AuditFilter:
    """The filter as asked for."""
    return AuditFilter(event, actor_id, object_id, created_after, created_before)


@router.get(
    "",
    response_model=list[AuditRecordRead],
    response_description="Records, newest first",
    responses={200: {"headers": LINK_HEADER}, **problems(401, AdminOnly, InsufficientScope, InvalidCursor)},
)
@router.get("/", include_in_schema=False, response_model=list[AuditRecordRead])
def list_audit(
    request: Request,
    response: Response,
    db: SessionDep,
    _admin: AdminUser,
    wanted: Annotated[AuditFilter, Depends(audit_filter)],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> list[AuditRecord]:
    """Who did what, newest first, a page at a time: the `Link` header names the next one (administrators).

    Records are committed with what they tell of, and cannot be changed or deleted through the service.
    """
    page = audit_service.list_page(db, wanted, limit, cursor)
    set_next_link(request, response, page.next_cursor)
    return page.records
