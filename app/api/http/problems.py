"""Renders errors as `application/problem+json` (RFC 9457), and declares them in the OpenAPI document."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

from fastapi import Response
from starlette.types import Scope

from app.core.languages import in_language, preferred
from app.errors import (
    AdminOnly,
    Conflict,
    DatabaseUnavailable,
    FieldError,
    Forbidden,
    IdempotencyKeyInFlight,
    IdempotencyKeyReused,
    InsufficientScope,
    InvalidCursor,
    InvalidInput,
    InvalidSearch,
    InvalidToken,
    NotFound,
    NotReady,
    Overloaded,
    PreconditionFailed,
    RangeNotSatisfiable,
    RepeatedParameter,
    ServiceError,
    StorageFull,
    Text,
    TokenExpired,
    TookTooLong,
    TooManyDeeds,
    TooManyInProgress,
    TooManyRequests,
    TooManyWaiting,
    Unauthenticated,
    Unavailable,
    UniqueKeyTaken,
    UnknownLimit,
    UnknownParameter,
    UnknownTask,
)

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:task-service:problem:"

# The HTTP status of each family of domain errors.
STATUS: dict[type[BaseException], int] = {
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    PreconditionFailed: HTTPStatus.PRECONDITION_FAILED,
    InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    StorageFull: HTTPStatus.INSUFFICIENT_STORAGE,
    RangeNotSatisfiable: HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
}
# The location of refused fields, if it is not the body.
_LOCATIONS: dict[type[InvalidInput], tuple[str, ...]] = {
    InvalidCursor: ("query", "cursor"),
    InvalidSearch: (),  # which says it itself
    UnknownParameter: ("query",),
    RepeatedParameter: ("query",),
    IdempotencyKeyReused: ("header", "Idempotency-Key"),
}

# Where the API has what an error speaks of: services know no HTTP.
_ADVICE: dict[type[ServiceError], str] = {
    UnknownTask: "GET /api/v1/tasks/types lists the tasks that can be created",
    UnknownLimit: "An administrator makes one with PUT /api/v1/limits/{name}",
    InvalidCursor: "Use one of a Link header",
    TokenExpired: "Send the filter with dry_run again",
}

# Errors that Starlette and FastAPI raise. Their titles are fixed: `HTTPStatus` phrases differ between Python versions.
HTTP_PROBLEMS = {
    400: ("bad_request", "The request is malformed"),
    404: ("not_found", "The resource does not exist"),
    405: ("method_not_allowed", "The resource does not support this method"),
    408: ("request_timeout", "The request did not arrive in time"),
    413: ("body_too_large", "The request body is too large"),
    415: ("unsupported_media_type", "The body has a Content-Type that the call does not take"),
    431: ("headers_too_large", "The request headers are too large"),
}


def problem_response(
    scope: Scope,
    *,
    code: str,
    title: str,
    status: int,
    detail: str,
    errors: Sequence[FieldError] | None = None,
    headers: Mapping[str, str] | None = None,
    extensions: Mapping[str, Any] | None = None,
    advice: str = "",
) -> Response:
    """Return the response of a problem. `extensions` are members that only one kind of problem has.

    `advice` stands behind the detail, or in its place where that says no more than the title.
    """
    language = preferred(_accept_language(scope))
    if advice:
        detail = advice if detail == title else Text("{}. {}", detail, advice)
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + code,
        "title": in_language(title, language),
        "status": status,
        "detail": in_language(detail, language),
        "instance": quote(scope["path"], safe="/:@!$&'()*+,;=-._~"),
        "code": code,
        "request_id": scope.get("state", {}).get("request_id", ""),
    }
    if errors is not None:
        body["errors"] = [{**each, "msg": in_language(each["msg"], language)} for each in errors]
    body.update(extensions or {})
    # `loc` can hold a lone surrogate of the rejected body: it becomes a JSON escape rather than an exception.
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
    more = {"Content-Language": language, **(headers or {})}
    more["Vary"] = f"{more['Vary']}, Accept-Language" if "Vary" in more else "Accept-Language"
    return Response(content, status_code=status, media_type=MEDIA_TYPE, headers=more)


def _accept_language(scope: Scope) -> str:
    """Return what the client has sent as Accept-Language (RFC 9110 §12.5.4), "" if nothing."""
    return ",".join(value.decode("latin-1") for name, value in scope.get("headers", ()) if name == b"accept-language")


def http_problem(scope: Scope, status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the response of an error that is known by its HTTP status alone."""
    code, title = HTTP_PROBLEMS.get(status, (f"http_{status}", HTTPStatus(status).phrase))
    return problem_response(scope, code=code, title=title, status=status, detail=detail, headers=headers)


def status_of(kind: type[ServiceError]) -> int:
    """Return the HTTP status (RFC 9110) of the nearest base class in `STATUS`; 500 if there is none."""
    return next((STATUS[each] for each in kind.__mro__ if each in STATUS), HTTPStatus.INTERNAL_SERVER_ERROR)


def located(error: InvalidInput) -> list[FieldError]:
    """Return the refused fields with their location in the request in front of their path."""
    location = _LOCATIONS.get(type(error), ("body",))
    return [{**each, "loc": [*location, *each["loc"]]} for each in error.errors]


def service_problem(scope: Scope, error: ServiceError, errors: Sequence[FieldError] | None = None) -> Response:
    """Return the response to a domain error. `errors` replaces the error's own fields; their locations are complete."""
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, Unauthenticated | InsufficientScope):
        headers["WWW-Authenticate"] = _challenge(error)
    if isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.size}"
    return problem_response(
        scope,
        code=error.code,
        title=error.title,
        status=status_of(type(error)),
        detail=error.detail,
        errors=located(error) if errors is None and isinstance(error, InvalidInput) else errors,
        headers=headers,
        extensions=_extensions(error),
        advice=_ADVICE.get(type(error), ""),
    )


def _extensions(error: ServiceError) -> dict[str, Any] | None:
    if isinstance(error, NotReady):
        return {"checks": error.checks}
    if isinstance(error, UniqueKeyTaken):
        return {"task_id": None if error.task_id is None else str(error.task_id)}
    return None


def internal_problem(scope: Scope) -> Response:
    """Return the response of an unhandled exception. The caller gets the request id; the log has the traceback."""
    return problem_response(
        scope,
        code="internal_error",
        title="Internal server error",
        status=500,
        detail="The service failed unexpectedly. Its log has the cause under this request_id.",
    )


def _challenge(error: Unauthenticated | InsufficientScope) -> str:
    """Return WWW-Authenticate (RFC 6750 §3), which names an error only if the request presented a token."""
    if isinstance(error, InsufficientScope):
        return f'Bearer error="insufficient_scope", error_description="{error.title}", scope="{error.scope}"'
    if isinstance(error, InvalidToken):
        return f'Bearer error="invalid_token", error_description="{error.title}"'
    return "Bearer"


_BY_STATUS: dict[int, type[ServiceError]] = {
    401: InvalidToken,
    403: AdminOnly,
    404: NotFound,
    409: Conflict,
    412: PreconditionFailed,
    422: InvalidInput,
    429: TooManyRequests,
    503: DatabaseUnavailable,
}
# Any route can answer these. `app.api.http.openapi` drops 413, 415 and 422 where they are impossible.
_EVERYWHERE: tuple[int, ...] = (400, 413, 415, 422, 431, 500, 503)
_OTHERS = {
    400: (*HTTP_PROBLEMS[400], "There was an error parsing the body"),
    413: (*HTTP_PROBLEMS[413], "The body is larger than 2097152 bytes"),
    415: (*HTTP_PROBLEMS[415], "The body has no Content-Type: send JSON with Content-Type: application/json"),
    431: (*HTTP_PROBLEMS[431], "The request line and the header fields are larger than 32768 bytes"),
    500: ("internal_error", "Internal server error", "The service failed unexpectedly."),
}
_CHALLENGE = {"WWW-Authenticate": {"description": "`Bearer` (RFC 6750)", "schema": {"type": "string"}}}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait before trying again", "schema": {"type": "integer"}}}
# By status, or by the code of the only error of a status that has them.
_HEADERS: dict[int | str, dict[str, Any]] = {
    401: _CHALLENGE,
    429: _RETRY_AFTER,
    503: _RETRY_AFTER,
    IdempotencyKeyInFlight.code: _RETRY_AFTER,
    InsufficientScope.code: _CHALLENGE,
}


def problems(*errors: int | type[ServiceError], database: bool = True) -> dict[int | str, dict[str, Any]]:
    """Return the `responses=` of a route: the given errors, by status or class, and those that any route can answer.

    `database=False` is for routes that use no database.
    """
    everywhere = [status for status in _EVERYWHERE if database or status != HTTPStatus.SERVICE_UNAVAILABLE]
    if database:
        errors = (*errors, Overloaded, TookTooLong, TooManyWaiting, UnknownParameter, RepeatedParameter)
    if any(not isinstance(error, int) and issubclass(error, Forbidden) for error in errors):
        errors = (*errors, TooManyDeeds)
    if HTTPStatus.UNAUTHORIZED in errors:
        errors = (*errors, TooManyInProgress)
    examples: dict[int, dict[str, dict[str, Any]]] = {}
    for error in (*errors, *everywhere):
        example = _example(error)  # type: ignore[arg-type]  # (a class is hashable)
        examples.setdefault(example["status"], {})[example["code"]] = example
    return {status: _response(status, examples[status]) for status in sorted(examples)}


class Answers:
    """What the type of a parameter says of each route that has it: which errors it may answer, beside its own.

    `Annotated[UUID, Path(…), Answers(TaskNotFound)]`; `headers`: those of the answer with status 200.
    """

    def __init__(self, *errors: int | type[ServiceError], headers: Mapping[str, Any] | None = None) -> None:
        self.errors, self.headers = errors, headers


def raises(*errors: int | type[ServiceError]) -> Callable[[Endpoint], Endpoint]:
    """Say of an endpoint which errors it may answer, beside those of its parameters' types and of every route."""

    def note(endpoint: Endpoint) -> Endpoint:
        endpoint.__dict__["raises"] = errors
        return endpoint

    return note


def declared_responses(endpoint: Callable[..., Any]) -> dict[int | str, dict[str, Any]]:
    """Return the `responses=` of a route by its endpoint, for routes that use the database."""
    types = (kind for name, kind in endpoint.__annotations__.items() if name != "return")
    told = [each for kind in types for each in getattr(kind, "__metadata__", ()) if isinstance(each, Answers)]
    errors = dict.fromkeys([*(error for each in told for error in each.errors), *getattr(endpoint, "raises", ())])
    headers = {name: header for each in told for name, header in (each.headers or {}).items()}
    return ({200: {"headers": headers}} if headers else {}) | problems(*errors)


def _response(status: int, examples: dict[str, dict[str, Any]]) -> dict[str, Any]:
    named = {code: {"summary": example["title"], "value": example} for code, example in examples.items()}
    response: dict[str, Any] = {
        "description": " · ".join(example["title"] for example in examples.values()),
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": named}},
    }
    kinds: list[int | str] = [status, *examples]
    headers = {name: header for kind in kinds for name, header in _HEADERS.get(kind, {}).items()}
    if headers:
        response["headers"] = headers
    return response


@cache
def _example(error: int | type[ServiceError]) -> dict[str, Any]:
    if isinstance(error, int) and error in _OTHERS:
        code, title, detail = _OTHERS[error]
        status = error
    else:
        kind = _BY_STATUS[error] if isinstance(error, int) else error
        code, title, detail, status = kind.code, kind.title, _ADVICE.get(kind, kind.title), status_of(kind)
    example: dict[str, Any] = {
        "type": TYPE_PREFIX + code,
        "title": title,
        "status": status,
        "detail": detail,
        "instance": "/api/v1/…",
        "code": code,
        "request_id": "0f8fad5bd9cb469fa16570867728950e",
    }
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        missing = {"loc": ["body", "name"], "msg": "is required", "type": "missing"}
        in_query = {"loc": ["query", "state"], "msg": detail, "type": code}
        example["errors"] = [in_query if error in {UnknownParameter, RepeatedParameter} else missing]
    if error is UniqueKeyTaken:
        example["task_id"] = "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"
    return example
