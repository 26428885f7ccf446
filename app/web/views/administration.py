"""Users and the audit, for administrators."""

from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Form, Query, Request, Response
from sqlalchemy.orm import Session

from app.api.deps import PasswordTurn, SessionDep
from app.api.endpoints.users import PASSWORDS_BYTES
from app.api.http.body_route import body_limit
from app.api.http.paging import read_cursor
from app.api.http.problems import status_of
from app.api.http.router import SlashRouter
from app.errors import InvalidInput, ServiceError, UserExists, WeakPassword
from app.models.task import TaskPriority
from app.models.user import Role
from app.schemas.audit import AuditEvent
from app.schemas.user import UserCreate, UserUpdate
from app.services.audit.audit_service import AuditFilter, audit_service
from app.services.user_service import user_service
from app.web.access import PageAdmin
from app.web.rendering import NavigationEntry, page, redirect

router = SlashRouter()
NAVIGATION = (
    NavigationEntry(8, "/users", "Users", to_admins_alone=True),
    NavigationEntry(9, "/audit", "Audit", to_admins_alone=True),
)

ROWS = 50
Cursor = Annotated[str | None, Query(max_length=64)]


@router.get("/users")
def list_users(request: Request, db: SessionDep, _admin: PageAdmin, cursor: Cursor = None) -> Response:
    return _users(request, db, cursor)


def _users(request: Request, db: Session, cursor: str | None = None, error: ServiceError | None = None) -> Response:
    found = user_service.list_users(db, limit=ROWS, before=read_cursor(cursor))
    values = {
        "users": found.items,
        "roles": [role.value for role in Role],
        "priorities": [priority.value for priority in TaskPriority],
        "next_page": None if found.last is None else f"/users?cursor={found.last.hex}",
        "error": error,
        "reasons": error.errors if isinstance(error, InvalidInput) else [],
    }
    return page(request, "users.html", values, 200 if error is None else status_of(type(error)))


@router.post("/users")
@body_limit(lambda _: PASSWORDS_BYTES)
def create_user(
    request: Request,
    db: SessionDep,
    _admin: PageAdmin,
    _turn: PasswordTurn,
    body: Annotated[UserCreate, Form()],
) -> Response:
    try:
        user_service.create_user(db, **body.model_dump())
    except (UserExists, WeakPassword) as error:
        return _users(request, db, error=error)
    return redirect(request, "/users", "user_created")


@router.post("/users/{user_id}")
def update_user(
    request: Request, db: SessionDep, _admin: PageAdmin, user_id: UUID, body: Annotated[UserUpdate, Form()]
) -> Response:
    user_service.update_user(db, user_id, body.model_dump(exclude_unset=True))
    return redirect(request, "/users", "user_changed")


@router.get("/audit")
def show_audit(
    request: Request,
    db: SessionDep,
    _admin: PageAdmin,
    event: Annotated[list[AuditEvent], Query()] = [],  # noqa: B006 (FastAPI copies it)
    object_id: Annotated[str, Query(max_length=128)] = "",
    cursor: Cursor = None,
) -> Response:
    found = audit_service.list_page(db, AuditFilter(event, object_id=object_id or None), ROWS, cursor)
    query = [("event", each.value) for each in event] + [("object_id", object_id)] * bool(object_id)
    values = {
        "records": found.items,
        "events": [each.value for each in AuditEvent],
        "chosen": [each.value for each in event],
        "object_id": object_id,
        "next_page": None if found.last is None else f"/audit?{urlencode([*query, ('cursor', str(found.last))])}",
    }
    return page(request, "audit.html", values)
