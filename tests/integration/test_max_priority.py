"""The highest priority that a user may give to tasks: administrators set it, and it holds on every way to a task."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.db.session import SessionLocal
from app.errors import PriorityNotAllowed
from app.schemas.task import TaskCreate
from app.services.task_service import task_service
from tests.support.accounts import API, PASSWORD, MakeUser, bearer
from tests.support.task_client import BODY, TaskClient, module_client, stored, task_client

client = module_client()
Limit = Callable[[str], None]
PRIORITIES = ("low", "normal", "high", "critical")


@pytest.fixture
def boss(client: httpx.Client, make_user: MakeUser) -> TaskClient:
    return task_client(client, make_user, "admin")


@pytest.fixture
def limit(client: httpx.Client, tasks: TaskClient, boss: TaskClient) -> Limit:
    """`limit("normal")`: an administrator sets the highest priority of the user of `tasks`."""

    def change(priority: str) -> None:
        path, body = f"{API}/users/{tasks.user['id']}", {"max_priority": priority}
        answer = client.patch(path, json=body, headers=bearer(boss.token))
        assert (answer.status_code, answer.json()["max_priority"]) == (200, priority)

    return change


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


REFUSED = (403, "priority_not_allowed")


class TestTheSetting:
    def test_is_critical_at_first_and_only_administrators_see_and_change_it(
        self, client: httpx.Client, tasks: TaskClient, boss: TaskClient, limit: Limit
    ) -> None:
        path = f"{API}/users/{tasks.user['id']}"
        assert client.get(path, headers=bearer(boss.token)).json() == {
            **tasks.user,
            "max_priority": "critical",
            "weight": 1,
        }
        assert client.get(f"{API}/users/me", headers=tasks.headers).json() == tasks.user
        own = client.patch(f"{API}/users/me", json={"max_priority": "low"}, headers=tasks.headers)
        assert own.status_code == 422
        assert client.patch(path, json={"max_priority": "low"}, headers=tasks.headers).status_code == 403
        limit("low")
        assert "max_priority" not in client.get(f"{API}/users/me", headers=tasks.headers).json()
        listed = client.get(f"{API}/users/?limit=200", headers=bearer(boss.token)).json()
        assert {user["id"]: user["max_priority"] for user in listed}[tasks.user["id"]] == "low"

    def test_of_a_new_user(self, client: httpx.Client, boss: TaskClient) -> None:
        def create(name: str, **fields: Any) -> httpx.Response:
            body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD, **fields}
            return client.post(f"{API}/users/", json=body, headers=bearer(boss.token))

        assert create("dora").json()["max_priority"] == "critical"
        assert create("emil", max_priority="high").json()["max_priority"] == "high"
        for wrong in ("urgently", 2, None, True, ["low"]):
            assert create("fred", max_priority=wrong).status_code == 422


class TestEveryWay:
    @pytest.mark.parametrize("highest", PRIORITIES[:-1])
    def test_to_a_new_task(self, tasks: TaskClient, limit: Limit, highest: str) -> None:
        """By the fast path, with an idempotency key, with a query and in a batch, by login and by API key."""
        key = tasks.http.post(
            f"{API}/auth/api-keys", json={"name": "k", "scopes": ["tasks:write"]}, headers=tasks.headers
        )
        limit(highest)
        headers = [tasks.headers, bearer(key.json()["key"])]
        for at, priority in enumerate(PRIORITIES):
            body = {**BODY, "priority": priority}
            ways = [
                answer
                for number, by in enumerate(headers)
                for answer in (
                    tasks.post(body=body, headers=by),
                    tasks.post(body=body, headers={**by, "Idempotency-Key": f"{number}{priority}"}),
                    tasks.post("?&", body, headers=by),
                    tasks.post("batch", {"tasks": [{**BODY, "priority": "low"}, body]}, headers=by),
                )
            ]
            if at <= PRIORITIES.index(highest):
                assert {answer.status_code for answer in ways} == {201}
            else:
                assert {refused(answer) for answer in ways} == {REFUSED}
                assert highest in ways[0].json()["detail"]

    def test_to_a_new_task_without_a_priority_which_is_normal(self, tasks: TaskClient, limit: Limit) -> None:
        limit("low")
        assert refused(tasks.post(body=BODY)) == REFUSED

    def test_to_a_higher_priority_of_a_pending_task(self, tasks: TaskClient, limit: Limit) -> None:
        task_id = tasks.create(priority="low")["id"]
        limit("normal")
        assert refused(tasks.patch(task_id, {"priority": "high"})) == REFUSED
        assert stored(task_id).priority == "low"
        assert tasks.patch(task_id, {"priority": "normal"}).status_code == 200

    def test_to_another_run_of_a_task(self, tasks: TaskClient, limit: Limit) -> None:
        above, below = (tasks.create(priority=priority)["id"] for priority in ("critical", "normal"))
        for task_id in (above, below):
            assert tasks.post(f"{task_id}/cancel").status_code == 200
        limit("normal")
        assert refused(tasks.post(f"{above}/retry")) == REFUSED
        assert stored(above).status == "revoked"
        assert tasks.post(f"{below}/retry").status_code == 202
        limit("critical")
        assert tasks.post(f"{above}/retry").status_code == 202

    def test_to_a_task_that_python_code_creates(self, tasks: TaskClient, limit: Limit) -> None:
        limit("normal")
        owner = UUID(tasks.user["id"])
        with SessionLocal() as session:
            with pytest.raises(PriorityNotAllowed, match="normal at most, and not high"):
                task_service.create_task(session, **BODY, priority="high", user_id=owner)
            wanted = [TaskCreate(**BODY), TaskCreate(**{**BODY, "priority": "critical"})]
            with pytest.raises(PriorityNotAllowed):
                task_service.create_tasks(session, wanted, owner)
            task, _ = task_service.create_task(session, **BODY, user_id=owner)
            assert task_service.get_task_count(session, user_id=owner) == 1
            assert task.priority == "normal"


class TestWhatItLeavesAlone:
    def test_pending_tasks(self, tasks: TaskClient, limit: Limit) -> None:
        task = tasks.create(priority="critical")
        limit("low")
        assert tasks.get(task["id"]).json() == task
        assert tasks.patch(task["id"], {"name": "another"}).status_code == 200

    def test_what_an_administrator_does_with_the_users_tasks(
        self, tasks: TaskClient, boss: TaskClient, limit: Limit
    ) -> None:
        """The caller's own limit holds."""
        task_id = tasks.create(priority="low")["id"]
        limit("low")
        assert boss.patch(task_id, {"priority": "critical"}).json()["priority"] == "critical"
        assert boss.post(f"{task_id}/cancel").status_code == 200
        assert refused(tasks.post(f"{task_id}/retry")) == REFUSED
        assert boss.post(f"{task_id}/retry").status_code == 202

    def test_administrators_are_no_exception(self, client: httpx.Client, boss: TaskClient) -> None:
        path = f"{API}/users/{boss.user['id']}"
        assert client.patch(path, json={"max_priority": "high"}, headers=boss.headers).status_code == 200
        assert refused(boss.post(body={**BODY, "priority": "critical"})) == REFUSED
