"""Requests with a `unique_key`, and what their answers say."""

from typing import Any
from uuid import UUID

import httpx

from app.db.session import SessionLocal
from app.models.task import Task
from app.schemas.task import TaskCreate
from tests.support.settings import sql
from tests.support.spelling import id_of
from tests.support.task_client import BODY, TASKS, TaskClient
from tests.support.tasks import new_task

KEY = "report 2030-01-01"
ANOTHER_TASK = {"celery_task_name": "app.tasks.common_tasks.fetch_url", "args": ["https://example.com/"]}


def keyed(tasks: TaskClient, on_conflict: str | None = None, **fields: Any) -> httpx.Response:
    more = {} if on_conflict is None else {"on_conflict": on_conflict}
    return tasks.post(body=BODY | {"unique_key": KEY} | more | fields)


def batch(tasks: TaskClient, *wanted: dict[str, Any], **options: Any) -> httpx.Response:
    return tasks.post("batch", {"tasks": [BODY | each for each in wanted]}, **options)


def created(answer: httpx.Response) -> str:
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def answered(answer: httpx.Response) -> dict[str, Any]:
    """The task of a 200, with its headers."""
    assert answer.status_code == 200, answer.text
    task = dict(answer.json())
    assert answer.headers["location"] == TASKS + task["id"]
    assert answer.headers["etag"] == f'"{task["version"]}"'
    return task


def taken(answer: httpx.Response) -> str | None:
    """The `task_id` of a 409."""
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "unique_key_taken"), problem
    assert KEY not in answer.text
    task_id: str | None = problem["task_id"]
    return task_id


def ids(tasks: TaskClient) -> set[str]:
    return {task["id"] for task in tasks.get().json()}


def want(key: str | None, on_conflict: str | None = None, **fields: Any) -> dict[str, Any]:
    """A task of a batch, without what is the same for all."""
    named = {"unique_key": key, "on_conflict": on_conflict}
    return {name: value for name, value in named.items() if value is not None} | fields


def create(user: UUID, on_conflict: str = "reject", **fields: Any) -> Task:
    """By `task_service`, in a session of its own."""
    with SessionLocal() as db:
        return new_task(db, user, unique_key=KEY, on_conflict=on_conflict, **fields)


def wanted(*keys: str | None, on_conflict: str = "reject") -> list[TaskCreate]:
    """Tasks with these keys; None: without one."""
    named = [{} if key is None else {"unique_key": key, "on_conflict": on_conflict} for key in keys]
    return [TaskCreate.model_validate(BODY | each) for each in named]


def active(user: UUID) -> list[tuple[UUID, str]]:
    """The pending and running tasks of a user, and their keys."""
    query = "SELECT id, unique_key FROM tasks WHERE user_id = :user AND finished_at IS NULL ORDER BY id"
    return [(id_of(row.id), row.unique_key) for row in sql(query, user=user)]
