"""Deployments that the tests of a module share, and users of such a deployment."""

from collections.abc import Iterator
from typing import Any

import pytest

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
        rows = self.stack.sql(FILL, user=self.user["id"], number=number)
        return [str(row[0]) for row in rows]


FILL = """
    INSERT INTO tasks (id, user_id, name, task_type, celery_task_name, args, kwargs, priority, queue, celery_id, status,
                       due_at)
    SELECT gen_random_uuid(), :user, 'x', 'x', 'tests.echo', '[]', '{}', 'low', 'low_priority', gen_random_uuid(),
           'pending', now() + interval '1 day'
    FROM generate_series(1, :number) RETURNING id
"""
