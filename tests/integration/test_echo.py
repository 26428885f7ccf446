"""No error repeats what was sent: for each route of the OpenAPI document, a marker in every place where it takes one."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import quote

import httpx

from app.api.http.openapi import describe
from app.main import create_app
from tests.support.accounts import MakeUser
from tests.support.tables import cases
from tests.support.task_client import BODY, TASKS, TaskClient, module_client, task_client

client = module_client(EVENTS_MAX_SECONDS="0.1")  # this client waits for a stream's end
MARK = "m4rk<\"'>é"


@cache
def document() -> dict[str, Any]:
    return describe(create_app())


def resolved(schema: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """Follow references. A body that may be left out is null or an object: the object."""
    while "$ref" in schema or "anyOf" in schema:
        schema = schema["anyOf"][0] if "anyOf" in schema else known[schema["$ref"].rpartition("/")[2]]
    return schema


def requests_of(method: str, path: str, task_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each with the marker in one place, and one with it everywhere."""
    whole = document()
    operation, known = whole["paths"][path][method], whole["components"]["schemas"]
    parameters = operation.get("parameters", [])
    filled = path.replace("{task_id}", task_id).replace("{user_id}", task_id)
    marked = {each["in"]: {} for each in parameters} | {"query": {}, "header": {}}
    for each in parameters:
        if each["in"] == "path":
            yield path.replace("{" + each["name"] + "}", quote(MARK, safe="")), {}
        else:
            value = MARK if each["in"] == "query" else MARK.encode("ascii", "ignore").decode()
            option = "params" if each["in"] == "query" else "headers"
            marked[each["in"]][each["name"]] = value
            yield filled, {option: {each["name"]: value}}
    yield filled, {"headers": {"Authorization": "Bearer " + MARK.encode("ascii", "ignore").decode()}}
    yield filled, {"headers": {"X-Request-ID": MARK.encode("ascii", "ignore").decode()}, "params": {"cursor": MARK}}
    yield filled, {"params": marked["query"], "headers": marked["header"]}
    yield from ((filled, options) for options in _bodies(operation, known))


def _bodies(operation: dict[str, Any], known: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        fields = resolved(content["schema"], known)["properties"]
        if kind != "application/json":
            yield {"data": dict.fromkeys(fields, MARK)}
            yield {"content": MARK.encode(), "headers": {"Content-Type": f"multipart/form-data; boundary={MARK[:4]}<"}}
            continue
        for name in fields:
            for value in (MARK, [MARK], {"a": MARK}, {"kwargs": MARK}, -1):
                yield {"json": {name: value}}
                yield {"json": BODY | {name: value}}
        yield {"json": dict.fromkeys(fields, MARK)}
        yield {"json": MARK}
        for raw in (MARK, f'{{"{MARK}', f'["{MARK}"', f'{{"name": {MARK}}}'):
            yield {"content": raw.encode(), "headers": {"Content-Type": "application/json"}}
        yield {"json": BODY, "headers": {"Content-Type": MARK.encode("ascii", "ignore").decode()}}


def test_no_error_repeats_what_was_sent(client: httpx.Client, make_user: MakeUser) -> None:
    never = {"/healthz", "/readyz", "/metrics", "/api/v1/auth/logout"}
    with cases() as case:
        for path, methods in document()["paths"].items():
            for method in methods:
                admin = task_client(client, make_user, "admin")  # some end their login, or delete the task
                refused = 0
                for target, options in requests_of(method, path, admin.task_in("succeeded")):
                    with case(method, target, options):
                        refused += is_refused_without_a_mark(admin, method, target, options)
                with case(method, path):
                    assert refused or path in never


def is_refused_without_a_mark(admin: TaskClient, method: str, target: str, options: dict[str, Any]) -> bool:
    options = options | {"headers": {**admin.headers, **options.get("headers", {})}}
    answer = admin.http.request(method.upper(), target, follow_redirects=False, **options)
    assert answer.status_code < 500 or target == "/readyz", answer.text
    if answer.status_code < 400:
        return False
    body = answer.json()
    instance = body.pop("instance")
    assert "m4rk" not in json.dumps(body)
    assert "m4rk" not in str({k: v for k, v in answer.headers.items() if k != "allow"})
    assert instance.isascii()
    assert not set(instance) & set('<>" \\^`{|}'), instance
    return True


def test_nor_does_the_same_key_with_another_body(admin: TaskClient) -> None:
    key = {"Idempotency-Key": "m4rk-key"}
    assert admin.post(body=BODY, headers=key).status_code == 201
    answer = admin.post(body=BODY | {"name": MARK}, headers=key)
    assert answer.status_code == 422
    assert "m4rk" not in answer.text


def test_the_path_is_percent_encoded_where_it_is_repeated(admin: TaskClient) -> None:
    answer = admin.http.get(TASKS + quote(MARK + "\r\nX: y\x1b", safe=""), headers=admin.headers)
    assert answer.json()["instance"] == TASKS + "m4rk%3C%22'%3E%C3%A9%0D%0AX:%20y%1B"
