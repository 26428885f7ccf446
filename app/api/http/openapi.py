"""The OpenAPI document: FastAPI's, completed with what FastAPI does not know about this service.

Such as the body of every error (RFC 9457), which each operation may answer.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from app.api.http.problems import MEDIA_TYPE
from app.errors import LoginOnly


class FieldProblem(BaseModel):
    """One refused field. The rejected value is never repeated."""

    loc: list[str | int] = Field(
        description="The place: `body`, `query`, `path` or `header`, then the names and indexes below it."
    )
    msg: str = Field(description="What is wrong, for people. The text may change.")
    type: str = Field(description="What is wrong, for programs. The value is stable.")


class Problem(BaseModel):
    """The body of every error (RFC 9457), with the media type `application/problem+json`."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(description="A URN that names the kind of problem: `urn:task-service:problem:` and `code`.")
    title: str = Field(description="The kind of problem in a few words. Every problem with this `code` has this title.")
    status: int = Field(description="The HTTP status.", ge=400, le=599)
    detail: str = Field(description="What went wrong in this request, and often what to do.")
    instance: str = Field(description="The path of the request.")
    code: str = Field(description="The kind of problem, for programs. The value is stable.")
    request_id: str = Field(description="The request's id, as in the `X-Request-ID` header and in the log.")
    errors: list[FieldProblem] | None = Field(default=None, description="The refused fields. Only with status 422.")
    checks: dict[str, str] | None = Field(
        default=None, description="Each checked part with `ok` or its fault. Only with the code `not_ready`."
    )
    task_id: UUID | None = Field(
        default=None,
        description="The task that has the key. Only with the code `unique_key_taken`. null if the key stands twice in "
        "one batch.",
    )


_METHODS = frozenset({"get", "put", "post", "delete", "patch"})
_API_KEY = "ApiKey"
_API_KEY_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "tsk_…",
    "description": "Paste an API key (`tsk_…`) or an access token. `POST /api/v1/auth/api-keys` creates API keys. Each "
    "operation lists the scopes that a key needs.",
}


def operation_id(route: APIRoute) -> str:
    """Return the function's name, such as `create_task`. Generated clients name their methods by it."""
    return route.name


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Return the document of the application; it is built once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            tags=app.openapi_tags,
            routes=app.routes,
        )
        _add_components(document)
        for operation in _operations(document):
            operation["summary"] = _summary(operation["operationId"])
            _accept_api_keys(operation)
            _drop_impossible_errors(operation)
        app.openapi_schema = document
    return app.openapi_schema


def _add_components(document: dict[str, Any]) -> None:
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    nested = problem.pop("$defs", {})
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(nested | {"Problem": problem})
    components.setdefault("securitySchemes", {})[_API_KEY] = _API_KEY_SCHEME


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        for method, operation in path.items():
            if method in _METHODS:
                yield operation


def _summary(name: str) -> str:
    """`create_api_key` → `Create API key`."""
    return name.replace("_", " ").capitalize().replace("api", "API")


def _accept_api_keys(operation: dict[str, Any]) -> None:
    """Offer API keys beside the login, except where an operation refuses them, and say which scopes they need.

    An operation that declares no 401 works without credentials too.
    """
    if "security" not in operation:
        return
    denials = operation["responses"].get("403", {}).get("content", {}).get(MEDIA_TYPE, {}).get("examples", {})
    if LoginOnly.code in denials:
        _add_to_description(operation, "API keys cannot call this operation.")
        return
    (scopes,) = operation["security"][0].values()
    anonymous: list[dict[str, list[str]]] = [] if "401" in operation["responses"] else [{}]
    operation["security"] = [*anonymous, *operation["security"], {_API_KEY: scopes}]
    needed = " and ".join(f"the scope `{scope}`" for scope in scopes) or "no scope"
    _add_to_description(operation, f"API keys need {needed}.")


def _add_to_description(operation: dict[str, Any], sentence: str) -> None:
    operation["description"] = f"{operation.get('description', '')}\n\n{sentence}".lstrip()


def _drop_impossible_errors(operation: dict[str, Any]) -> None:
    """Drop 413 and 415 where the operation takes no body, and 422 where it takes neither a body nor parameters.

    Below /api/v1, each operation refuses parameters that it does not have.
    """
    if "requestBody" not in operation:
        for status in ("413", "415"):
            operation["responses"].pop(status, None)
        if "parameters" not in operation and "operations" in operation.get("tags", ()):
            operation["responses"].pop("422", None)
