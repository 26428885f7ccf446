"""A retry with a body: a new task that repeats an ended one with changes, and what refuses it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from app.catalogue import catalogue
from app.core.config import get_settings
from app.core.redaction import Parameters
from app.db.session import SessionLocal
from app.errors import InvalidArguments, InvalidTask, InvalidTransition, PriorityNotAllowed, TaskNotFound
from app.models.task import TaskStatus
from app.models.user import User
from app.services.task_service import task_service
from tests.support.accounts import MakeUser
from tests.support.audit import recorded
from tests.support.settings import sql
from tests.support.tables import cases
from tests.support.task_client import TASKS, TaskClient, module_client, stored, task_client
from tests.support.tasks import LONG_RUNNING, claim, new_task, new_user, retried, task_in

client = module_client()
MODEL = "app.tasks.high_priority_tasks.send_email"
# All that is copied.
WHOLE: dict[str, Any] = {
    "priority": "low", "tags": ["a", "b"], "metadata": {"order": 17, "token": "m-secret"}, "timeout_seconds": 5.5,
    "max_attempts": 4, "retry_backoff_seconds": 2.5, "kwargs": {"steps": 3, "password": "hunter2"},
}  # fmt: skip
COPIED = ("name", "task_type", "celery_task_name", "args", "priority", "queue", "tags", "timeout_seconds")
COPIED += ("max_attempts", "retry_backoff_seconds", "limit", "limit_key", "metadata", "kwargs")


def again(tasks: TaskClient, task_id: Any, changes: Any, status: int = 201) -> dict[str, Any]:
    answer = tasks.post(f"{task_id}/retry", changes)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def refusal(tasks: TaskClient, task_id: Any, changes: Any) -> tuple[str, list[Any], str]:
    """The code of the 422, where its first error is, and of which type."""
    problem = again(tasks, task_id, changes, 422)
    error = problem["errors"][0]
    return problem["code"], error["loc"], error["type"]


class TestTheNewTask:
    def test_has_all_of_the_old_one_but_what_is_named_and_the_old_one_stays(self, tasks: TaskClient) -> None:
        with cases() as case:
            for status in ("succeeded", "failed", "revoked"):
                with case(status):
                    task_id = tasks.task_in(status, **WHOLE)
                    before = tasks.get(task_id).json()
                    answer = tasks.post(f"{task_id}/retry", {"priority": "high"})
                    task = answer.json()
                    assert answer.status_code == 201, answer.text
                    assert (answer.headers["location"], answer.headers["etag"]) == (TASKS + task["id"], '"1"')
                    assert task["id"] != task_id
                    expected = {name: before[name] for name in COPIED} | {"priority": "high", "queue": "high_priority"}
                    assert {name: task[name] for name in COPIED} == expected
                    assert (task["retry_of"], task["status"], task["attempt"]) == (task_id, "pending", 0)
                    assert task["error"] is None
                    assert tasks.get(task_id).json() == before
                    assert tasks.get(task["id"]).json() == task
                    # Secrets are copied as they are.
                    copy = stored(task["id"])
                    assert (copy.kwargs, copy.metadata_) == (WHOLE["kwargs"], WHOLE["metadata"])

    def test_has_no_key_and_no_time_of_the_old_one(self, tasks: TaskClient) -> None:
        later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        task_id = tasks.create(unique_key="k", delay_seconds=3600, expires_at="2100-01-01T00:00:00Z")["id"]
        assert tasks.post(f"{task_id}/cancel").status_code == 200
        task = again(tasks, task_id, {"args": [2]})
        nothing = ("unique_key", "on_conflict", "run_at", "delay_seconds", "expires_at")
        assert [task[name] for name in nothing] == [None] * len(nothing)
        named = again(tasks, task_id, {"unique_key": "k", "run_at": later, "expires_at": "2100-01-01T00:00:00Z"})
        assert (named["unique_key"], named["on_conflict"]) == ("k", "reject")
        assert (named["waiting_for"]["reason"], named["expires_at"]) == ("schedule", "2100-01-01T00:00:00Z")

    def test_is_the_old_one_without_a_change(self, tasks: TaskClient) -> None:
        with cases() as case:
            for body in (None, "{}", "null"):
                with case(body):
                    task_id = tasks.task_in("failed")
                    content = {"headers": {"Content-Type": "application/json"}, "content": body} if body else {}
                    answer = tasks.request("POST", f"{task_id}/retry", **content)
                    assert (answer.status_code, answer.json()["id"]) == (202, task_id)
                    assert answer.json()["retry_of"] is None
                    assert "location" not in answer.headers

    def test_is_its_owners_also_if_an_administrator_asks(self, tasks: TaskClient, admin: TaskClient) -> None:
        task_id = tasks.task_in("failed")
        task = again(admin, task_id, {"tags": ["by the administrator"]})
        assert task["user_id"] == tasks.user["id"]
        assert tasks.get(task["id"]).status_code == 200

    def test_can_be_repeated_after_the_old_one_is_deleted(self, tasks: TaskClient) -> None:
        task_id = tasks.task_in("failed")
        task = again(tasks, task_id, {"args": [0]})
        assert tasks.delete(task_id).status_code == 204
        assert tasks.get(task["id"]).json() == task
        assert tasks.post(f"{task['id']}/cancel").status_code == 200
        assert again(tasks, task["id"], {"args": [1]})["retry_of"] == task["id"]

    def test_takes_the_tasks_own_number_of_attempts_where_none_was_asked_for(self, tasks: TaskClient) -> None:
        """`self.retry()` raises the row's number beyond it."""
        with SessionLocal() as db:
            task = new_task(db, tasks.user["id"])
            for _ in range(2):
                claim(db, task)
                retried(db, task_service.get_task(db, task.id))
            task_service.cancel(db, task.id)
        assert tasks.get(task.id).json()["max_attempts"] == 3
        assert again(tasks, task.id, {"args": [2]})["max_attempts"] == 1
        asked = tasks.task_in("revoked", max_attempts=3)
        assert again(tasks, asked, {"args": [2]})["max_attempts"] == 3
        assert again(tasks, asked, {"max_attempts": None})["max_attempts"] == 1

    def test_is_recorded_at_the_old_one(self, tasks: TaskClient) -> None:
        task_id = tasks.task_in("failed")
        task = again(tasks, task_id, {"args": [2]})
        (record,) = recorded("task.retried", object_id=task_id)
        assert record.detail["new_task"] == task["id"]
        assert "hunter2" not in str(record.detail)

    def test_gets_its_turn(self, tasks: TaskClient) -> None:
        assert stored(again(tasks, tasks.task_in("failed"), {"args": [2]})["id"]).turn is not None


class TestSecrets:
    def test_stay_where_the_mask_is_sent_back(self, tasks: TaskClient) -> None:
        kwargs = {"steps": 3, "password": "hunter2", "servers": [{"host": "a", "token": "t1"}, {"host": "b"}]}
        task_id = tasks.task_in("failed", kwargs=kwargs, metadata={"token": "m"})
        shown = tasks.get(task_id).json()
        assert shown["kwargs"]["password"] == "***"
        changed = {"kwargs": shown["kwargs"] | {"steps": 4}, "metadata": shown["metadata"] | {"n": 1}}
        task = again(tasks, task_id, changed)
        assert task["kwargs"] == changed["kwargs"]
        assert stored(task["id"]).kwargs == kwargs | {"steps": 4}
        assert stored(task["id"]).metadata_ == {"token": "m", "n": 1}

    @pytest.mark.parametrize("change", ["retry", "patch"])
    def test_stay_at_their_positions(self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
        """As if the body's first parameter were named `token`."""
        kind = replace(catalogue()[LONG_RUNNING], positions=Parameters(("token", "steps")))
        monkeypatch.setitem(catalogue(), LONG_RUNNING, kind)
        task_id = tasks.task_in("failed" if change == "retry" else "pending", args=[30, 2])
        assert tasks.get(task_id).json()["args"] == ["***", 2]
        if change == "retry":
            task_id = again(tasks, task_id, {"args": ["***", 3]})["id"]
        else:
            assert tasks.patch(task_id, {"args": ["***", 3]}).json()["args"] == ["***", 3]
        assert stored(task_id).args == [30, 3]

    def test_that_are_not_stored_cannot_be_kept(self, tasks: TaskClient) -> None:
        task_id = tasks.task_in("failed", kwargs={"password": "hunter2"})
        wrong: tuple[tuple[dict[str, Any], list[str | int]], ...] = (
            ({"kwargs": {"api_key": "***"}}, ["body", "kwargs"]),
            ({"metadata": {"token": "***"}}, ["body", "metadata"]),
            ({"args": [1, 2, {"password": "***"}]}, ["body", "args", 2]),
        )
        with cases() as case:
            for changes, loc in wrong:
                with case(changes):
                    assert refusal(tasks, task_id, changes) == ("validation_error", loc, "hidden_value")


class TestWhatIsRefused:
    def test_a_task_that_has_not_ended(self, tasks: TaskClient) -> None:
        for status in ("pending", "running"):
            task_id = tasks.task_in(status)
            assert again(tasks, task_id, {"args": [1]}, 409)["code"] == "invalid_transition", status
        assert len(tasks.get().json()) == 2

    def test_a_change_that_a_submit_refuses(self, tasks: TaskClient) -> None:
        task_id = tasks.task_in("failed")
        wrong: tuple[tuple[dict[str, Any], str, list[str], str], ...] = (
            ({"args": ["long"]}, "invalid_arguments", ["body", "args", "duration"], "float_type"),
            ({"celery_task_name": MODEL}, "validation_error", ["body", "celery_task_name"], "another_task"),
            ({"on_conflict": "return"}, "validation_error", ["body"], "on_conflict_without_key"),
            ({"run_at": "2100-01-01T00:00:00Z", "delay_seconds": 1}, "validation_error", ["body"], "start_given_twice"),
            ({"limit": "none-such"}, "unknown_limit", ["body", "limit"], "unknown_limit"),
            ({"limit_key": "x"}, "validation_error", ["body", "limit_key"], "limit_key_without_limit"),
            ({"args": None}, "validation_error", ["body", "args"], "null_not_allowed"),
            ({"more": 1}, "validation_error", ["body", "more"], "extra_forbidden"),
            ({"max_attempts": 0}, "validation_error", ["body", "max_attempts"], "greater_than_equal"),
        )
        with cases() as case:
            for changes, code, loc, kind in wrong:
                with case(changes):
                    assert refusal(tasks, task_id, changes) == (code, loc, kind)
                    assert len(tasks.get().json()) == 1

    def test_its_own_name_is_no_change_of_the_task(self, tasks: TaskClient) -> None:
        task_id = tasks.task_in("failed")
        name = tasks.get(task_id).json()["celery_task_name"]
        assert again(tasks, task_id, {"celery_task_name": name})["celery_task_name"] == name

    def test_more_arguments_than_are_allowed_together(self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        task_id = tasks.task_in("failed", kwargs={"x": "x" * 600})
        monkeypatch.setattr(get_settings(), "max_arguments_bytes", 1000)
        assert refusal(tasks, task_id, {"args": [1, 2, "x" * 600]})[1:] == (["body", "kwargs"], "json_too_large")

    def test_a_priority_above_the_users_highest(self, tasks: TaskClient, admin: TaskClient) -> None:
        task_id = tasks.task_in("failed")
        sql("UPDATE users SET max_priority = 'normal' WHERE id = :id", id=tasks.user["id"])
        assert again(tasks, task_id, {"priority": "high"}, 403)["code"] == "priority_not_allowed"
        assert again(admin, task_id, {"priority": "high"}, 403)["code"] == "priority_not_allowed"
        assert again(tasks, task_id, {"priority": "normal"})["priority"] == "normal"
        # An administrator is bound by the own limit, too.
        sql("UPDATE users SET max_priority = 'low' WHERE id = :id", id=admin.user["id"])
        assert again(admin, task_id, {"priority": "normal"}, 403)["code"] == "priority_not_allowed"

    def test_what_exceeds_a_quota(self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        task_id = tasks.task_in("failed")
        monkeypatch.setattr(get_settings(), "quota_queued_tasks", 1)
        assert again(tasks, task_id, {"args": [1]})["status"] == "pending"
        assert again(tasks, task_id, {"args": [1]}, 429)["code"] == "queued_tasks_quota"

    def test_another_users_task(self, tasks: TaskClient, client: Any, make_user: MakeUser) -> None:
        task_id = task_client(client, make_user).task_in("failed")
        assert again(tasks, task_id, {"args": [1]}, 404)["code"] == "task_not_found"


class TestUniqueKeys:
    def test_are_taken_by_the_new_task_as_by_a_submit(self, tasks: TaskClient) -> None:
        task_id = tasks.task_in("failed", kwargs={"steps": 1})
        named = {"unique_key": "k", "kwargs": {"steps": 2}}
        first = again(tasks, task_id, named)
        assert again(tasks, task_id, named, 409)["task_id"] == first["id"]
        answer = tasks.post(f"{task_id}/retry", named | {"on_conflict": "return"})
        assert (answer.status_code, answer.json()["id"]) == (200, first["id"])
        assert answer.headers["location"] == TASKS + first["id"]
        replaced = again(tasks, task_id, {"unique_key": "k", "kwargs": {"steps": 3}, "on_conflict": "replace"}, 200)
        assert (replaced["id"], replaced["kwargs"], replaced["retry_of"]) == (first["id"], {"steps": 3}, task_id)
        # What replaces it by a plain submit repeats no task.
        body = {name: first[name] for name in ("name", "task_type", "celery_task_name", "args")}
        plain = tasks.post(body=body | {"unique_key": "k", "on_conflict": "replace"}).json()
        assert (plain["id"], plain["retry_of"]) == (first["id"], None)


class TestFromPython:
    def test_creates_the_task_in_the_callers_transaction(self, tasks: TaskClient) -> None:
        with SessionLocal() as db:
            old = task_in(db, TaskStatus.FAILED, tasks.user["id"])
            task, is_new = task_service.retry_with_changes(db, old.id, {"kwargs": {"steps": 7}}, commit=False)
            assert (is_new, task.retry_of, task.kwargs) == (True, old.id, {"steps": 7})
            new, old_id = task.id, old.id
            db.rollback()
            with pytest.raises(TaskNotFound):
                task_service.get_task(db, new)
            task, _ = task_service.retry_with_changes(db, str(old_id), {"kwargs": {"steps": 7}})
            assert task_service.get_task(db, task.id).kwargs == {"steps": 7}

    def test_is_refused_as_over_http(self, tasks: TaskClient) -> None:
        with SessionLocal() as db:
            user = new_user(db)
            old = task_in(db, TaskStatus.FAILED, user)
            for changes, error in (
                ({"kwargs": {"steps": "x"}}, InvalidArguments),
                ({"unknown": 1}, InvalidTask),
                ({"priority": "critical"}, PriorityNotAllowed),
            ):
                db.execute(update(User).where(User.id == user).values(max_priority="normal"))
                db.commit()
                with pytest.raises(error):
                    task_service.retry_with_changes(db, old.id, changes)
            with pytest.raises(InvalidTransition):
                task_service.retry_with_changes(db, new_task(db, user).id, {"args": [1]})
