"""Deployments that the tests of a module share, and users of such a deployment."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert

from app.models import Task
from tests.support.event_reader import EventReader
from tests.support.running import TASKS, Running, example_stack
from tests.support.services import Services
from tests.support.stack import Stack


def module_running(*, worker: int = 2, **settings: str) -> Any:
    """`running = module_running()` in a test file gives all its tests one API, and a worker with so many processes."""

    @pytest.fixture(scope="module")
    def running(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
        with example_stack(services, tmp_path_factory.mktemp("running"), **settings) as started:
            started.stack.server()
            started.stack.worker(concurrency=worker)
            yield started

    return running


LATER = {"delay_seconds": 3600}
TASK = {"name": "x", "task_type": "x", "celery_task_name": "app.tasks.common_tasks.long_running_task", "args": [0]}


class Person:
    """A new user of a deployment, with a login and live events of their own."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.user, self.token = stack.make_user()
        self.http = stack.api(self.token)

    def create(self, **fields: Any) -> str:
        answer = self.http.post(TASKS, json=TASK | fields)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def follow(self, task_id: str, **options: Any) -> EventReader:
        """The events of one task."""
        return EventReader(self.stack.url, f"{TASKS}{task_id}/events", self.token, **options)

    def feed(self, **options: Any) -> EventReader:
        """The events of all their tasks."""
        return EventReader(self.stack.url, f"{TASKS}events", self.token, **options)

    def fill(self, number: int) -> list[str]:
        """So many tasks for tomorrow, straight into the table; their ids."""
        ids = [uuid4() for _ in range(number)]
        due = self.stack.now() + timedelta(days=1)
        rows = [{**FILLED, "id": each, "celery_id": uuid4(), "due_at": due} for each in ids]
        with self.stack.engine.begin() as connection:
            connection.execute(insert(Task), [{**row, "user_id": UUID(self.user["id"])} for row in rows])
        return [str(each) for each in ids]


FILLED = {
    "name": "x",
    "task_type": "x",
    "celery_task_name": "tests.echo",
    "args": [],
    "kwargs": {},
    "priority": "low",
    "queue": "low_priority",
    "status": "pending",
}
