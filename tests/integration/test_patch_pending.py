"""PATCH of what a pending task runs with: checked as in a submit, and never a half change."""

from typing import Any
from uuid import UUID

import pytest

from app.core.config import get_settings
from app.db.session import SessionLocal
from app.errors import InvalidArguments, InvalidTask
from app.services.task_service import task_service
from app.services.tasks import task_changes
from app.services.tasks.quotas import load_of, quotas
from tests.support.tables import cases
from tests.support.task_client import BODY, TaskClient, module_client, stored
from tests.support.tasks import claim, new_task, retried

client = module_client()


def refused(tasks: TaskClient, task_id: str, change: dict[str, Any], status: int = 422) -> dict[str, Any]:
    """The problem; the task has not changed."""
    before = tasks.get(task_id).json()
    answer = tasks.patch(task_id, change | {"name": "must not change either"})
    assert answer.status_code == status, answer.text
    assert tasks.get(task_id).json() == before
    return dict(answer.json())


class TestArguments:
    def test_are_those_that_the_next_attempt_gets(self, tasks: TaskClient) -> None:
        task_id = tasks.create(kwargs={"steps": 3, "password": "hunter2"})["id"]
        shown = tasks.get(task_id).json()["kwargs"]
        answer = tasks.patch(task_id, {"args": [2.5], "kwargs": shown | {"steps": 4}, "timeout_seconds": 7})
        assert (answer.status_code, answer.json()["kwargs"]) == (200, {"steps": 4, "password": "***"})
        with SessionLocal() as db:
            taken = claim(db, task_service.get_task(db, UUID(task_id)))
        assert (taken.args, taken.kwargs) == ([2.5], {"steps": 4, "password": "hunter2"})

    def test_that_do_not_fit_are_refused_as_in_a_submit(self, tasks: TaskClient) -> None:
        task_id = tasks.create()["id"]
        wrong: tuple[tuple[dict[str, Any], str, list[str], str], ...] = (
            ({"args": ["long"]}, "invalid_arguments", ["body", "args", "duration"], "float_type"),
            ({"kwargs": {"steps": "x"}}, "invalid_arguments", ["body", "kwargs", "steps"], "int_type"),
            ({"kwargs": {"duration": 1}}, "invalid_arguments", ["body", "kwargs", "duration"], "arguments"),
            ({"args": []}, "invalid_arguments", ["body", "kwargs", "duration"], "arguments"),
            ({"kwargs": {"api_key": "***"}}, "validation_error", ["body", "kwargs"], "hidden_value"),
        )
        with cases() as case:
            for change, code, loc, kind in wrong:
                with case(change):
                    problem = refused(tasks, task_id, change)
                    error = problem["errors"][0]
                    assert (problem["code"], error["loc"], error["type"]) == (code, loc, kind)
                    if kind != "hidden_value":
                        assert tasks.post(body=BODY | change).json()["errors"] == problem["errors"]

    def test_together_are_bounded(self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        task_id = tasks.create(kwargs={"x": "x" * 600})["id"]
        monkeypatch.setattr(get_settings(), "max_arguments_bytes", 1000)
        error = refused(tasks, task_id, {"args": [1, 2, "x" * 600]})["errors"][0]
        assert (error["loc"], error["type"]) == (["body", "kwargs"], "json_too_large")

    def test_count_in_the_quota_by_what_they_add(self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(get_settings(), "quota_queued_bytes", 10_000)
        task_id = tasks.create(kwargs={"param": "x" * 4000})["id"]
        assert refused(tasks, task_id, {"kwargs": {"param": "x" * 11_000}}, 429)["code"] == "queued_bytes_quota"
        # Smaller ones take nothing.
        assert tasks.patch(task_id, {"kwargs": {"param": "x" * 1000}}).status_code == 200
        assert tasks.patch(task_id, {"kwargs": {"param": "x" * 6000}}).status_code == 200
        with SessionLocal() as db:
            task_service.update_task(db, UUID(task_id), {"kwargs": {"param": "x" * 11_000}})  # Python code is trusted

    def test_that_miss_the_version_give_back_their_quota(
        self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(get_settings(), "quota_queued_bytes", 10_000)
        task_id, patch = tasks.create()["id"], task_changes.patch
        misses = iter([True] * 3)

        def missing(*values: Any, **more: Any) -> bool:
            return False if next(misses, False) else patch(*values, **more)

        monkeypatch.setattr(task_changes, "patch", missing)
        assert tasks.patch(task_id, {"kwargs": {"param": "x" * 4000}}).status_code == 200
        with SessionLocal() as db, quotas.reserve(db, UUID(tasks.user["id"]), load_of(stored(task_id))):
            pass


class TestAttempts:
    def test_null_is_the_tasks_own(self, tasks: TaskClient) -> None:
        task_id = tasks.create(max_attempts=3, timeout_seconds=5, retry_backoff_seconds=1)["id"]
        nothing = {"max_attempts": None, "timeout_seconds": None, "retry_backoff_seconds": None}
        answer = tasks.patch(task_id, nothing).json()
        assert {name: answer[name] for name in nothing} == nothing | {"max_attempts": 1}
        assert stored(task_id).max_attempts_named is False
        assert tasks.patch(task_id, {"max_attempts": 2}).json()["max_attempts"] == 2
        assert stored(task_id).max_attempts_named is True

    def test_that_were_used_stay_counted(self, tasks: TaskClient) -> None:
        with SessionLocal() as db:
            task = new_task(db, tasks.user["id"], max_attempts=5)
            for _ in range(2):
                claim(db, task)
                retried(db, task_service.get_task(db, task.id), delay=600)
        error = refused(tasks, str(task.id), {"max_attempts": 2})["errors"][0]
        assert (error["loc"], error["type"]) == (["body", "max_attempts"], "too_few_attempts")
        assert "send 3 or more" in error["msg"]
        before = tasks.get(task.id).json()
        assert tasks.patch(task.id, {"max_attempts": 3}).json()["max_attempts"] == 3
        assert tasks.patch(task.id, {"max_attempts": None}).json()["max_attempts"] == 3
        assert tasks.patch(task.id, {"retry_backoff_seconds": 1}).json()["run_at"] == before["run_at"]


class TestAClaimMeanwhile:
    @pytest.mark.parametrize(("headers", "status"), [({}, 409), ({"If-Match": '"1"'}, 412)])
    def test_wins_and_the_change_is_refused(
        self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], status: int
    ) -> None:
        task_id, patch = tasks.create()["id"], task_changes.patch

        def claimed_first(*values: Any, **more: Any) -> bool:
            with SessionLocal() as another:
                claim(another, task_service.get_task(another, UUID(task_id)))
            return patch(*values, **more)

        monkeypatch.setattr(task_changes, "patch", claimed_first)
        answer = tasks.patch(task_id, {"args": [3], "name": "b"}, headers=headers)
        assert answer.status_code == status, answer.text
        assert (stored(task_id).args, stored(task_id).name, stored(task_id).status) == ([60], BODY["name"], "running")


class TestFromPython:
    def test_is_checked_too(self, tasks: TaskClient) -> None:
        task_id = UUID(tasks.create()["id"])
        wrong: tuple[tuple[dict[str, Any], type[Exception]], ...] = (
            ({"kwargs": {"steps": "x"}}, InvalidArguments),
            ({"args": "no list"}, InvalidTask),
            ({"kwargs": None}, InvalidTask),
            ({"timeout_seconds": -1}, InvalidTask),
            ({"max_attempts": 101}, InvalidTask),
            ({"metadata": {"token": "***"}}, InvalidTask),
        )
        with cases() as case:
            for change, error in wrong:
                with case(change):
                    with SessionLocal() as db, pytest.raises(error):
                        task_service.update_task(db, task_id, change)
                    assert stored(str(task_id)).version == 1
