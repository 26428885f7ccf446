"""What users, administrators and other code do to tasks: change, cancel, retry, run now, end, delete."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.db.session import SessionLocal
from app.errors import InvalidTransition, TaskActive
from app.models.task import TaskStatus
from app.services.task_service import task_service
from tests.support.golden_scenarios.stage import Stage, settle
from tests.support.tasks import claim, new_task, new_user, retried, task_in

SOON, LATER = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) + timedelta(days=1)


def edits(_stage: Stage) -> None:
    """Each field of a pending task, and the state that administrators set."""
    with SessionLocal() as db:
        user = new_user(db)
        pending = new_task(db, user, kwargs={"steps": 1})
        changes: list[dict[str, Any]] = [
            {"name": "a longer name", "tags": ["a"], "metadata": {"a": 1}},
            {"name": "a"},
            {"args": [2], "kwargs": {"steps": 2}},
            {"priority": "high"},
            {"run_at": SOON},
            {"run_at": None},
            {"expires_at": LATER, "timeout_seconds": 60, "max_attempts": 5, "retry_backoff_seconds": 1},
            {"max_attempts": None},
        ]
        for each in changes:
            task_service.update_task(db, pending.id, each, owner=user, within_quota=True)
            settle()
        running = task_in(db, TaskStatus.RUNNING, user)
        for state in ({"progress": 5}, {"progress": 6, "progress_detail": [1]}, {"status": "succeeded", "result": 1}):
            task_service.update_task(db, running.id, state, check_admin=lambda _: None)
        for status in ("failed", "revoked"):
            running = task_in(db, TaskStatus.RUNNING, user)
            task_service.update_task(db, running.id, {"status": status, "progress": 7})


def cancels(_stage: Stage) -> None:
    """A pending one, a running one twice, and an ended one."""
    with SessionLocal() as db:
        user = new_user(db)
        task_service.cancel(db, new_task(db, user).id, owner=user)
        running = task_in(db, TaskStatus.RUNNING, user)
        for _ in range(2):
            task_service.cancel(db, running.id)
        assert not task_service.cancel_task(db, task_in(db, TaskStatus.SUCCEEDED, user).id)


def retries(_stage: Stage) -> None:
    """Under the same id, as a new task, and now instead of later."""
    with SessionLocal() as db:
        user = new_user(db)
        for status in (TaskStatus.FAILED, TaskStatus.REVOKED):
            task_service.retry_task(db, task_in(db, status, user).id, owner=user, within_quota=True)
            settle()
        failed = task_in(db, TaskStatus.FAILED, user)
        task_service.retry_with_changes(db, failed.id, {"name": "again"}, within_quota=True)
        settle()
        for options in ({}, {"unique_key": "a"}):
            waiting = new_task(db, user, delay_seconds=3600, **options)
            task_service.run_now(db, waiting.id, owner=user)
            settle()
        again = new_task(db, user, max_attempts=2)
        claim(db, again)
        retried(db, task_service.get_task(db, again.id), 3600)
        task_service.run_now(db, again.id)
        for task in (again, failed):
            with pytest.raises(InvalidTransition):
                task_service.run_now(db, task.id)


def ends(_stage: Stage) -> None:
    """Progress and ends that other code reports, not the body."""
    with SessionLocal() as db:
        user = new_user(db)
        running = task_in(db, TaskStatus.RUNNING, user)
        task_service.update_task_progress(db, running.id, 10)
        task_service.update_task_progress(db, running.id, 20, {"step": 2})
        task_service.update_task_status(db, running.id, "succeeded", result={"a": 1})
        for status in ("failed", "revoked"):
            running = task_in(db, TaskStatus.RUNNING, user)
            task_service.update_task_status(db, running.id, status, 30, error="because")
        task_service.update_task_status(db, new_task(db, user).id, "revoked")
        with pytest.raises(InvalidTransition):
            task_service.update_task_progress(db, running.id, 40)


def deletions(_stage: Stage) -> None:
    """Ended ones, pending and running ones by force, and old ones by age."""
    with SessionLocal() as db:
        user = new_user(db)
        assert task_service.delete(db, task_in(db, TaskStatus.SUCCEEDED, user).id, owner=user)
        assert task_service.delete(db, new_task(db, user).id, force=True)
        running = task_in(db, TaskStatus.RUNNING, user).id
        for _ in range(2):
            assert not task_service.delete(db, running, force=True)
        with pytest.raises(TaskActive):
            task_service.delete(db, running)
        task_in(db, TaskStatus.FAILED, user)
        task_service.purge_finished(db, -1)


def attempts(_stage: Stage) -> None:
    """All of them, and a page."""
    with SessionLocal() as db:
        task = task_in(db, TaskStatus.FAILED, new_user(db))
        task_service.get_attempts(db, task.id)
        for owner in (None, task.user_id):
            task_service.list_attempts(db, task.id, 1, owner=owner)
