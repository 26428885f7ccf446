"""Builds the OpenAPI document: FastAPI's, plus the Problem schema, minus errors that an operation cannot return."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from app.schemas.problem import Problem

_METHODS = frozenset({"get", "put", "post", "delete", "patch"})


def operation_id(route: APIRoute) -> str:
    """Return the name of the endpoint function, such as `create_task`: generated clients use it as the method name."""
    return route.name


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the document. It is built at the first call."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            tags=app.openapi_tags,
            routes=app.routes,
        )
        _add_problem_schema(document)
        for operation in _operations(document):
            _drop_impossible_errors(operation)
        app.openapi_schema = document
    return app.openapi_schema


def _add_problem_schema(document: dict[str, Any]) -> None:
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    nested = schema.pop("$defs", {})
    document.setdefault("components", {}).setdefault("schemas", {}).update(nested | {"Problem": schema})


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        for method, operation in path.items():
            if method in _METHODS:
                yield operation


def _drop_impossible_errors(operation: dict[str, Any]) -> None:
    """Remove 413 where there is no body, and 422 where there is neither a body nor a parameter."""
    if "requestBody" not in operation:
        operation["responses"].pop("413", None)
        if "parameters" not in operation:
            operation["responses"].pop("422", None)
