"""The weight of a user: administrators set it, and it is the user's share of the starts."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from app.core.ids import new_id
from app.db.session import SessionLocal
from app.db.statements.pending_rows import TaskNames
from app.models.task import Task
from app.services.execution.claims import Claims
from tests.support.accounts import API, PASSWORD, MakeUser, bearer
from tests.support.task_client import BODY, TaskClient, module_client, task_client
from tests.support.tasks import LONG_RUNNING, WORKER

client = module_client()
SetWeight = Callable[[TaskClient, int], None]


@pytest.fixture
def boss(client: httpx.Client, make_user: MakeUser) -> TaskClient:
    return task_client(client, make_user, "admin")


@pytest.fixture
def set_weight(client: httpx.Client, boss: TaskClient) -> SetWeight:
    def change(whose: TaskClient, weight: int) -> None:
        answer = client.patch(f"{API}/users/{whose.user['id']}", json={"weight": weight}, headers=bearer(boss.token))
        assert (answer.status_code, answer.json()["weight"]) == (200, weight)

    return change


class TestTheSetting:
    def test_is_1_at_first_and_only_administrators_see_and_change_it(
        self, client: httpx.Client, tasks: TaskClient, boss: TaskClient, set_weight: SetWeight
    ) -> None:
        path = f"{API}/users/{tasks.user['id']}"
        assert client.get(path, headers=bearer(boss.token)).json()["weight"] == 1
        assert "weight" not in client.get(f"{API}/users/me", headers=tasks.headers).json()
        assert client.patch(f"{API}/users/me", json={"weight": 100}, headers=tasks.headers).status_code == 422
        assert client.patch(path, json={"weight": 100}, headers=tasks.headers).status_code == 403
        set_weight(tasks, 100)
        assert "weight" not in client.get(f"{API}/users/me", headers=tasks.headers).json()
        listed = client.get(f"{API}/users/?limit=200", headers=bearer(boss.token)).json()
        assert {user["id"]: user["weight"] for user in listed}[tasks.user["id"]] == 100

    def test_is_1_to_100(self, client: httpx.Client, tasks: TaskClient, boss: TaskClient) -> None:
        def create(name: str, **fields: Any) -> httpx.Response:
            body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD, **fields}
            return client.post(f"{API}/users/", json=body, headers=bearer(boss.token))

        assert create("gerd").json()["weight"] == 1
        assert create("hans", weight=100).json()["weight"] == 100
        path = f"{API}/users/{tasks.user['id']}"
        for wrong in (0, 101, -1, 1.5, "many", None, True, [1]):
            assert create("ines", weight=wrong).status_code == 422
            answer = client.patch(path, json={"weight": wrong}, headers=bearer(boss.token))
            assert answer.status_code == 422


class TestShares:
    @pytest.fixture
    def two(self, client: httpx.Client, make_user: MakeUser) -> tuple[TaskClient, TaskClient]:
        return task_client(client, make_user), task_client(client, make_user)

    def test_each_user_starts_the_share_of_the_weight_whatever_the_backlogs_are(
        self, two: tuple[TaskClient, TaskClient], set_weight: SetWeight
    ) -> None:
        light, heavy = two
        set_weight(heavy, 3)
        queue(light, 60, "high")
        queue(heavy, 30, "high")
        owners = starts(20, "high_priority", "high")
        assert owners == {light.user["id"]: 5, heavy.user["id"]: 15}

    def test_a_change_holds_for_tasks_that_become_due_from_then_on(
        self, two: tuple[TaskClient, TaskClient], set_weight: SetWeight
    ) -> None:
        first, second = two
        queue(first, 20, "low")
        queue(second, 10, "low")
        set_weight(second, 10)
        queue(second, 20, "low")
        assert starts(20, "low_priority", "low") == {first.user["id"]: 10, second.user["id"]: 10}
        later = starts(16, "low_priority", "low")
        assert later[second.user["id"]] >= 14


def queue(whose: TaskClient, number: int, priority: str) -> None:
    answer = whose.post("batch", {"tasks": [{**BODY, "priority": priority}] * number})
    assert answer.status_code == 201


def starts(number: int, queue: str, priority: str) -> dict[str, int]:
    """Whose tasks the next so many claims take: each is taken alone, as a task of unknown duration is."""
    claims, names = Claims([(queue, priority)]), TaskNames([LONG_RUNNING], [])
    with SessionLocal() as db:
        taken = []
        for _ in range(number):
            (claim,) = claims.next(db, names, new_id(), WORKER)
            taken.append(claim.id)
            db.commit()
        owners = db.scalars(select(Task.user_id).where(Task.id.in_(taken)))
        return dict(Counter(map(str, owners)))
