"""Renders errors as `application/problem+json` (RFC 9457), and declares them in the OpenAPI document."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

from fastapi import Response
from starlette.types import Scope

from app import errors
from app.core.languages import in_language, preferred

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:task-service:problem:"

# The HTTP status of each family of domain errors.
STATUS: dict[type[BaseException], int] = {
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.PreconditionFailed: HTTPStatus.PRECONDITION_FAILED,
    errors.InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StorageFull: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.RangeNotSatisfiable: HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
}
# The location of refused fields, if it is not the body.
_LOCATIONS: dict[type[errors.InvalidInput], tuple[str, ...]] = {
    errors.InvalidCursor: ("query", "cursor"),
    errors.InvalidSearch: (),  # which says it itself
    errors.UnknownParameter: ("query",),
    errors.RepeatedParameter: ("query",),
    errors.IdempotencyKeyReused: ("header", "Idempotency-Key"),
}

# Where the API has what an error speaks of: services know no HTTP.
_ADVICE: dict[type[errors.ServiceError], str] = {
    errors.UnknownTask: "GET /api/v1/tasks/types lists the tasks that can be created",
    errors.UnknownLimit: "An administrator makes one with PUT /api/v1/limits/{name}",
    errors.InvalidCursor: "Use one of a Link header",
    errors.TokenExpired: "Send the filter with dry_run again",
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
    fields: Sequence[errors.FieldError] | None = None,
    headers: Mapping[str, str] | None = None,
    extensions: Mapping[str, Any] | None = None,
    advice: str = "",
) -> Response:
    """Return the response of a problem. `extensions` are members that only one kind of problem has.

    `advice` stands behind the detail, or in its place where that says no more than the title.
    """
    language = preferred(_accept_language(scope))
    if advice:
        detail = advice if detail == title else errors.Text("{}. {}", detail, advice)
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + code,
        "title": in_language(title, language),
        "status": status,
        "detail": in_language(detail, language),
        "instance": quote(scope["path"], safe="/:@!$&'()*+,;=-._~"),
        "code": code,
        "request_id": scope.get("state", {}).get("request_id", ""),
    }
    if fields is not None:
        body["errors"] = [{**each, "msg": in_language(each["msg"], language)} for each in fields]
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


def status_of(kind: type[errors.ServiceError]) -> int:
    """Return the HTTP status (RFC 9110) of the nearest base class in `STATUS`; 500 if there is none."""
    return next((STATUS[each] for each in kind.__mro__ if each in STATUS), HTTPStatus.INTERNAL_SERVER_ERROR)


def located_errors(error: errors.InvalidInput) -> list[errors.FieldError]:
    """Return the refused fields with their location in the request in front of their path."""
    location = _LOCATIONS.get(type(error), ("body",))
    return [{**each, "loc": [*location, *each["loc"]]} for each in error.errors]


def service_problem(
    scope: Scope, error: errors.ServiceError, fields: Sequence[errors.FieldError] | None = None
) -> Response:
    """Return the response to a domain error. `fields` replaces the error's own; their locations are complete."""
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, errors.Unauthenticated | errors.InsufficientScope):
        headers["WWW-Authenticate"] = _challenge(error)
    if isinstance(error, errors.RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.size}"
    return problem_response(
        scope,
        code=error.code,
        title=error.title,
        status=status_of(type(error)),
        detail=error.detail,
        fields=located_errors(error) if fields is None and isinstance(error, errors.InvalidInput) else fields,
        headers=headers,
        extensions=_extensions(error),
        advice=_ADVICE.get(type(error), ""),
    )


def _extensions(error: errors.ServiceError) -> dict[str, Any] | None:
    if isinstance(error, errors.NotReady):
        return {"checks": error.checks}
    if isinstance(error, errors.UniqueKeyTaken):
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


def _challenge(error: errors.Unauthenticated | errors.InsufficientScope) -> str:
    """Return WWW-Authenticate (RFC 6750 §3), which names an error only if the request presented a token."""
    if isinstance(error, errors.InsufficientScope):
        return f'Bearer error="insufficient_scope", error_description="{error.title}", scope="{error.scope}"'
    if isinstance(error, errors.InvalidToken):
        return f'Bearer error="invalid_token", error_description="{error.title}"'
    return "Bearer"


_BY_STATUS: dict[int, type[errors.ServiceError]] = {
    401: errors.InvalidToken,
    403: errors.AdminOnly,
    404: errors.NotFound,
    409: errors.Conflict,
    412: errors.PreconditionFailed,
    422: errors.InvalidInput,
    429: errors.TooManyRequests,
    503: errors.DatabaseUnavailable,
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
    errors.IdempotencyKeyInFlight.code: _RETRY_AFTER,
    errors.InsufficientScope.code: _CHALLENGE,
}


def problems(*kinds: int | type[errors.ServiceError], database: bool = True) -> dict[int | str, dict[str, Any]]:
    """Return the `responses=` of a route: the given errors, by status or class, and those that any route can answer.

    `database=False` is for routes that use no database.
    """
    everywhere = [status for status in _EVERYWHERE if database or status != HTTPStatus.SERVICE_UNAVAILABLE]
    if database:
        kinds = (*kinds, errors.Overloaded, errors.TookTooLong, errors.TooManyWaiting)
        kinds = (*kinds, errors.UnknownParameter, errors.RepeatedParameter)
    if any(not isinstance(kind, int) and issubclass(kind, errors.Forbidden) for kind in kinds):
        kinds = (*kinds, errors.TooManyDeeds)
    if HTTPStatus.UNAUTHORIZED in kinds:
        kinds = (*kinds, errors.TooManyInProgress)
    examples: dict[int, dict[str, dict[str, Any]]] = {}
    for kind in (*kinds, *everywhere):
        example = _example(kind)  # type: ignore[arg-type]  # (a class is hashable)
        examples.setdefault(example["status"], {})[example["code"]] = example
    return {status: _response(status, examples[status]) for status in sorted(examples)}


class Answers:
    """Says in the type of a parameter which errors each route that has it may answer, beside its own.

    `Annotated[UUID, Path(…), Answers(TaskNotFound)]`; `headers`: those of the answer with status 200.
    """

    def __init__(self, *kinds: int | type[errors.ServiceError], headers: Mapping[str, Any] | None = None) -> None:
        self.kinds, self.headers = kinds, headers


def raises(*kinds: int | type[errors.ServiceError]) -> Callable[[Endpoint], Endpoint]:
    """Say of an endpoint which errors it may answer, beside those of its parameters' types and of every route."""

    def note(endpoint: Endpoint) -> Endpoint:
        endpoint.__dict__["raises"] = kinds
        return endpoint

    return note


def declared_responses(endpoint: Callable[..., Any]) -> dict[int | str, dict[str, Any]]:
    """Return the `responses=` of a route by its endpoint, for routes that use the database."""
    types = (kind for name, kind in endpoint.__annotations__.items() if name != "return")
    found = [each for kind in types for each in getattr(kind, "__metadata__", ()) if isinstance(each, Answers)]
    kinds = dict.fromkeys([*(kind for each in found for kind in each.kinds), *getattr(endpoint, "raises", ())])
    headers = {name: header for each in found for name, header in (each.headers or {}).items()}
    return ({200: {"headers": headers}} if headers else {}) | problems(*kinds)


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
def _example(error: int | type[errors.ServiceError]) -> dict[str, Any]:
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
        example["errors"] = [in_query if error in {errors.UnknownParameter, errors.RepeatedParameter} else missing]
    if error is errors.UniqueKeyTaken:
        example["task_id"] = "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"
    return example
