"""Which exception becomes which problem."""

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from sqlalchemy import exc as sa_exc
from starlette.exceptions import HTTPException

from app.api.http.denials import recording
from app.api.http.problems import http_problem, internal_problem, service_problem
from app.db.outage import first_line, is_timeout
from app.errors import DatabaseUnavailable, InvalidInput, ServiceError, TookTooLong
from app.schemas.refusals import field_errors

logger = logging.getLogger(__name__)

DATABASE_RETRY_SECONDS = 5
TOO_LONG = "The database was stopped, as this took too long: ask for less, with other filters or a shorter time"

# PostgreSQL's codes for a table or a column that is not there: the migrations have not run.
_UNMIGRATED = frozenset({"42P01", "42703"})


def add_problem_handlers(app: FastAPI) -> None:
    """Handle everything but the unforeseen, which `app.api.http.middleware` catches further out."""
    app.add_exception_handler(ServiceError, _on_service_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    for kind in (sa_exc.OperationalError, sa_exc.InterfaceError, sa_exc.TimeoutError):
        app.add_exception_handler(kind, _on_database_down)
    app.add_exception_handler(sa_exc.DBAPIError, _on_database_error)


# The handlers are `async` so that Starlette runs them in place: a sync one would wait for a thread.


async def _on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    answer = service_problem(request.scope, error)
    answer.background = recording(request, error)
    return answer


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if any(each["loc"][0] == "path" for each in error.errors()) and (allowed := _methods_of_fixed_path(request)):
        return http_problem(request.scope, HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed", {"Allow": allowed})
    refused = field_errors(error.errors())
    where = ", ".join(sorted({".".join(map(str, each["loc"])) for each in refused})[:5])
    return service_problem(request.scope, InvalidInput(f"The request is not valid: {where}", refused))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed_methods(request) or headers.get("Allow", "")
    if error.status_code < HTTPStatus.BAD_REQUEST:
        return Response(status_code=error.status_code, headers=headers)
    return http_problem(request.scope, error.status_code, str(error.detail), headers)


async def _on_database_down(request: Request, error: Exception) -> Response:
    if is_timeout(error) and request.method == "GET" and request.scope["query_string"]:
        # A scan by filters, and no Retry-After: it would take as long again. Whatever else was stopped has waited for
        # somebody's lock.
        logger.warning("a statement was stopped: %s", first_line(error))
        return service_problem(request.scope, TookTooLong(TOO_LONG))
    logger.error("the database does not answer: %s", first_line(error))
    return service_problem(request.scope, DatabaseUnavailable(retry_after=DATABASE_RETRY_SECONDS))


async def _on_database_error(request: Request, error: Exception) -> Response:
    """An unmigrated or vanished database is unavailable; any other error of a statement is ours."""
    assert isinstance(error, sa_exc.DBAPIError)
    if error.connection_invalidated or getattr(error.orig, "pgcode", None) in _UNMIGRATED:
        return await _on_database_down(request, error)
    logger.error("unforeseen database error", exc_info=error)
    return internal_problem(request.scope)


def _allowed_methods(request: Request) -> str:
    """Every method of the path: Starlette names only those of the first route that matches."""
    return _methods_of_fixed_path(request) or _methods(request, fixed=False)


def _methods_of_fixed_path(request: Request) -> str:
    """Those of `/tasks/count`, which `/tasks/{task_id}` matches as well: what is `count` is no id with a mistake."""
    return _methods(request, fixed=True)


def _methods(request: Request, *, fixed: bool) -> str:
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    methods: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        pattern = getattr(route, "path_regex", None)
        if pattern is not None and pattern.match(path) and not (fixed and pattern.groups):
            methods |= route.methods or set()
    return ", ".join(sorted(methods))
