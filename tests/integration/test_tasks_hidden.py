"""What a caller may not see looks like what does not exist."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

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
    ("GET", "/attempts", None),
]


@pytest.fixture
def mine(client: httpx.Client, make_user: Callable[..., Any]) -> TaskClient:
    return task_client(client, make_user)


@pytest.fixture
def theirs(client: httpx.Client, make_user: Callable[..., Any]) -> TaskClient:
    return task_client(client, make_user)


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
