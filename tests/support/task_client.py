"""What tests of the task endpoints say to the application in this process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest
from starlette.testclient import TestClient

from app.db.session import SessionLocal
from app.models.task import Task, TaskStatus
from tests.support.accounts import bearer
from tests.support.services import Services
from tests.support.settings import make_app, on_new_database
from tests.support.tasks import LONG_RUNNING, task_in

TASKS = "/api/v1/tasks/"
BODY: dict[str, Any] = {"name": "数据处理任务", "task_type": "data", "celery_task_name": LONG_RUNNING, "args": [60]}


class TaskClient:
    """One user's view: `get`, `post`, … take paths below /api/v1/tasks/."""

    def __init__(self, http: httpx.Client, user: dict[str, Any], token: str) -> None:
        self.http, self.user, self.token, self.headers = http, user, token, bearer(token)

    def request(self, method: str, path: str = "", **options: Any) -> httpx.Response:
        headers = {**self.headers, **options.pop("headers", {})}
        return self.http.request(method, TASKS + str(path), headers=headers, follow_redirects=False, **options)

    def get(self, path: Any = "", **params: Any) -> httpx.Response:
        return self.request("GET", path, params=params)

    def post(self, path: Any = "", body: Any = None, **options: Any) -> httpx.Response:
        return self.request("POST", path, json=body, **options)

    def patch(self, path: Any, body: Any, **options: Any) -> httpx.Response:
        return self.request("PATCH", path, json=body, **options)

    def delete(self, path: Any, **params: Any) -> httpx.Response:
        return self.request("DELETE", path, params=params)

    def create(self, **fields: Any) -> dict[str, Any]:
        answer = self.post(body=BODY | fields)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def task_in(self, status: str, **options: Any) -> str:
        """The id of a task of this user in that state."""
        with SessionLocal() as db:
            return str(task_in(db, TaskStatus(status), self.user["id"], **options).id)


def is_waited_for(http: httpx.Client, task_id: str) -> bool:
    """Whether a request to the application in this process waits for a change of the task."""
    assert isinstance(http, TestClient)
    watch = http.app_state["watcher"].watches.tasks.get(UUID(task_id))
    return watch is not None and bool(watch.waiting)


def without_the_request(answer: httpx.Response) -> dict[str, Any]:
    """A problem without what tells this request from another one."""
    return {name: value for name, value in answer.json().items() if name not in {"instance", "request_id"}}


def stored(task_id: str) -> Task:
    with SessionLocal() as db:
        task = db.get(Task, task_id)
        assert task is not None
        return task


@contextmanager
def shared_client(services: Services, **more: str) -> Iterator[TestClient]:
    """As the fixture `client`, for all tests of a module: each of them has users of its own. `more` are settings."""
    with on_new_database(services, **more), TestClient(make_app(), raise_server_exceptions=False) as started:
        yield started


def module_client(**more: str) -> Any:
    """`client = module_client()` in a test file gives all its tests one `client`; `more` are settings."""

    @pytest.fixture(scope="module")
    def client(services: Services) -> Iterator[TestClient]:
        with shared_client(services, **more) as started:
            yield started

    return client


def task_client(client: httpx.Client, make_user: Callable[..., Any], role: str = "user") -> TaskClient:
    return TaskClient(client, *make_user(role))
