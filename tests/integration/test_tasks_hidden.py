"""What a caller may not see looks like what does not exist."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.accounts import MakeUser
from tests.support.task_client import BODY, TASKS, TaskClient, module_client, task_client, without_the_request

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
    ("POST", "/retry", {"args": [1]}),
    ("POST", "/run-now", None),
    ("PATCH", "", {"args": ["not valid"]}),
    ("GET", "/attempts", None),
]


@pytest.fixture
def others(client: httpx.Client, make_user: MakeUser) -> TaskClient:
    return task_client(client, make_user)


@pytest.mark.parametrize("status", ["pending", "running", "succeeded", "failed"])
@pytest.mark.parametrize(("method", "path", "body"), CALLS, ids=str)
def test_another_users_task_answers_as_one_that_does_not_exist(
    tasks: TaskClient, others: TaskClient, status: str, method: str, path: str, body: Any
) -> None:
    task_id = others.task_in(status)
    before = others.get(task_id).json()
    hidden = tasks.request(method, f"{task_id}{path}", json=body, headers={"If-Match": '"1"', "If-None-Match": "*"})
    unknown = tasks.request(method, f"{uuid4()}{path}", json=body, headers={"If-Match": '"1"', "If-None-Match": "*"})
    assert hidden.status_code == unknown.status_code == (403 if body == {"status": "revoked"} else 404)
    assert without_the_request(hidden) == without_the_request(unknown)
    for name in {*hidden.headers, *unknown.headers} - {"x-request-id", "date", "content-length"}:
        assert hidden.headers.get(name) == unknown.headers.get(name), name
    assert others.get(task_id).json() == before


@pytest.mark.parametrize("task_id", ["1", "not-a-uuid", "' OR 1=1 --", "..%2f..", "0" * 40, "数"])
def test_an_id_that_is_none_is_refused(tasks: TaskClient, task_id: str) -> None:
    answer = tasks.get(task_id)
    assert answer.status_code in {404, 422}
    assert answer.headers["content-type"] == "application/problem+json"


class TestSlashes:
    @pytest.mark.parametrize("path", ["/api/v1/tasks/", "/api/v1/tasks"])
    def test_both_forms_answer_without_a_redirect(self, tasks: TaskClient, path: str) -> None:
        created = tasks.http.request("POST", path, json=BODY, headers=tasks.headers, follow_redirects=False)
        assert created.status_code == 201
        assert created.headers["location"] == TASKS + created.json()["id"]
        listed = tasks.http.request("GET", path, headers=tasks.headers, follow_redirects=False)
        assert (listed.status_code, len(listed.json())) == (200, 1)

    def test_a_wrong_method_names_the_right_ones(self, tasks: TaskClient) -> None:
        answer = tasks.request("PUT", "", json={})
        assert answer.status_code == 405
        assert {"GET", "POST"} <= set(answer.headers["allow"].split(", "))
