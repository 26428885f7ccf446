"""What a caller may not see looks like what does not exist."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.accounts import MakeUser
from tests.support.tables import cases
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


def test_another_users_task_answers_as_one_that_does_not_exist(tasks: TaskClient, others: TaskClient) -> None:
    tags = {"If-Match": '"1"', "If-None-Match": "*"}
    with cases() as case:
        for status in ("pending", "running", "succeeded", "failed"):
            task_id = others.task_in(status)
            before = others.get(task_id).json()
            for method, path, body in CALLS:
                with case(status, method, path, body):
                    hidden, unknown = (
                        tasks.request(method, f"{named}{path}", json=body, headers=tags) for named in (task_id, uuid4())
                    )
                    wanted = 403 if body == {"status": "revoked"} else 404
                    assert hidden.status_code == unknown.status_code == wanted
                    assert without_the_request(hidden) == without_the_request(unknown)
                    assert headers_of(hidden) == headers_of(unknown)
                    assert others.get(task_id).json() == before


def headers_of(answer: httpx.Response) -> dict[str, str]:
    return {
        name: text for name, text in answer.headers.items() if name not in {"x-request-id", "date", "content-length"}
    }


class TestSlashes:
    def test_both_forms_answer_without_a_redirect(self, tasks: TaskClient) -> None:
        for number, path in enumerate(("/api/v1/tasks/", "/api/v1/tasks"), 1):
            created = tasks.http.request("POST", path, json=BODY, headers=tasks.headers, follow_redirects=False)
            assert created.status_code == 201, path
            assert created.headers["location"] == TASKS + created.json()["id"]
            listed = tasks.http.request("GET", path, headers=tasks.headers, follow_redirects=False)
            assert (listed.status_code, len(listed.json())) == (200, number), path

    def test_a_wrong_method_names_the_right_ones(self, tasks: TaskClient) -> None:
        answer = tasks.request("PUT", "", json={})
        assert answer.status_code == 405
        assert {"GET", "POST"} <= set(answer.headers["allow"].split(", "))
        # `count` is no id, whatever the query says.
        answer = tasks.patch("count?by=waiting_for", {"name": "x"})
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
