"""Sign in and out, and the reader's choices of language, theme and times."""

from typing import Annotated

from fastapi import Form, Header, Query, Request, Response

from app.api.deps import ClientAddress, LoginTurn, SessionDep
from app.api.http.router import SlashRouter
from app.core.languages import NAMES
from app.core.security import read_page_token
from app.errors import InvalidCredentials, SecondFactorRequired, ServiceError, TooManyRequests, Unauthenticated
from app.services.accounts.auth_service import auth_service
from app.web import access
from app.web.access import PageUser, page_token
from app.web.forms import checked_back
from app.web.responses import THEMES, TIMES, page, redirect

router = SlashRouter()

Next = Annotated[str, Query(alias="next", max_length=2000)]
CHOICES = {"language": tuple(NAMES), "theme": THEMES, "times": TIMES}


@router.get("/sign-in")
async def sign_in_page(request: Request, next_page: Next = "/") -> Response:
    return _form(request, next_page)


@router.post("/sign-in")
def sign_in(
    request: Request,
    db: SessionDep,
    username: Annotated[str, Form(max_length=320)],
    password: Annotated[str, Form(max_length=4096)],
    address: ClientAddress,
    _turn: LoginTurn,
    otp: Annotated[str, Form(max_length=64)] = "",
    user_agent: Annotated[str | None, Header()] = None,
    next_page: Annotated[str, Form(alias="next", max_length=2000)] = "/",
) -> Response:
    if not access.may_sign_in(request):
        return _form(request, next_page, username, status=403)
    try:
        login = auth_service.login_to_pages(db, username, password, address, otp, user_agent)
    except (InvalidCredentials, SecondFactorRequired, TooManyRequests) as error:
        answer = _form(request, next_page, username, error=error)
        if error.retry_after is not None:
            answer.headers["Retry-After"] = str(error.retry_after)
        return answer
    _end_replaced(request, db)
    answer = redirect(request, checked_back(next_page))
    access.set_session(request, answer, login.token, login.expires_at)
    return answer


def _end_replaced(request: Request, db: SessionDep) -> None:
    """End the login that this browser had: nobody could end it from there any more."""
    try:
        replaced = read_page_token(page_token(request))
    except Unauthenticated:
        return
    auth_service.end_replaced(db, replaced.session_id)


@router.post("/sign-out")
def sign_out(request: Request, db: SessionDep, user: PageUser) -> Response:
    auth_service.logout(db, user)
    answer = redirect(request, "/sign-in")
    access.delete_session(request, answer)
    # What the browser has kept of the pages is not shown to the next reader (W3C Clear Site Data).
    answer.headers["Clear-Site-Data"] = '"cache", "storage"'
    return answer


@router.post("/choices/{name}")
async def choose(
    request: Request,
    name: str,
    value: Annotated[str, Form(max_length=20)],
    next_page: Annotated[str, Form(alias="next", max_length=2000)] = "/",
) -> Response:
    answer = redirect(request, checked_back(next_page))
    if value in CHOICES.get(name, ()):
        access.set_choice(request, answer, name, value)
    return answer


def _form(
    request: Request, next_page: str, username: str = "", *, error: ServiceError | None = None, status: int = 200
) -> Response:
    values = {
        "next": checked_back(next_page),
        "username": username,
        "error": error,
        "needs_code": isinstance(error, SecondFactorRequired),
        "may_sign_in": access.may_sign_in(request),
        "has_choices": True,  # it shows nothing that a choice would lose
    }
    return page(request, "sign_in.html", values, error, status=status)
