"""The reader's own account: password, second factor, logins, API keys.

First comes which browser on which system a `User-Agent` names: two words for the reader. No decision hangs on them.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Form, Request, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session

from app import errors
from app.api.deps import PasswordTurn, SessionDep
from app.api.endpoints.users import PASSWORDS_BYTES
from app.api.http.body_route import body_limit
from app.api.http.router import SlashRouter
from app.core.one_time_codes import provisioning_uri
from app.models.auth import Scope
from app.schemas.auth import ApiKeyCreate
from app.schemas.user import PasswordChange, TotpBegin, TotpConfirm, TotpRemoval
from app.services.accounts.api_keys import api_key_service
from app.services.accounts.sessions import session_service
from app.services.accounts.totp_service import totp_service
from app.services.user_service import user_service
from app.web.access import PageUser, delete_session
from app.web.forms import Confirmed, ask_to_confirm, by_field, number, parsed
from app.web.responses import page, redirect

# The first that occurs names it: Edge and Opera name Chrome as well, and Chrome names Safari.
_BROWSERS = (
    ("Edg", "Edge"), ("OPR/", "Opera"), ("SamsungBrowser/", "Samsung Internet"), ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"), ("CriOS/", "Chrome"), ("Chrome/", "Chrome"), ("Safari/", "Safari"),
)  # fmt: skip
_SYSTEMS = (
    ("Windows", "Windows"), ("Android", "Android"), ("iPhone", "iOS"), ("iPad", "iPadOS"), ("CrOS", "ChromeOS"),
    ("Mac OS X", "macOS"), ("Linux", "Linux"),
)  # fmt: skip
LONGEST_PROGRAM = 40


def browser_and_system(user_agent: str | None) -> tuple[str, str]:
    """Return the browser and the system. Of another program its first word, such as `curl/8.14.1`, and no system."""
    agent = user_agent or ""
    browser = next((name for part, name in _BROWSERS if part in agent), "")
    if not browser:
        return agent.partition(" ")[0][:LONGEST_PROGRAM], ""
    return browser, next((name for part, name in _SYSTEMS if part in agent), "")


# -- The page of the account, and what changes the password, the logins and the API keys -------------------------------

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
    except errors.InvalidInput as error:
        return account_page(request, db, user, error, by_field(error.errors))
    except errors.WrongPassword as error:
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
    except errors.InvalidInput as error:
        return account_page(request, db, user, error, by_field(error.errors), new_key=form)
    except (errors.AdminOnly, errors.ApiKeyLimit) as error:
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
    error: errors.ServiceError | None = None,
    at_fields: dict[str, str] | None = None,
    **shown: Any,
) -> Response:
    """Return the page. `at_fields` has messages by the ids of their fields; any other error stands at the top."""
    logins = session_service.list_sessions(db, user.id, user.session_id)
    values = {
        "profile": user_service.get_user(db, user.id),
        "factor": totp_service.state(db, user.id),
        "logins": [(login, *browser_and_system(login.user_agent)) for login in logins[:LOGINS]],
        "more_logins": max(0, len(logins) - LOGINS),
        "keys": api_key_service.list_keys(db, user.id, limit=KEYS).items,
        "scopes": [scope.value for scope in Scope if scope is not Scope.ADMIN or user.is_admin],
        "days": KEY_DAYS,
        "new_key": KeyForm(scopes=[Scope.TASKS_READ.value], days=KEY_DAYS[1]),
        "key": None,
        "error": None if at_fields else error,
        "errors": at_fields or {},
    }
    return page(request, "account.html", values | shown, error)


# -- Sets up the reader's second factor with a QR code, and turns it off: the forms stand on the page of the account ---

# Base32. The form of the code brings it back, so that the picture is still there after a code that was mistyped.
_SECRET = r"[A-Z2-7]{16,64}"  # noqa: S105 (a pattern)
# Pixels for each module of the code, and modules of the quiet zone around it, which scanners need.
_SCALE, _QUIET_ZONE = 4, 4


@router.post("/account/second-factor")
@body_limit(lambda _: PASSWORDS_BYTES)
def begin_second_factor(
    request: Request, db: SessionDep, user: PageUser, _turn: PasswordTurn, current_password: Annotated[str, Form()] = ""
) -> Response:
    """Show a new secret. It is in force once a code is confirmed; until then logins go on as before."""
    try:
        typed = parsed(TotpBegin, {"current_password": current_password})
        made = totp_service.begin(db, user, typed.current_password)
    except errors.InvalidInput as error:
        return account_page(request, db, user, error, _at("factor", error))
    except errors.WrongPassword as error:
        return account_page(request, db, user, error, {"factor_current_password": error.title})
    except (errors.SecondFactorSet, errors.SecondFactorOff) as error:
        return account_page(request, db, user, error)
    return _secret(request, made.secret, made.uri)


@router.post("/account/second-factor/confirm")
def confirm_second_factor(
    request: Request,
    db: SessionDep,
    user: PageUser,
    secret: Annotated[str, Form(pattern=f"^{_SECRET}$")],
    otp: Annotated[str, Form()] = "",
) -> Response:
    """Put the second factor in force. Only this answer shows the recovery codes."""
    try:
        codes = totp_service.confirm(db, user, parsed(TotpConfirm, {"otp": otp}).otp)
    except (errors.InvalidInput, errors.WrongOneTimeCode) as error:
        return _secret(request, secret, provisioning_uri(secret, user.username), error)
    except (errors.SecondFactorNotFound, errors.SecondFactorSet) as error:
        return account_page(request, db, user, error)
    return page(request, "recovery_codes.html", {"codes": codes})


@router.post("/account/second-factor/remove")
@body_limit(lambda _: PASSWORDS_BYTES)
def remove_second_factor(
    request: Request,
    db: SessionDep,
    user: PageUser,
    _turn: PasswordTurn,
    current_password: Annotated[str, Form()] = "",
    otp: Annotated[str, Form()] = "",
) -> Response:
    try:
        typed = parsed(TotpRemoval, {"current_password": current_password, "otp": otp})
        totp_service.remove(db, user, typed.current_password, typed.otp)
    except errors.InvalidInput as error:
        return account_page(request, db, user, error, _at("factor", error))
    except errors.WrongPassword as error:
        return account_page(request, db, user, error, {"factor_current_password": error.title})
    except errors.WrongOneTimeCode as error:
        return account_page(request, db, user, error, {"factor_otp": error.title})
    except errors.SecondFactorNotFound as error:
        return account_page(request, db, user, error)
    return redirect(request, "/account", "factor_removed")


def _at(form: str, error: errors.InvalidInput) -> dict[str, str]:
    """Return the errors by the ids of a form's fields."""
    return {f"{form}_{name}": text for name, text in by_field(error.errors).items()}


def _secret(request: Request, secret: str, uri: str, error: errors.ServiceError | None = None) -> Response:
    import segno  # here, since few processes ever draw one

    code = segno.make_qr(uri, error="m")
    wrong = next(iter(by_field(error.errors).values()), "") if isinstance(error, errors.InvalidInput) else ""
    values = {
        "secret": secret,
        "groups": [secret[at : at + 4] for at in range(0, len(secret), 4)],
        # A picture of its own, which the policy allows: an element of the page would need no less text.
        "picture": code.svg_data_uri(scale=_SCALE, border=_QUIET_ZONE, dark="#000", light="#fff"),
        "side": code.symbol_size(_SCALE, _QUIET_ZONE)[0],
        "wrong": (wrong or error.title) if error else None,
    }
    return page(request, "second_factor.html", values, error)
