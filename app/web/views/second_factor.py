"""Sets up the reader's second factor with a QR code, and turns it off: the forms stand on the page of the account."""

from typing import Annotated

from fastapi import Form, Request, Response

from app.api.deps import PasswordTurn, SessionDep
from app.api.endpoints.users import PASSWORDS_BYTES
from app.api.http.body_route import body_limit
from app.api.http.problems import status_of
from app.api.http.router import SlashRouter
from app.core.one_time_codes import provisioning_uri
from app.errors import (
    InvalidInput,
    SecondFactorNotFound,
    SecondFactorOff,
    SecondFactorSet,
    ServiceError,
    WrongOneTimeCode,
    WrongPassword,
)
from app.schemas.totp import TotpBegin, TotpConfirm, TotpRemoval
from app.services.accounts.totp_service import totp_service
from app.web.access import PageUser
from app.web.forms import by_field, parsed
from app.web.responses import page, redirect
from app.web.views.account import account_page

router = SlashRouter()

# Base32. The form of the code brings it back, so that the picture is still there after a code that was mistyped.
_SECRET = r"[A-Z2-7]{16,64}"  # noqa: S105 (a pattern)
# Pixels for each module of the code, and modules of the quiet zone around it, which scanners need.
_SCALE, _QUIET_ZONE = 4, 4


@router.post("/account/second-factor")
@body_limit(lambda _: PASSWORDS_BYTES)
def begin(
    request: Request, db: SessionDep, user: PageUser, _turn: PasswordTurn, current_password: Annotated[str, Form()] = ""
) -> Response:
    """Show a new secret. It is in force once a code is confirmed; until then logins go on as before."""
    try:
        typed = parsed(TotpBegin, {"current_password": current_password})
        made = totp_service.begin(db, user, typed.current_password)
    except InvalidInput as error:
        return account_page(request, db, user, error, _at("factor", error))
    except WrongPassword as error:
        return account_page(request, db, user, error, {"factor_current_password": error.title})
    except (SecondFactorSet, SecondFactorOff) as error:
        return account_page(request, db, user, error)
    return _secret(request, made.secret, made.uri)


@router.post("/account/second-factor/confirm")
def confirm(
    request: Request,
    db: SessionDep,
    user: PageUser,
    secret: Annotated[str, Form(pattern=f"^{_SECRET}$")],
    otp: Annotated[str, Form()] = "",
) -> Response:
    """Put the second factor in force. Only this answer shows the recovery codes."""
    try:
        codes = totp_service.confirm(db, user, parsed(TotpConfirm, {"otp": otp}).otp)
    except (InvalidInput, WrongOneTimeCode) as error:
        return _secret(request, secret, provisioning_uri(secret, user.username), error)
    except (SecondFactorNotFound, SecondFactorSet) as error:
        return account_page(request, db, user, error)
    return page(request, "recovery_codes.html", {"codes": codes})


@router.post("/account/second-factor/remove")
@body_limit(lambda _: PASSWORDS_BYTES)
def remove(
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
    except InvalidInput as error:
        return account_page(request, db, user, error, _at("factor", error))
    except WrongPassword as error:
        return account_page(request, db, user, error, {"factor_current_password": error.title})
    except WrongOneTimeCode as error:
        return account_page(request, db, user, error, {"factor_otp": error.title})
    except SecondFactorNotFound as error:
        return account_page(request, db, user, error)
    return redirect(request, "/account", "factor_removed")


def _at(form: str, error: InvalidInput) -> dict[str, str]:
    """Return the errors by the ids of a form's fields."""
    return {f"{form}_{name}": text for name, text in by_field(error.errors).items()}


def _secret(request: Request, secret: str, uri: str, error: ServiceError | None = None) -> Response:
    import segno  # here, since few processes ever draw one

    code = segno.make_qr(uri, error="m")
    wrong = next(iter(by_field(error.errors).values()), "") if isinstance(error, InvalidInput) else ""
    values = {
        "secret": secret,
        "groups": [secret[at : at + 4] for at in range(0, len(secret), 4)],
        # A picture of its own, which the policy allows: an element of the page would need no less text.
        "picture": code.svg_data_uri(scale=_SCALE, border=_QUIET_ZONE, dark="#000", light="#fff"),
        "side": code.symbol_size(_SCALE, _QUIET_ZONE)[0],
        "wrong": (wrong or error.title) if error else None,
    }
    return page(request, "second_factor.html", values, 200 if error is None else status_of(type(error)))
