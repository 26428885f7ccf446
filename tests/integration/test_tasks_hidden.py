"""What a caller may not see looks like what does not exist; and every answer is one that the document declares."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.task_client import BODY, TASKS, TaskClient, module_client, task_client

client = module_client()
CALLS: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("GET", "?wait=5", None),
    ("PATCH", "", {"name": "taken over"}),
    ("PATCH", "", {"priority": "high"}),
    ("PATCH", "", {"status": "revoked"}),
    ("DELETE", "", None),
    ("DELETE", "?force=true", None),
    ("POST", "/cancel", None),
    ("POST", "/retry", None),
    ("GET", "/attempts", None),
]


@pytest.fixture
def mine(client: httpx.Client, make_user: Callable[..., Any]) -> TaskClient:
    return task_client(client, make_user)


@pytest.fixture
def theirs(client: httpx.Client, make_user: Callable[..., Any]) -> TaskClient:
    return task_client(client, make_user)


def without_the_request(answer: httpx.Response) -> dict[str, Any]:
    return {name: value for name, value in answer.json().items() if name not in {"instance", "request_id"}}


@pytest.mark.parametrize("status", ["pending", "running", "succeeded", "failed"])
@pytest.mark.parametrize(("method", "path", "body"), CALLS, ids=str)
def test_anothers_task_answers_as_one_that_does_not_exist(
    mine: TaskClient, theirs: TaskClient, status: str, method: str, path: str, body: Any
) -> None:
    task_id = theirs.task_in(status)
    before = theirs.get(task_id).json()
    hidden = mine.request(method, f"{task_id}{path}", json=body, headers={"If-Match": '"1"', "If-None-Match": "*"})
    unknown = mine.request(method, f"{uuid4()}{path}", json=body, headers={"If-Match": '"1"', "If-None-Match": "*"})
    assert hidden.status_code == unknown.status_code == (403 if body == {"status": "revoked"} else 404)
    assert without_the_request(hidden) == without_the_request(unknown)
    varying = {"x-request-id", "date"}
    assert {k: v for k, v in hidden.headers.items() if k not in {*varying, "content-length"}} == {
        k: v for k, v in unknown.headers.items() if k not in {*varying, "content-length"}
    }
    assert theirs.get(task_id).json() == before


def test_an_administrator_reaches_anybodys_task(
    client: httpx.Client, make_user: Callable[..., Any], theirs: TaskClient
) -> None:
    admin = task_client(client, make_user, "admin")
    task_id = theirs.create()["id"]
    assert admin.get(task_id).json()["user_id"] == theirs.user["id"]
    assert admin.post(f"{task_id}/cancel").status_code == 200
    assert admin.delete(task_id).status_code == 204


@pytest.mark.parametrize("task_id", ["1", "not-a-uuid", "' OR 1=1 --", "..%2f..", "0" * 40, "数"])
def test_an_id_that_is_none_is_refused(mine: TaskClient, task_id: str) -> None:
    answer = mine.get(task_id)
    assert answer.status_code in {404, 422}
    assert answer.headers["content-type"] == "application/problem+json"


class TestSlashes:
    @pytest.mark.parametrize("path", ["/api/v1/tasks/", "/api/v1/tasks"])
    def test_both_forms_answer_without_a_redirect(self, mine: TaskClient, path: str) -> None:
        created = mine.http.request("POST", path, json=BODY, headers=mine.headers, follow_redirects=False)
        assert created.status_code == 201
        assert created.headers["location"] == TASKS + created.json()["id"]
        listed = mine.http.request("GET", path, headers=mine.headers, follow_redirects=False)
        assert (listed.status_code, len(listed.json())) == (200, 1)

    def test_a_wrong_method_names_the_right_ones(self, mine: TaskClient) -> None:
        answer = mine.request("PUT", "", json={})
        assert answer.status_code == 405
        assert {"GET", "POST"} <= set(answer.headers["allow"].split(", "))


class TestTheDocument:
    def test_declares_every_answer_that_the_task_endpoints_give(
        self, client: httpx.Client, make_user: Callable[..., Any], mine: TaskClient
    ) -> None:
        document = client.get("/openapi.json").json()
        admin = task_client(client, make_user, "admin")
        for who, answers in (("user", _answers(mine)), ("admin", _answers(admin))):
            for method, path, answer in answers:
                declared = document["paths"][path][method.lower()]["responses"]
                assert str(answer.status_code) in declared, (who, method, path, answer.status_code)
                kind = answer.headers.get("content-type")
                if answer.content:
                    assert kind in declared[str(answer.status_code)].get("content", {}), (method, path, answer)

    def test_shows_an_example_and_a_description_of_every_call(self, client: httpx.Client) -> None:
        document = client.get("/openapi.json").json()
        for path, methods in document["paths"].items():
            for method, call in methods.items():
                assert call.get("summary"), (method, path)
                assert call.get("description"), (method, path)


def _answers(tasks: TaskClient) -> list[tuple[str, str, httpx.Response]]:
    """Every call in every state, with a good and a bad body, with and without a token."""
    base, one = "/api/v1/tasks/", "/api/v1/tasks/{task_id}"
    found = [
        ("POST", base, tasks.post(body=BODY)),
        ("POST", base, tasks.post(body={})),
        ("POST", base, tasks.request("POST", content=b"{", headers={"Content-Type": "application/json"})),
        ("POST", base, tasks.http.post(TASKS, json=BODY)),
        ("GET", base, tasks.get()),
        ("GET", base, tasks.get(limit=0)),
        ("GET", base, tasks.get(user_id="all")),
        ("GET", base, tasks.get(cursor="x")),
        ("GET", f"{base}count", tasks.get("count")),
        ("GET", f"{base}count", tasks.get("count", user_id="all")),
        ("GET", f"{base}types", tasks.get("types")),
    ]
    for status in ("pending", "running", "succeeded", "failed", "revoked"):
        for method, path, body in CALLS:
            task_id = tasks.task_in(status)
            name = one + path.partition("?")[0]
            found.append((method, name, tasks.request(method, task_id + path.replace("wait=5", "wait=0.1"), json=body)))
            found.append((method, name, tasks.request(method, f"x{path}", json=body)))
            found.append((method, name, tasks.http.request(method, TASKS + task_id, json=body)))
    tag = {"If-None-Match": "*", "If-Match": '"999"'}
    found.append(("GET", one, tasks.request("GET", tasks.task_in("pending"), headers=tag)))
    found.append(("PATCH", one, tasks.request("PATCH", tasks.task_in("pending"), json={"name": "b"}, headers=tag)))
    return [(method, path, answer) for method, path, answer in found if answer.status_code != 405]
