"""No error repeats what was sent: for each route of the OpenAPI document, a marker in every place where it takes one.

The reasons of `errors` repeat no value at all, also one that is well-formed; a detail may tell a name that is unknown.
"""

import copy
import json
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import quote

import httpx

from app.api.http.openapi import openapi_document
from app.live import watcher
from app.main import create_app
from tests.support.accounts import MakeUser
from tests.support.bounds import bounded
from tests.support.by_example import example_of
from tests.support.tables import cases
from tests.support.task_client import BODY, TASKS, TaskClient, module_client, task_client

client = module_client(**bounded({watcher: {"MAX_SECONDS": 0.1}}))  # this client waits for a stream's end
MARK = "m4rk<\"'>é"
# What names and numbers may be.
WORD, NUMBER = "zqxjkv7", 7070177


@cache
def document() -> dict[str, Any]:
    return openapi_document(create_app())


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
            yield filled, {option: {each["name"]: WORD}}
    yield filled, {"headers": {"Authorization": "Bearer " + MARK.encode("ascii", "ignore").decode()}}
    yield filled, {"headers": {"X-Request-ID": MARK.encode("ascii", "ignore").decode()}, "params": {"cursor": MARK}}
    yield filled, {"params": marked["query"], "headers": marked["header"]}
    yield filled, {"params": {WORD: WORD}}
    yield from ((filled, options) for options in _bodies(operation, known))


def _bodies(operation: dict[str, Any], known: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        fields = resolved(content["schema"], known)["properties"]
        if kind != "application/json":
            yield {"data": dict.fromkeys(fields, MARK)}
            yield {"data": dict.fromkeys(fields, WORD)}
            yield {"content": MARK.encode(), "headers": {"Content-Type": f"multipart/form-data; boundary={MARK[:4]}<"}}
            continue
        example = example_of(document(), content)
        for name in fields:
            for value in (MARK, [MARK], {"a": MARK}, -1):
                yield {"json": {name: value}}
                yield {"json": example | {name: value}}
            yield from ({"json": body} for body in _one_changed(example, name, fields[name]))
        yield {"json": dict.fromkeys(fields, MARK)}
        yield {"json": example | {WORD: WORD}}
        yield {"json": MARK}
        for raw in (MARK, f'{{"{MARK}', f'["{MARK}"', f'{{"name": {MARK}}}'):
            yield {"content": raw.encode(), "headers": {"Content-Type": "application/json"}}
        yield {"json": example, "headers": {"Content-Type": MARK.encode("ascii", "ignore").decode()}}


def _one_changed(example: dict[str, Any], name: str, field: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The example with another value at each place of this field."""
    whole = example | {name: example[name] if name in example else example_of(document(), field)}
    for place in _places(whole[name], (name,)):
        for value in (WORD, NUMBER, {WORD: WORD}):
            changed = copy.deepcopy(whole)
            inside: Any = changed
            for part in place[:-1]:
                inside = inside[part]
            inside[place[-1]] = value
            yield changed


def _places(value: Any, place: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    yield place
    if isinstance(value, dict | list):
        for part in value if isinstance(value, dict) else range(len(value)):
            yield from _places(value[part], (*place, part))


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
    reasons = json.dumps([each["msg"] for each in body.get("errors", ())])
    assert WORD not in reasons, reasons
    assert str(NUMBER) not in reasons, reasons
    assert body["detail"] == body["title"] or not body["detail"].startswith(body["title"]), body["detail"]
    if body["code"] == "queue_not_found":
        body.pop("detail")  # names it
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
