"""The body of every error, `application/problem+json` (RFC 9457), and what routes declare about theirs."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import Response
from starlette.types import Scope

from app.errors import (
    AdminOnly,
    Conflict,
    DatabaseUnavailable,
    FieldError,
    IdempotencyKeyInFlight,
    InsufficientScope,
    InvalidInput,
    InvalidToken,
    NotFound,
    NotReady,
    Overloaded,
    PreconditionFailed,
    ServiceError,
    TookTooLong,
    TooManyRequests,
    Unauthenticated,
)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:task-service:problem:"

# What Starlette and FastAPI raise by themselves. `HTTPStatus` renames its phrases between Python versions.
HTTP_PROBLEMS = {
    400: ("bad_request", "Bad request"),
    404: ("not_found", "Not found"),
    405: ("method_not_allowed", "Method not allowed"),
    408: ("request_timeout", "The request did not arrive in time"),
    413: ("body_too_large", "The body is too large"),
    431: ("headers_too_large", "The request's headers are too large"),
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
) -> Response:
    """The one place that writes a problem's body; `extensions` are members of one kind of problem alone."""
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + code,
        "title": title,
        "status": status,
        "detail": detail,
        "instance": quote(scope["path"], safe="/:@!$&'()*+,;=-._~"),
        "code": code,
        "request_id": scope.get("state", {}).get("request_id", ""),
    }
    if errors is not None:
        body["errors"] = errors
    body.update(extensions or {})
    # A lone surrogate (a key of the rejected body may hold one) becomes its JSON escape rather than an exception.
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
    return Response(content, status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def http_problem(scope: Scope, status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """A problem that HTTP's own status says all about."""
    code, title = HTTP_PROBLEMS.get(status, (f"http_{status}", HTTPStatus(status).phrase))
    return problem_response(scope, code=code, title=title, status=status, detail=detail, headers=headers)


def service_problem(scope: Scope, error: ServiceError) -> Response:
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, Unauthenticated | InsufficientScope):
        headers["WWW-Authenticate"] = _challenge(error)
    return problem_response(
        scope,
        code=error.code,
        title=error.title,
        status=error.status,
        detail=error.detail,
        errors=error.errors if isinstance(error, InvalidInput) else None,
        headers=headers,
        extensions={"checks": error.checks} if isinstance(error, NotReady) else None,
    )


def internal_problem(scope: Scope) -> Response:
    """For what nobody foresaw: the caller learns the request id, the log holds the rest."""
    return problem_response(
        scope,
        code="internal_error",
        title="Internal server error",
        status=500,
        detail="Something went wrong here. The log tells more under this request id.",
    )


def _challenge(error: Unauthenticated | InsufficientScope) -> str:
    """RFC 6750 §3: the error is named when a token was presented, and only then."""
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
# Any route may meet these. 413 and 422 are dropped again (`app.api.http.openapi`) where there is nothing to refuse.
_EVERYWHERE: tuple[int, ...] = (400, 413, 422, 431, 500, 503)
_OTHERS = {
    400: (*HTTP_PROBLEMS[400], "There was an error parsing the body"),
    413: (*HTTP_PROBLEMS[413], "The body is larger than 2097152 bytes"),
    431: (*HTTP_PROBLEMS[431], "The request line and the header fields are larger than 32768 bytes"),
    500: ("internal_error", "Internal server error", "Something went wrong here."),
}
_CHALLENGE = {"WWW-Authenticate": {"description": "`Bearer` (RFC 6750)", "schema": {"type": "string"}}}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer"}}}
# By the status, or by the code of the one error of its status that has them.
_HEADERS: dict[int | str, dict[str, Any]] = {
    401: _CHALLENGE,
    429: _RETRY_AFTER,
    503: _RETRY_AFTER,
    IdempotencyKeyInFlight.code: _RETRY_AFTER,
    InsufficientScope.code: _CHALLENGE,
}


def problems(*errors: int | type[ServiceError], database: bool = True) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route: each status, or each error by its class, and those that any route may answer.

    `database=False` for the few routes that need none.
    """
    everywhere = [status for status in _EVERYWHERE if database or status != HTTPStatus.SERVICE_UNAVAILABLE]
    if database:
        errors = (*errors, Overloaded, TookTooLong)
    examples: dict[int, dict[str, dict[str, Any]]] = {}
    for error in (*errors, *everywhere):
        example = _example(error)
        examples.setdefault(example["status"], {})[example["code"]] = example
    return {status: _response(status, examples[status]) for status in sorted(examples)}


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


def _example(error: int | type[ServiceError]) -> dict[str, Any]:
    if isinstance(error, int) and error in _OTHERS:
        code, title, detail = _OTHERS[error]
        status = error
    else:
        kind = _BY_STATUS[error] if isinstance(error, int) else error
        code, title, detail, status = kind.code, kind.title, kind.title, kind.status
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
        missing = {"loc": ["body", "name"], "msg": "Field required", "type": "missing"}
        example["errors"] = [missing]
    return example
