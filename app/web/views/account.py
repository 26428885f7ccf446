"""The reader's own account: password, logins, API keys."""

from typing import Annotated
from uuid import UUID

from fastapi import Form, Request, Response
from sqlalchemy.orm import Session

from app.api.deps import PasswordTurn, SessionDep
from app.api.endpoints.users import PASSWORDS_BYTES
from app.api.http.body_route import body_limit
from app.api.http.problems import status_of
from app.api.http.router import SlashRouter
from app.errors import InvalidInput, ServiceError, WeakPassword, WrongPassword
from app.models.api_key import Scope
from app.schemas.json_value import ShortText
from app.schemas.user import CurrentPassword, Password
from app.services.accounts.api_key_service import api_key_service
from app.services.accounts.session_service import session_service
from app.services.user_service import user_service
from app.web.access import PageUser
from app.web.confirming import Confirmed, ask
from app.web.cookies import delete_session
from app.web.rendering import page, redirect

router = SlashRouter()

KEYS = 50


@router.get("/account")
def show_account(request: Request, db: SessionDep, user: PageUser) -> Response:
    return _page(request, db, user)


@router.post("/account/password")
@body_limit(lambda _: PASSWORDS_BYTES)
def change_password(
    request: Request,
    db: SessionDep,
    user: PageUser,
    _turn: PasswordTurn,
    current_password: Annotated[CurrentPassword, Form()],
    new_password: Annotated[Password, Form()],
) -> Response:
    """Change the password. All logins end with it, this one too."""
    try:
        user_service.change_password(db, user.id, current_password, new_password)
    except (WrongPassword, WeakPassword) as error:
        return _page(request, db, user, error=error)
    answer = redirect(request, "/sign-in", "password_changed")
    delete_session(request, answer)
    return answer


@router.post("/account/logins/others/end")
def end_other_logins(request: Request, db: SessionDep, user: PageUser) -> Response:
    session_service.end_other_sessions(db, user.id, user.session_id)
    return redirect(request, "/account", "logins_ended")


@router.post("/account/logins/{session_id}/end")
def end_login(request: Request, db: SessionDep, user: PageUser, session_id: UUID) -> Response:
    session_service.end_session(db, user.id, session_id)
    return redirect(request, "/account", "login_ended")


@router.post("/account/api-keys")
def create_key(
    request: Request,
    db: SessionDep,
    user: PageUser,
    name: Annotated[ShortText, Form()],
    scopes: Annotated[list[Scope], Form()],
) -> Response:
    """Create an API key. Only this answer shows it."""
    made = api_key_service.create_key(db, user.id, name, scopes, None)
    return _page(request, db, user, key=made.key)


@router.post("/account/api-keys/{key_id}/revoke")
def revoke_key(
    request: Request, db: SessionDep, user: PageUser, key_id: UUID, confirmed: Confirmed = False
) -> Response:  # fmt: skip
    if not confirmed:
        return ask(request, "revoke", api_key_service.get_key(db, user.id, key_id).name, "/account")
    api_key_service.revoke_key(db, user.id, key_id)
    return redirect(request, "/account", "revoked")


def _page(
    request: Request, db: Session, user: PageUser, *, error: ServiceError | None = None, key: str | None = None
) -> Response:
    values = {
        "profile": user_service.get_user(db, user.id),
        "logins": session_service.list_sessions(db, user.id, user.session_id),
        "keys": api_key_service.list_keys(db, user.id, limit=KEYS).items,
        "scopes": [scope.value for scope in Scope if scope is not Scope.ADMIN or user.is_admin],
        "error": error,
        "reasons": error.errors if isinstance(error, InvalidInput) else [],
        "key": key,
    }
    return page(request, "account.html", values, 200 if error is None else status_of(type(error)))
