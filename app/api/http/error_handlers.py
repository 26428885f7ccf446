"""Maps exceptions to problem documents, and records denials in the audit."""

import logging
from functools import partial
from http import HTTPStatus
from typing import NamedTuple
from uuid import UUID

import anyio
from anyio import to_thread
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from sqlalchemy import exc as sa_exc
from sqlalchemy.exc import SQLAlchemyError
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException

from app import errors
from app.api.http.middleware import route_template
from app.api.http.problems import http_problem, internal_problem, service_problem
from app.api.http.requests import route_path
from app.core.metrics import count_unrecorded_denial
from app.core.origin import current_actor
from app.core.validation_errors import field_errors, name_nearest
from app.db.outage import NO_COLUMN, NO_TABLE, first_line, is_timeout, sqlstate
from app.db.session import SessionLocal
from app.models.auth import Scope
from app.services.audit import audit_service

logger = logging.getLogger(__name__)

DATABASE_RETRY_SECONDS = 5
TOO_LONG = "The query exceeded the time limit: use narrower filters or a shorter time range"

_DOWN = (sa_exc.OperationalError, sa_exc.InterfaceError, sa_exc.TimeoutError)
# PostgreSQL's codes for a missing table and a missing column: the database is not migrated.
_UNMIGRATED = frozenset({NO_TABLE, NO_COLUMN})


def add_problem_handlers(app: FastAPI) -> None:
    """Register the handlers of all expected exceptions. `UnhandledErrors` catches the others further out."""
    app.add_exception_handler(errors.ServiceError, _on_service_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    for kind in (*_DOWN, sa_exc.DBAPIError):
        app.add_exception_handler(kind, _on_database_error)


# The handlers are `async`, so that Starlette calls them directly: a sync handler would wait for a thread.


async def _on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.ServiceError)
    allowed = (
        _methods_of_fixed_path(request) if isinstance(error, errors.UnknownParameter | errors.RepeatedParameter) else ""
    )
    if allowed and request.method not in allowed.split(", "):
        return http_problem(request.scope, HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed", {"Allow": allowed})
    error, record = answer_to(request, error)
    answer = service_problem(request.scope, error)
    answer.background = record
    return answer


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if any(each["loc"][0] == "path" for each in error.errors()) and (allowed := _methods_of_fixed_path(request)):
        return http_problem(request.scope, HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed", {"Allow": allowed})
    body = getattr(request.scope.get("route"), "body_field", None)
    refused = name_nearest(body and body.field_info.annotation, field_errors(error.errors()), at=1)
    return service_problem(request.scope, errors.InvalidInput(errors=refused), refused)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed_methods(request) or headers.get("Allow", "")
    if error.status_code < HTTPStatus.BAD_REQUEST:
        return Response(status_code=error.status_code, headers=headers)
    return http_problem(request.scope, error.status_code, str(error.detail), headers)


async def _on_database_error(request: Request, error: Exception) -> Response:
    expected = database_error(request, error)
    return internal_problem(request.scope) if expected is None else service_problem(request.scope, expected)


def database_error(request: Request, error: Exception) -> errors.ServiceError | None:
    """Return the error to answer with, and log it: 503 for a database that is down, slow, missing or not migrated.

    None for any other error of a statement, which is unexpected.
    """
    if sqlstate(error) in _UNMIGRATED:
        logger.error("the database is not migrated: %s", first_line(error))
        return errors.NotMigrated(retry_after=DATABASE_RETRY_SECONDS)
    if not isinstance(error, _DOWN) and not getattr(error, "connection_invalidated", False):
        logger.error("unexpected database error", exc_info=error)
        return None
    if is_timeout(error) and request.method == "GET" and request.scope["query_string"]:
        # No Retry-After for a filtered read: it would take as long again. Any other stopped statement waited for a
        # lock.
        logger.warning("statement stopped by the time limit: %s", first_line(error))
        return errors.TookTooLong(TOO_LONG)
    logger.error("database unavailable: %s", first_line(error))
    return errors.DatabaseUnavailable(retry_after=DATABASE_RETRY_SECONDS)


def _allowed_methods(request: Request) -> str:
    """Return every method of the path. Starlette names only those of the first route that matches."""
    return _methods_of_fixed_path(request) or _methods(request, fixed=False)


def _methods_of_fixed_path(request: Request) -> str:
    """Return the methods of a path without parameters, such as `/tasks/count`.

    `/tasks/{task_id}` matches that path too, but `count` is not a malformed id.
    """
    return _methods(request, fixed=True)


def _methods(request: Request, *, fixed: bool) -> str:
    path = route_path(request.scope)
    methods: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        pattern = getattr(route, "path_regex", None)
        if pattern is not None and pattern.match(path) and not (fixed and pattern.groups):
            methods |= route.methods or set()
    return ", ".join(sorted(methods))


# -- Denials: each 403 of a user is recorded in the audit, once the response is sent -----------------------------------
# A denied request counts as a deed (`app/services/audit.py`): beyond the limit it is answered with 429, and the first
# refusal of this kind is recorded too. Requests without a login or key leave no record, since anybody could fill the
# audit with them: a metric counts them.

# One thread of its own: while the database is down, records must not block the threads that serve requests.
_one_record_at_a_time = anyio.CapacityLimiter(1)


class Answer(NamedTuple):
    """The error to answer with, and what records it once the response is sent."""

    error: errors.ServiceError
    record: BackgroundTask | None = None


def answer_to(request: Request, error: errors.ServiceError) -> Answer:
    """Return the error, or in place of a denial beyond the caller's limit TooManyDeeds; and the record of either."""
    # Wrong passwords and codes are recorded where they are counted.
    denied = isinstance(error, errors.Forbidden) and not isinstance(
        error, errors.WrongPassword | errors.WrongOneTimeCode
    )
    if denied:
        forged = isinstance(error, errors.CrossOrigin)
        try:
            audit_service.count_denial(by_address=forged)
        except errors.TooManyDeeds as refusal:
            if forged:  # the address has sent too many, and not the one who is signed in
                return Answer(refusal)
            error, denied = refusal, False
    if isinstance(error, errors.UnknownLimit) and not _may_list_limits(request):
        error = error.without_nearest()
    if current_actor() is None:
        if denied:
            count_unrecorded_denial("anonymous")
        return Answer(error)
    route = f"{request.method} {route_template(request.scope)}"
    if isinstance(error, errors.CrossOrigin) and not audit_service.may_record_forged():
        count_unrecorded_denial("forged")
        return Answer(error)
    if denied:
        write = partial(audit_service.record_denial, route=route, code=error.code, ids=_ids_of_path(request))
        return Answer(error, BackgroundTask(_record_denial, route, write))
    if isinstance(error, errors.TooManyDeeds) and error.first:
        return Answer(
            error, BackgroundTask(_record_denial, route, partial(audit_service.record_throttle, limit=error.limit))
        )
    return Answer(error)


def _may_list_limits(request: Request) -> bool:
    principal = request.scope["state"].get("principal")
    return principal is not None and Scope.TASKS_READ in principal.scopes


def _ids_of_path(request: Request) -> dict[str, str]:
    """Return the ids among the path parameters. Other values are not validated yet and may hold anything."""
    found = {}
    for name, value in request.path_params.items():
        try:
            found[name] = str(UUID(str(value)))
        except ValueError:
            continue
    return found


async def _record_denial(route: str, write: partial[None]) -> None:
    await to_thread.run_sync(_write_denial, route, write, limiter=_one_record_at_a_time)


def _write_denial(route: str, write: partial[None]) -> None:
    try:
        with SessionLocal() as db:
            write(db)
    except (SQLAlchemyError, errors.ServiceError) as error:
        count_unrecorded_denial("database")
        logger.warning("denial of %s not recorded: %s", route, first_line(error))
