"""The short way of a request and FastAPI's own answer alike. A query, also one without a parameter, leads to the long one."""

import itertools
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.support.tables import cases
from tests.support.task_client import BODY, TASKS, TaskClient, module_client

client = module_client()
JSON = {"Content-Type": "application/json"}
TEXT = '{"name": "x", "task_type": "x", "celery_task_name": "%s", "args": [60]%s}'
LONG = BODY["celery_task_name"]
BODIES: dict[str, tuple[Any, Any]] = {
    "plain": (TEXT % (LONG, ""), JSON),
    "charset": (TEXT % (LONG, ""), {"Content-Type": "application/json; charset=utf-8"}),
    "other case": (TEXT % (LONG, ""), {"Content-Type": "Application/JSON"}),
    "a kind of json": (TEXT % (LONG, ""), {"Content-Type": "application/problem+json"}),
    "no type": (TEXT % (LONG, ""), {}),
    "another type": (TEXT % (LONG, ""), {"Content-Type": "text/plain"}),
    "two types": (TEXT % (LONG, ""), [("Content-Type", "application/json"), ("Content-Type", "text/plain")]),
    "a number's names": (TEXT % (LONG, ', "priority": 4'), JSON),
    "unknown field": (TEXT % (LONG, ', "more": 1'), JSON),
    "missing fields": ("{}", JSON),
    "nothing": ("", JSON),
    "a list": ("[]", JSON),
    "null": ("null", JSON),
    "cut": ('{"name": "x', JSON),
    "no utf-8": (b'{"name": "\xff"}', JSON),
    "a mark": (b"\xef\xbb\xbf" + (TEXT % (LONG, "")).encode(), JSON),
    "utf-16": ((TEXT % (LONG, "")).encode("utf-16"), JSON),
    "nan": (TEXT % (LONG, ', "kwargs": {"x": NaN}'), JSON),
    "deep": (TEXT % (LONG, ', "metadata": ' + '{"x":' * 5000 + "1" + "}" * 5000), JSON),
    "a large number": (TEXT % (LONG, ', "kwargs": {"x": ' + "9" * 5000 + "}"), JSON),
    "unknown task": (TEXT % ("nobody's", ""), JSON),
    "wrong argument": (TEXT % (LONG, ', "kwargs": {"steps": "many"}'), JSON),
}
OURS = ("id", "celery_id", "created_at", "updated_at", "run_at", "request_id")


def shape(answer: httpx.Response) -> Any:
    """All but what is each answer's own; where the short way fails, so does the long one, which begins with it."""
    assert answer.status_code < 500, answer.text
    body = answer.json()
    named = {name: answer.headers.get(name) for name in ("content-type", "etag", "www-authenticate", "cache-control")}
    return answer.status_code, named, {name: value for name, value in body.items() if name not in OURS}


def test_creating(tasks: TaskClient) -> None:
    with cases() as case:
        for name, (content, headers) in BODIES.items():
            with case(name):
                more = list(tasks.headers.items()) + (headers if isinstance(headers, list) else list(headers.items()))
                short, long = (tasks.http.post(path, content=content, headers=more) for path in (TASKS, f"{TASKS}?&"))
                assert shape(short) == shape(long)
                places = [each.headers.get("location", "").split("/")[:-1] for each in (short, long)]
                assert places[0] == places[1]


def test_tokens(tasks: TaskClient) -> None:
    own = tasks.headers["Authorization"].removeprefix("Bearer ")
    tokens = ("", "Bearer", "Bearer x", "Basic eDp4", "bearer {}", "Bearer  {}", "Bearer {}")
    with cases() as case:
        for method, token in itertools.product(("POST", "GET"), tokens):
            with case(method, token):
                path = TASKS + (tasks.create()["id"] if method == "GET" else "")
                headers = {"Authorization": token.format(own)} if token else {}
                body = BODY if method == "POST" else None
                short, long = (
                    tasks.http.request(method, path + more, headers=headers, json=body) for more in ("", "?&")
                )
                assert shape(short) == shape(long)


def test_reading(tasks: TaskClient) -> None:
    task_id = tasks.create()["id"]
    hex_, other = UUID(task_id).hex, task_id[:-12] + "0" * 12
    with cases() as case:
        for path in (task_id, f"{{{task_id}}}", f"urn:uuid:{task_id}", hex_, task_id.upper(), "nobody's", other):
            with case(path):
                short, long = (tasks.http.get(f"{TASKS}{path}{more}", headers=tasks.headers) for more in ("", "?&"))
                assert shape(short) == shape(long)


def test_the_plain_form_goes_the_short_way(tasks: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else all of the above would compare the long way with itself."""
    from fastapi import routing

    monkeypatch.setattr(routing, "solve_dependencies", None)
    task = tasks.create()
    assert tasks.get(task["id"]).json() == task
    assert tasks.get(task["id"], wait=0).status_code == 500
