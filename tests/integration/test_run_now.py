"""run-now: what waits for its time or its back-off is due at once; nothing else is touched."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from app.db.session import SessionLocal
from app.errors import InvalidTransition
from app.services.task_service import task_service
from app.services.tasks import task_changes
from tests.support.audit import recorded
from tests.support.task_client import TaskClient, module_client, stored
from tests.support.tasks import claim, claim_next, flush_admitter, new_task, retried

client = module_client()


def waits_for_a_retry(tasks: TaskClient, **options: Any) -> str:
    with SessionLocal() as db:
        task = new_task(db, tasks.user["id"], max_attempts=3, **options)
        claim(db, task)
        retried(db, task_service.get_task(db, task.id), delay=3600)
    return str(task.id)


def run_now(tasks: TaskClient, task_id: str, status: int = 200) -> dict[str, Any]:
    answer = tasks.post(f"{task_id}/run-now")
    assert answer.status_code == status, answer.text
    return dict(answer.json())


class TestATaskThatWaits:
    @pytest.mark.parametrize("waits", ["schedule", "delay", "retry"])
    def test_is_due_now_and_has_its_turn(self, tasks: TaskClient, waits: str) -> None:
        fields: dict[str, Any] = {"schedule": {"run_at": "2100-01-01T00:00:00Z"}, "delay": {"delay_seconds": 3600}}.get(
            waits, {}
        )
        task_id = tasks.create(**fields)["id"] if fields else waits_for_a_retry(tasks)
        before = tasks.get(task_id).json()
        after = run_now(tasks, task_id)
        assert before["waiting_for"]["reason"] == ("retry" if waits == "retry" else "schedule")
        assert after["waiting_for"]["reason"] in {"turn", "no_worker"}
        assert datetime.fromisoformat(after["run_at"]) < datetime.now(UTC)
        changed = {"run_at", "waiting_for", "version", "updated_at"}
        same = before.keys() - changed
        assert {name: after[name] for name in same} == {name: before[name] for name in same}
        assert after["version"] == before["version"] + 1
        assert stored(task_id).turn is not None
        with SessionLocal() as db:
            assert task_id in {str(each.id) for each in iter_claims(db)}

    def test_is_recorded(self, tasks: TaskClient) -> None:
        task_id = tasks.create(delay_seconds=3600)["id"]
        run_now(tasks, task_id)
        run_now(tasks, task_id, 409)
        assert [record.event for record in recorded(object_id=task_id)] == ["task.run_now"]

    def test_waits_for_its_limit_and_its_queue_as_before(self, tasks: TaskClient) -> None:
        with SessionLocal() as db:
            task_service.put_limit(db, "one", concurrency=1)
            running = new_task(db, tasks.user["id"], limit="one")
            flush_admitter()
            claim(db, running)
            task_id = tasks.create(limit="one", delay_seconds=3600)["id"]
            assert run_now(tasks, task_id)["waiting_for"] == {
                "reason": "limit", "key": "one", "until": None, "blocked_by": None
            }  # fmt: skip
            flush_admitter()
            assert stored(task_id).held == "limit"
            task_service.pause_queue(db, "low_priority")
            paused = tasks.create(priority="low", delay_seconds=3600)["id"]
            assert run_now(tasks, paused)["waiting_for"]["reason"] == "paused"
            task_service.resume_queue(db, "low_priority")


def iter_claims(db: Any) -> list[Any]:
    """All that can be claimed."""
    found: list[Any] = []
    while batch := claim_next(db):
        found += batch
    return found


class TestAnyOtherTask:
    @pytest.mark.parametrize("status", ["pending", "running", "succeeded", "failed", "revoked"])
    def test_is_refused_and_stays_as_it_is(self, tasks: TaskClient, status: str) -> None:
        task_id = tasks.task_in(status)
        before = tasks.get(task_id).json()
        problem = run_now(tasks, task_id, 409)
        assert problem["code"] == "invalid_transition"
        assert ("due already" if status == "pending" else status) in problem["detail"]
        assert tasks.get(task_id).json() == before

    def test_that_leaves_the_wait_meanwhile_is_refused(
        self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between the read and the statement, another request cancels it."""
        task_id, statement = tasks.create(delay_seconds=3600)["id"], task_changes.run_now

        def cancelled_first(db: Any, which: UUID) -> bool:
            with SessionLocal() as another:
                task_service.cancel(another, which)
            return statement(db, which)

        monkeypatch.setattr(task_changes, "run_now", cancelled_first)
        run_now(tasks, task_id, 409)
        assert tasks.get(task_id).json()["status"] == "revoked"

    def test_one_of_several_calls_at_once_does_it(self, tasks: TaskClient) -> None:
        task_id = tasks.create(delay_seconds=3600)["id"]

        def call(_: int) -> bool:
            with SessionLocal() as db:
                try:
                    task_service.run_now(db, UUID(task_id))
                except InvalidTransition:
                    return False
            return True

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(call, range(8))) == 1
        assert tasks.get(task_id).json()["version"] == 2
