"""The OpenAPI document: FastAPI's, with the Problem schema, and without errors that an operation cannot have."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from app.schemas.problem import Problem

_METHODS = frozenset({"get", "put", "post", "delete", "patch"})


def operation_id(route: APIRoute) -> str:
    """`create_task`, as the function is called: generated clients get readable method names."""
    return route.name


def describe(app: FastAPI) -> dict[str, Any]:
    """The document, built once."""
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
    """Nothing sent, nothing to refuse: no 413 without a body, no 422 without a body or a parameter either."""
    if "requestBody" not in operation:
        operation["responses"].pop("413", None)
        if "parameters" not in operation:
            operation["responses"].pop("422", None)
