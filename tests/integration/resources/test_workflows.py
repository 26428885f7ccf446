"""Workflows over HTTP: what is answered, to whom, and under an idempotency key."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from app.core.config import get_settings
from app.services.workflows import dependents
from tests.support.accounts import bearer
from tests.support.task_client import module_client
from tests.support.workflows import sleep

shared = module_client()
WORKFLOWS = "/api/v1/workflows/"
TWO: dict[str, Any] = {"name": "two", "tasks": [sleep("a", delay_seconds=3600), sleep("b", "a")]}
Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask_as(shared: TestClient, make_user: Callable[..., Any]) -> Callable[..., Ask]:
    def make(role: str = "user") -> Ask:
        _, token = make_user(role)

        def ask(method: str, path: str = "", body: Any = None, **headers: str) -> httpx.Response:
            return shared.request(method, WORKFLOWS + path, json=body, headers=bearer(token) | headers)

        return ask

    return make


@pytest.fixture
def ask(ask_as: Callable[..., Ask]) -> Ask:
    return ask_as()


class TestLife:
    def test_is_created_read_cancelled_retried_and_deleted(self, ask: Ask) -> None:
        answer = ask("POST", body=TWO)
        made = answer.json()
        assert (answer.status_code, answer.headers["location"]) == (201, WORKFLOWS + made["id"])
        assert (made["status"], made["on_failure"], made["counts"]["pending"]) == ("pending", "cancel", 2)
        assert [(task["ref"], task["depends_on"]) for task in made["tasks"]] == [("a", []), ("b", ["a"])]
        assert ask("GET", made["id"]).json() == made
        (listed,) = ask("GET").json()
        assert listed == {name: value for name, value in made.items() if name != "tasks"}
        assert ask("DELETE", made["id"]).json()["code"] == "workflow_active"
        assert ask("POST", f"{made['id']}/retry").json()["code"] == "workflow_transition"
        cancelled = ask("POST", f"{made['id']}/cancel")
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "revoked")
        retried = ask("POST", f"{made['id']}/retry")
        assert (retried.status_code, retried.json()["status"]) == (200, "running")
        assert ask("POST", f"{made['id']}/cancel").status_code == 200
        assert ask("DELETE", made["id"]).status_code == 204
        assert ask("GET", made["id"]).json()["code"] == "workflow_not_found"
        assert dependents.flush_releases(10)

    def test_is_listed_by_filters_and_pages(self, ask: Ask) -> None:
        made = [ask("POST", body=TWO | {"name": name}).json()["id"] for name in ("nightly", "weekly", "Nightly 2")]
        assert [each["id"] for each in ask("GET", "?name=nightly").json()] == [made[2], made[0]]
        assert ask("GET", "?status=running").json() == []
        first = ask("GET", "?status=pending&limit=2")
        assert [each["id"] for each in first.json()] == [made[2], made[1]]
        assert [each["id"] for each in ask("GET", "?" + first.links["next"]["url"].partition("?")[2]).json()] == [
            made[0]
        ]
        assert ask("GET", "?state=running").json()["code"] == "unknown_parameter"


class TestKey:
    def test_makes_one_workflow_also_at_the_quota(self, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(get_settings(), "quota_queued_tasks", len(TWO["tasks"]))
        key = {"Idempotency-Key": "k"}
        first, again = (ask("POST", "", TWO, **key) for _ in range(2))
        assert again.json() == first.json()
        assert "idempotency-replayed" not in first.headers
        assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
        assert ask("POST", "", TWO | {"name": "other"}, **key).json()["code"] == "idempotency_key_reused"
        ask("POST", f"{first.json()['id']}/cancel")
        ask("DELETE", first.json()["id"])
        assert ask("POST", "", TWO, **key).json()["code"] == "idempotent_workflow_deleted"
        assert dependents.flush_releases(10)


class TestErrors:
    def test_name_the_place(self, ask: Ask) -> None:
        wrong = TWO | {"tasks": [sleep("a", "b"), sleep("b", "a")]}
        answer = ask("POST", body=wrong)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_workflow")
        assert answer.json()["errors"][0]["msg"].startswith("these tasks wait for each other: ")
        misfit = ask("POST", body=TWO | {"tasks": [sleep("a"), sleep("b", args=["x"])]}).json()
        assert misfit["errors"][0]["loc"] == ["body", "tasks", 1, "args", "duration"]
        unknown = ask("POST", body=TWO | {"tasks": [sleep("a") | {"run_ta": 1}]}).json()
        assert unknown["errors"][0]["loc"] == ["body", "tasks", 0, "run_ta"]

    def test_of_a_quota_make_nothing(self, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(get_settings(), "quota_queued_tasks", 1)
        answer = ask("POST", body=TWO)
        assert (answer.status_code, answer.json()["code"]) == (429, "queued_tasks_quota")
        assert ask("GET").json() == []

    def test_of_another_user_it_is_not_found(self, ask: Ask, ask_as: Callable[..., Ask]) -> None:
        made, other, admin = ask("POST", body=TWO).json()["id"], ask_as(), ask_as("admin")
        for method, path in (("GET", made), ("POST", f"{made}/cancel"), ("POST", f"{made}/retry"), ("DELETE", made)):
            assert other(method, path).status_code == 404
        assert other("GET").json() == []
        assert admin("GET", made).json()["id"] == made
        assert made in [each["id"] for each in admin("GET").json()]
