"""Endpoints of the audit log, which the API can only read."""

from typing import Annotated

from fastapi import Query, Request, Response

from app.api.deps import AdminUser, SessionDep
from app.api.http.responses import Cursor, Limit, ListRenderer
from app.api.http.router import SlashRouter
from app.schemas.audit import AuditRecordRead
from app.services.audit import RECORDS, AuditFilter, audit_service

router = SlashRouter(prefix="/audit", tags=["audit"])
TAG_DESCRIPTION = "The audit log, for administrators."

_RECORDS = ListRenderer(AuditRecordRead, RECORDS)


@router.get("", response_model=list[AuditRecordRead], response_description="Records, newest first")
@router.get("/", include_in_schema=False, response_model=list[AuditRecordRead])
def list_audit_records(
    request: Request,
    db: SessionDep,
    _admin: AdminUser,
    limit: Limit = 50,
    cursor: Cursor = None,
    *,
    wanted: Annotated[AuditFilter, Query()],
) -> Response:
    """List audit records, newest first. The `Link` header names the next page. Administrators only.

    A record is committed together with the change that it describes. The service never changes or deletes records.
    """
    page = audit_service.list_page(db, wanted, limit, cursor)
    return _RECORDS.page(request, page)
