"""The short way of a request and FastAPI's own answer alike. An unknown parameter leads to the long one."""

from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.support.task_client import BODY, TaskClient, module_client

client = module_client()
JSON = {"Content-Type": "application/json"}
TEXT = '{"name": "x", "task_type": "x", "celery_task_name": "%s", "args": [60]%s}'
LONG = BODY["celery_task_name"]
BODIES = {
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


@pytest.mark.parametrize("name", BODIES)
def test_creating(tasks: TaskClient, name: str) -> None:
    content, headers = BODIES[name]
    more = list(tasks.headers.items()) + (headers if isinstance(headers, list) else list(headers.items()))
    short, long = (
        tasks.http.post(path, content=content, headers=more) for path in ("/api/v1/tasks/", "/api/v1/tasks/?long=1")
    )
    assert shape(short) == shape(long)
    assert short.headers.get("location", "").split("/")[:-1] == long.headers.get("location", "").split("/")[:-1]


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer x", "Basic eDp4", "bearer {}", "Bearer  {}", "Bearer {}"])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_tokens(tasks: TaskClient, method: str, token: str) -> None:
    path = "/api/v1/tasks/" + (tasks.create()["id"] if method == "GET" else "")
    own = tasks.headers["Authorization"].removeprefix("Bearer ")
    headers = {"Authorization": token.format(own)} if token else {}
    short, long = (
        tasks.http.request(method, path + more, headers=headers, json=BODY if method == "POST" else None)
        for more in ("", "?long=1")
    )
    assert shape(short) == shape(long)


@pytest.mark.parametrize("form", ["{}", "{{{}}}", "urn:uuid:{}", "hex", "upper", "nobody's", "other"])
def test_reading(tasks: TaskClient, form: str) -> None:
    task_id = tasks.create()["id"]
    path = {"hex": UUID(task_id).hex, "upper": task_id.upper(), "other": task_id[:-12] + "0" * 12}.get(
        form, form.format(task_id)
    )
    short, long = tasks.get(path), tasks.get(path, long=1)
    assert shape(short) == shape(long)


def test_the_plain_form_goes_the_short_way(tasks: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else all of the above would compare the long way with itself."""
    from fastapi import routing

    monkeypatch.setattr(routing, "solve_dependencies", None)
    task = tasks.create()
    assert tasks.get(task["id"]).json() == task
    assert tasks.get(task["id"], long=1).status_code == 500
