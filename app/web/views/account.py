"""The reader's own account: password, second factor, logins, API keys."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Form, Request, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session

from app.api.deps import PasswordTurn, SessionDep
from app.api.endpoints.users import PASSWORDS_BYTES
from app.api.http.body_route import body_limit
from app.api.http.problems import status_of
from app.api.http.router import SlashRouter
from app.errors import AdminOnly, ApiKeyLimit, InvalidInput, ServiceError, WrongPassword
from app.models.api_key import Scope
from app.schemas.api_key import ApiKeyCreate
from app.schemas.user import PasswordChange
from app.services.accounts.api_keys import api_key_service
from app.services.accounts.sessions import session_service
from app.services.accounts.totp_service import totp_service
from app.services.user_service import user_service
from app.web import browsers
from app.web.access import PageUser, delete_session
from app.web.forms import Confirmed, ask_to_confirm, by_field, number, parsed
from app.web.responses import page, redirect

router = SlashRouter()

KEYS, LOGINS = 50, 50
KEY_DAYS: tuple[str, ...] = ("30", "90", "365", "")


class KeyForm(BaseModel):
    """What was typed of a new API key. `days` is empty where it never expires."""

    name: str = ""
    scopes: list[str] = []
    days: Literal["30", "90", "365", ""] = ""


@router.get("/account")
def show_account(request: Request, db: SessionDep, user: PageUser) -> Response:
    return account_page(request, db, user)


@router.post("/account/password")
@body_limit(lambda _: PASSWORDS_BYTES)
def change_password(
    request: Request,
    db: SessionDep,
    user: PageUser,
    _turn: PasswordTurn,
    current_password: Annotated[str, Form()] = "",
    new_password: Annotated[str, Form()] = "",
) -> Response:
    """Change the password. All logins end with it, this one too."""
    try:
        typed = parsed(PasswordChange, {"current_password": current_password, "new_password": new_password})
        user_service.change_password(db, user.id, typed.current_password, typed.new_password)
    except InvalidInput as error:
        return account_page(request, db, user, error, by_field(error.errors))
    except WrongPassword as error:
        return account_page(request, db, user, error, {"current_password": error.title})
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
def create_key(request: Request, db: SessionDep, user: PageUser, form: Annotated[KeyForm, Form()]) -> Response:
    """Create an API key. Only this answer shows it."""
    days = number(form.days)
    until = datetime.now(UTC) + timedelta(days=days) if isinstance(days, int) else None
    try:
        wanted = parsed(ApiKeyCreate, {"name": form.name, "scopes": form.scopes})
        made = api_key_service.create_key(db, user.id, wanted.name, wanted.scopes, until)
    except InvalidInput as error:
        return account_page(request, db, user, error, by_field(error.errors), new_key=form)
    except (AdminOnly, ApiKeyLimit) as error:
        return account_page(request, db, user, error, {"scopes": error.detail}, new_key=form)
    return account_page(request, db, user, key=made.key)


@router.post("/account/api-keys/{key_id}/revoke")
def revoke_key(
    request: Request, db: SessionDep, user: PageUser, key_id: UUID, confirmed: Confirmed = False
) -> Response:  # fmt: skip
    if not confirmed:
        return ask_to_confirm(request, "revoke", api_key_service.get_key(db, user.id, key_id).name, "/account")
    api_key_service.revoke_key(db, user.id, key_id)
    return redirect(request, "/account", "revoked")


def account_page(
    request: Request,
    db: Session,
    user: PageUser,
    error: ServiceError | None = None,
    errors: dict[str, str] | None = None,
    **shown: Any,
) -> Response:
    """Return the page. `errors` are by the ids of the fields; an error at none of them stands at the top."""
    logins = session_service.list_sessions(db, user.id, user.session_id)
    values = {
        "profile": user_service.get_user(db, user.id),
        "factor": totp_service.state(db, user.id),
        "logins": [(login, *browsers.named(login.user_agent)) for login in logins[:LOGINS]],
        "more_logins": max(0, len(logins) - LOGINS),
        "keys": api_key_service.list_keys(db, user.id, limit=KEYS).items,
        "scopes": [scope.value for scope in Scope if scope is not Scope.ADMIN or user.is_admin],
        "days": KEY_DAYS,
        "new_key": KeyForm(scopes=[Scope.TASKS_READ.value], days=KEY_DAYS[1]),
        "key": None,
        "error": None if errors else error,
        "errors": errors or {},
    }
    return page(request, "account.html", values | shown, 200 if error is None else status_of(type(error)))
