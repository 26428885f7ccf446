"""The application of the pages, which the service mounts at `/ui`."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from importlib import import_module
from pkgutil import iter_modules
from urllib.parse import quote

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from sqlalchemy import exc as sa_exc
from starlette.exceptions import HTTPException
from starlette.types import Scope

from app.api.http.body_route import bound_bodies
from app.api.http.error_handlers import answer_to, database_error
from app.api.http.problems import HTTP_PROBLEMS, status_of
from app.api.http.router import SlashRouter
from app.core.config import Settings
from app.core.validation_errors import field_errors
from app.errors import FieldError, InvalidInput, ServiceError, Unauthenticated, detail_of
from app.web import responses, views
from app.web.access import check_cookie, check_same_origin, cookie_scheme, page_user
from app.web.responses import HEADERS, NavigationEntry, base_of, page

logger = logging.getLogger(__name__)

# Each page; `NAVIGATION` of it are its entries of the navigation, `OBJECT_PAGES` the paths of the pages of objects, by
# the kind of object that the audit names.
VIEWS = [import_module(f"{views.__name__}.{module.name}") for module in iter_modules(views.__path__)]
NAVIGATION: list[NavigationEntry] = sorted(entry for view in VIEWS for entry in getattr(view, "NAVIGATION", ()))
OBJECT_PAGES = {kind: path for view in VIEWS for kind, path in getattr(view, "OBJECT_PAGES", {}).items()}


def create_pages(settings: Settings) -> FastAPI:
    """Return the pages, on the state of the application that mounts them."""
    pages = FastAPI(openapi_url=None, redirect_slashes=False, dependencies=[Depends(check_same_origin)])
    for view in VIEWS:
        router: SlashRouter = view.router
        router.add_to(pages, "")
    pages.state.navigation, pages.state.object_pages = NAVIGATION, OBJECT_PAGES
    pages.include_router(responses.static_router)
    pages.add_exception_handler(ServiceError, _on_service_error)
    pages.add_exception_handler(RequestValidationError, _on_validation_error)
    pages.add_exception_handler(HTTPException, _on_http_exception)
    for kind in (sa_exc.DBAPIError, sa_exc.TimeoutError):
        pages.add_exception_handler(kind, _on_database_error)
    bound_bodies(pages.router.routes, settings, cookie_scheme, check_cookie)
    return pages


def internal_page(scope: Scope) -> Response:
    """Return the answer to what nobody expected."""
    return _error_page(Request(scope), 500, "Internal server error", "The log of the service has the cause.")


# `async`, so that Starlette calls them directly: a sync handler would wait for a thread.


async def _on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    if isinstance(error, Unauthenticated):
        return _to_sign_in(request)
    error, record = answer_to(request, error)
    reasons = error.errors if isinstance(error, InvalidInput) else []
    # A detail that was made of the reasons says them again.
    detail = "" if reasons and error.detail == detail_of(error.title, reasons) else error.detail
    answer = _error_page(request, status_of(type(error)), error.title, detail, reasons)
    if error.retry_after is not None:
        answer.headers["Retry-After"] = str(error.retry_after)
    answer.background = record
    return answer


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if any(each["loc"][0] == "path" for each in error.errors()):
        return _error_page(request, 404, HTTP_PROBLEMS[404][1])
    return await _on_service_error(request, InvalidInput(errors=field_errors(error.errors())))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    with suppress(ServiceError):
        await page_user(request)  # the page that there is not keeps the navigation, to a reader who is signed in
    _, title = HTTP_PROBLEMS.get(error.status_code, ("", str(error.detail)))
    is_said = error.detail == HTTPStatus(error.status_code).phrase  # which the title says in words
    return _error_page(request, error.status_code, title, "" if is_said else str(error.detail))


async def _on_database_error(request: Request, error: Exception) -> Response:
    expected = database_error(request, error)
    if expected is not None:
        return await _on_service_error(request, expected)
    return internal_page(request.scope)


def _to_sign_in(request: Request) -> Response:
    """Have the reader sign in and come back. A form's page is lost by that, and what was typed into it."""
    if "text/event-stream" in request.headers.get("accept", ""):
        return Response(status_code=401, headers=HEADERS)  # an EventSource ends then, and follows no redirect
    base = base_of(request)
    back = request.url.path.removeprefix(base) if request.method == "GET" else "/"
    query = f"?{request.url.query}" if request.url.query and request.method == "GET" else ""
    return RedirectResponse(f"{base}/sign-in?next={quote(back + query, safe='/')}", status_code=303, headers=HEADERS)


def _error_page(
    request: Request, status: int, title: str, detail: str = "", reasons: Sequence[FieldError] = ()
) -> Response:  # fmt: skip
    """Return the page of an error. What the title says is not said again."""
    values = {
        "title": title,
        "detail": detail if detail != title else "",
        "reasons": [
            {**each, "loc": each["loc"][1:] if each["loc"][:1] == ["body"] else each["loc"]}
            for each in reasons
            if each["msg"] != title
        ],
        "status": status,
    }
    return page(request, "error.html", values, status=status)
