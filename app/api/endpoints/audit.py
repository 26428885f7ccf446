"""Endpoints of the audit log, which the API can only read."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from app.api.deps import AdminUser, SessionDep
from app.api.http.responses import Cursor, Limit, ListRenderer
from app.api.http.router import SlashRouter
from app.schemas.audit import AuditEvent, AuditRecordRead
from app.schemas.values import Moment
from app.services.audit import RECORDS, AuditFilter, audit_service

router = SlashRouter(prefix="/audit", tags=["audit"])
TAG_DESCRIPTION = "The audit log, for administrators."

_RECORDS = ListRenderer(AuditRecordRead, RECORDS)
_ID = "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"


def audit_filter(
    event: Annotated[
        list[AuditEvent],
        Query(
            description="Records of any of these events. Repeatable.", examples=[["login.failed", "login.throttled"]]
        ),
    ] = [],  # noqa: B006 (FastAPI copies it)
    actor_id: Annotated[UUID | None, Query(description="Records of actions by this account.", examples=[_ID])] = None,
    object_id: Annotated[
        str | None,
        Query(max_length=128, description="Records of this user, task, API key, route or address.", examples=[_ID]),
    ] = None,
    created_after: Annotated[Moment | None, Query(description="Records after this time.")] = None,
    created_before: Annotated[Moment | None, Query(description="Records before this time.")] = None,
) -> AuditFilter:
    return AuditFilter(event, actor_id, object_id, created_after, created_before)


@router.get("", response_model=list[AuditRecordRead], response_description="Records, newest first")
@router.get("/", include_in_schema=False, response_model=list[AuditRecordRead])
def list_audit_records(
    request: Request,
    db: SessionDep,
    _admin: AdminUser,
    wanted: Annotated[AuditFilter, Depends(audit_filter)],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List audit records, newest first. The `Link` header names the next page. Administrators only.

    A record is committed together with the change that it describes. The service never changes or deletes records.
    """
    page = audit_service.list_page(db, wanted, limit, cursor)
    return _RECORDS.page(request, page)
