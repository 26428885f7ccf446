"""A shared deployment with the example tasks, and what tests say to it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import redis
from kombu import pools

from tests.report.recorded import is_promised
from tests.support.services import Services
from tests.support.stack import Part, Stack
from tests.support.waiting import wait_for

TASKS = "/api/v1/tasks/"
LOAD_EXAMPLES = {"TASK_MODULES": '["tests.support.example_tasks"]'}
TERMINAL = ("succeeded", "failed", "revoked")
# Generous: two cores, shared with whatever else runs on them.
SECONDS = 40.0


# The fixture `start`.
Start = Callable[..., "Running"]


@contextmanager
def example_stack(services: Services, directory: Path, **settings: str) -> Iterator["Running"]:
    with Stack(services, directory, **{**LOAD_EXAMPLES, **settings}) as stack:
        yield Running(stack)


class Running:
    """Creates tasks as a client does, and waits for what becomes of them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    @cached_property
    def http(self) -> httpx.Client:
        return self.stack.api()

    @property
    def worker(self) -> Part:
        """The first worker that was started."""
        return next(part for part in self.stack.parts if part.name.startswith("worker"))

    @property
    def token(self) -> str:
        """Of the user as whom `http` speaks."""
        return str(self.http.headers["Authorization"]).removeprefix("Bearer ")

    def create(self, name: str, /, *args: Any, kwargs: dict[str, Any] | None = None, **fields: Any) -> str:
        """A task of `tests.support.example_tasks`; its id."""
        full = name if name.startswith("app.") else f"tests.{name}"
        body = {"name": name, "task_type": "test", "celery_task_name": full, "args": [*args], "kwargs": kwargs or {}}
        answer = self.http.post(TASKS, json=body | fields)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def get(self, task_id: str) -> dict[str, Any]:
        answer = self.http.get(TASKS + task_id)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def post(self, task_id: str, action: str) -> httpx.Response:
        return self.http.post(f"{TASKS}{task_id}/{action}")

    def attempts(self, task_id: str) -> list[dict[str, Any]]:
        return list(self.http.get(f"{TASKS}{task_id}/attempts").json())

    def outcomes(self, task_id: str) -> list[str]:
        return [attempt["outcome"] for attempt in self.attempts(task_id)]

    def ran_once(self, ids: Sequence[str]) -> None:
        """Each of them succeeds in the first attempt whose body begins.

        Rows of a batch that do not begin within 100 ms are given back, which a machine that stands still causes.
        """
        for task_id in ids:
            assert self.ended(task_id)["status"] == "succeeded", task_id
            *before, last = self.outcomes(task_id)
            with is_promised():
                assert (last, {*before} - {"handed_back"}) == ("succeeded", set()), task_id

    def status(self, task_id: str) -> str:
        return str(self.stack.sql("SELECT status FROM tasks WHERE id = :id", id=task_id)[0][0])

    def until(self, task_id: str, *statuses: str, seconds: float = SECONDS) -> dict[str, Any]:
        """The task, once it has one of these statuses."""
        wait_for(lambda: self.status(task_id) in statuses, seconds, f"task {task_id} to be {' or '.join(statuses)}")
        return self.get(task_id)

    def ended(self, task_id: str, seconds: float = SECONDS) -> dict[str, Any]:
        return self.until(task_id, *TERMINAL, seconds=seconds)

    def run(self, name: str, *args: Any, **options: Any) -> dict[str, Any]:
        """Create it and see it end."""
        return self.ended(self.create(name, *args, **options))


@contextmanager
def fresh_connections() -> Iterator[None]:
    """For messages of the test's own: Celery keeps its connections from one test's broker to the next one's."""
    _forget_connections()
    yield
    _forget_connections()


def _forget_connections() -> None:
    from app.celery_app import celery_app

    pools.reset()
    celery_app._pool = celery_app.amqp._producer_pool = None


def messages(broker: redis.Redis, queue: str) -> int:
    """How many wait in the queue."""
    return sum(int(broker.llen(key)) for key in lists(broker, queue))


def lists(broker: redis.Redis, queue: str) -> list[bytes]:
    """kombu's lists of the queue, one for each message priority; those of higher priorities sort first."""
    return sorted(key for key in broker.scan_iter(f"{queue}*") if broker.type(key) == b"list")


def lines(ledger: Path) -> list[str]:
    return ledger.read_text(encoding="utf-8").splitlines() if ledger.exists() else []


def started(ledger: Path, times: int = 1, seconds: float = SECONDS) -> list[str]:
    """The ledger, once so many bodies have started."""
    return wait_for(lambda: len(lines(ledger)) >= times and lines(ledger), seconds, f"start {times} in {ledger.name}")
