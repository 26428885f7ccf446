"""What tests of bulk operations say: over HTTP, and as maintenance."""

from threading import Event
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select

from app.core.ids import new_id
from app.db.session import SessionLocal
from app.maintenance.passes.backlogs import take_bulk_steps
from app.models.task import Task
from tests.support.accounts import API
from tests.support.task_client import TaskClient


def run(rounds: int = 0) -> None:
    """What maintenance does until no deed moves any more, or in so many rounds."""
    stopping = Event()
    with SessionLocal() as db:
        if rounds:
            for _ in range(rounds):
                take_bulk_steps(db, stopping)
        else:
            while take_bulk_steps(db, stopping):
                pass


def preview(tasks: TaskClient, deed: str, **wanted: Any) -> dict[str, Any]:
    answer = tasks.post(f"bulk/{deed}", {"filter": wanted, "dry_run": True})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def start(tasks: TaskClient, deed: str, **body: Any) -> dict[str, Any]:
    answer = tasks.post(f"bulk/{deed}", body)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"{API}/tasks/bulk/{answer.json()['id']}"
    return dict(answer.json())


def start_filter(tasks: TaskClient, deed: str, **wanted: Any) -> dict[str, Any]:
    return start(tasks, deed, token=preview(tasks, deed, **wanted)["token"])


def counts(tasks: TaskClient, deed: dict[str, Any], state: str = "finished") -> dict[str, Any]:
    answer = tasks.get(f"bulk/{deed['id']}")
    assert answer.json()["state"] == state, answer.text
    return {name: answer.json()[name] for name in ("matched", "done", "failed", "skipped")}


def ended(tasks: TaskClient, deed: dict[str, Any]) -> dict[str, Any]:
    """The counts of a deed, once maintenance has done it."""
    run()
    return counts(tasks, deed)


def revoke_many(tasks: TaskClient, number: int) -> None:
    """So many revoked tasks of the user, without a call for each."""
    copied = (
        *("user_id", "name", "task_type", "celery_task_name", "args", "kwargs", "priority", "queue"),
        *("status", "finished_at", "created_at"),
    )
    task_id = UUID(tasks.create()["id"])
    tasks.post(f"{task_id}/cancel")
    table = Task.__table__
    with SessionLocal.begin() as db:
        row = db.execute(select(*(table.c[name] for name in copied)).where(Task.id == task_id)).mappings().one()
        db.execute(insert(table), [{**row, "id": new_id(), "celery_id": new_id()} for _ in range(number - 1)])
