"""Every route that changes something: the API's as its document lists them, the pages' as their routers do.

Nothing is told to these checks: a route that is new is probed with the next run.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fastapi import FastAPI
from fastapi.routing import APIRoute

from app.web.application import VIEWS
from tests.security.browser import EVIL
from tests.security.objects import UNKNOWN
from tests.security.pages import SAME, of_pages, post_to_page, signed_in_to_pages
from tests.security.registry import AUTHENTICATION, FORGERY, HANDLED, REFUSED, RESOURCES, check, expect_status
from tests.security.target import Target
from tests.support.leftovers import API

UNSAFE = ("post", "put", "patch", "delete")
JSON = "application/json"
DEEP = b"[" * 5000 + b"]" * 5000
NOT_JSON = {
    "deep": DEEP,
    "half": DEEP[:5000],
    "a huge number": b"9" * 5000,
    "NaN": b"NaN",
    "bad UTF-8": b'{"a":"\xff"}',
}
# Of each field in turn all have this value: an operation that takes it for every one of its fields does not exist.
EXTREMES: tuple[Any, ...] = (
    10**400, -(2**63) - 1, 1e308, "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "\ud800", "\0", [[[]]], {"": None},
)  # fmt: skip
TYPED = ("9" * 5000, "-1", "1e400", "9999-12-31T23:59:59-14:00", "[" * 5000, "\x00", "x" * 5000)
FORGED: tuple[Mapping[str, str], ...] = (
    {}, {"Origin": EVIL}, {"Origin": "null"}, {"Origin": EVIL, **SAME}, {"Sec-Fetch-Site": "cross-site"},
)  # fmt: skip


class Operation(NamedTuple):
    method: str
    path: str  # below the API
    needs_login: bool
    fields: tuple[str, ...] | None  # of its JSON body, if it takes one


def _operations(target: Target) -> list[Operation]:
    document = expect_status(target.as_mallory("GET", "//openapi.json"), 200).json()
    return [
        Operation(
            method.upper(),
            _filled(path.removeprefix(API)),
            bool(described.get("security")),
            _fields(document, described),
        )
        for path, operations in document["paths"].items()
        for method, described in operations.items()
        if method in UNSAFE
    ]


def _fields(document: Mapping[str, Any], described: Mapping[str, Any]) -> tuple[str, ...] | None:
    schema = described.get("requestBody", {}).get("content", {}).get(JSON, {}).get("schema")
    if schema is None:
        return None
    schema = next(iter(schema.get("anyOf", ())), schema)
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return tuple(schema.get("properties", ()))


def _filled(path: str) -> str:
    """The path of something that does not exist: a service that obeys does no harm."""
    parts = path.split("/")
    return "/".join(UNKNOWN if part.endswith("_id}") else "none" if part.startswith("{") else part for part in parts)


def _forms() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Path below the pages and fields of each form that changes something."""
    pages = FastAPI(openapi_url=None)
    for view in VIEWS:
        view.router.add_to(pages, "")
    for route in pages.routes:
        if isinstance(route, APIRoute) and {*(route.methods or ())} - {"GET", "HEAD"}:
            model: Any = route.body_field.field_info.annotation if route.body_field else None
            named = model.model_fields.items() if model else ()
            yield _filled(route.path_format), tuple(field.alias or name for name, field in named)


@check(AUTHENTICATION)
def every_operation_needs_a_login(target: Target) -> None:
    """No operation that changes something is done without a token, but those that the document calls open"""
    for each in _operations(target):
        if each.needs_login:
            expect_status(target.ask(each.method, each.path), 401, f"{each.method} {each.path}")


@check(RESOURCES)
def hostile_json(target: Target) -> None:
    """Each operation that takes JSON refuses what is none, or is too deep"""
    for each in _operations(target):
        for what, content in NOT_JSON.items() if each.fields is not None else ():
            answer = target.as_mallory(each.method, each.path, content=content, headers={"Content-Type": JSON})
            expect_status(answer, REFUSED, f"{each.method} {each.path} with {what}")


@check(RESOURCES)
def extreme_values(target: Target) -> None:
    """Extreme numbers, dates and texts in the fields of each operation are no error of the server"""
    for each in _operations(target):
        for value in EXTREMES if each.fields else ():
            content = json.dumps(dict.fromkeys(each.fields or (), value)).encode()
            answer = target.as_mallory(each.method, each.path, content=content, headers={"Content-Type": JSON})
            expect_status(answer, HANDLED, f"{each.method} {each.path} with {str(value)[:30]!a}")


@check(FORGERY)
@of_pages
def forged_forms(target: Target) -> None:
    """No form of the pages is taken from another site, or from no browser: 403, and 429 once there were many"""
    cookie = signed_in_to_pages(target, target.alice)
    for path, _ in _forms():
        for headers in FORGED:
            expect_status(post_to_page(target, path, cookie, headers), {403, 429}, f"POST {path} with {headers}")


@check(RESOURCES)
@of_pages
def hostile_forms(target: Target) -> None:
    """Extreme numbers, dates, depths and lengths in the forms of the pages are no error of the server"""
    account = target.new_account("typist")  # guesses at its password are counted
    cookie = signed_in_to_pages(target, account)
    for path, fields in _forms():
        for value in TYPED if fields and path != "/sign-in" else ():  # its failures are counted for the address
            form = dict.fromkeys((*fields, "json", "metadata"), value)
            answer = post_to_page(target, path, cookie, SAME, **form)
            expect_status(answer, HANDLED, f"POST {path} with {value[:30]!a}")
