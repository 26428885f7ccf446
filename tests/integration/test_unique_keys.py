"""`unique_key` over HTTP: each `on_conflict` by the state of the task that has the key, alone and in a batch."""

from typing import Any
from uuid import UUID

import pytest

from app.db.session import SessionLocal
from app.maintenance.passes import task_states
from app.models.task import TERMINAL, Task, TaskStatus
from app.services.execution import ends
from app.services.execution.attempts import NextTry
from app.services.task_service import task_service
from tests.support.accounts import MakeUser
from tests.support.settings import sql
from tests.support.spelling import id_of
from tests.support.task_client import TaskClient, module_client, stored, task_client
from tests.support.tasks import ERROR, claim
from tests.support.unique_keys import ANOTHER_TASK, KEY, answered, created, ids, keyed, taken

client = module_client()


class TestAFreeKey:
    def test_is_shown_and_taken_by_the_task(self, tasks: TaskClient) -> None:
        task = keyed(tasks).json()
        assert (task["unique_key"], task["on_conflict"]) == (KEY, "reject")
        assert tasks.get(task["id"]).json() == task == tasks.get().json()[0]
        assert taken(keyed(tasks)) == task["id"]

    @pytest.mark.parametrize("on_conflict", ["reject", "return", "replace"])
    @pytest.mark.parametrize("status", sorted(TERMINAL))
    def test_of_an_ended_task_is_free_and_still_shown(
        self, tasks: TaskClient, status: TaskStatus, on_conflict: str
    ) -> None:
        ended = tasks.task_in(status, unique_key=KEY)
        new = created(keyed(tasks, on_conflict))
        assert new != ended
        assert tasks.get(ended).json()["unique_key"] == KEY
        assert (stored(ended).active_key, stored(new).active_key) == (None, KEY)

    def test_of_a_deleted_task_is_free(self, tasks: TaskClient) -> None:
        first = created(keyed(tasks))
        assert tasks.delete(first, force=True).status_code == 204
        assert created(keyed(tasks)) != first

    def test_is_each_users_own(self, tasks: TaskClient, make_user: MakeUser) -> None:
        assert created(keyed(tasks)) != created(keyed(task_client(tasks.http, make_user)))

    @pytest.mark.parametrize("pair", [("a", "A"), ("a", "a "), ("é", "e\u0301")])
    def test_is_told_from_others_by_its_characters(self, tasks: TaskClient, pair: tuple[str, str]) -> None:
        assert len({created(keyed(tasks, unique_key=key)) for key in pair}) == 2


class TestATakenKey:
    @pytest.mark.parametrize("status", ["pending", "running"])
    @pytest.mark.parametrize("on_conflict", ["reject", None])
    def test_is_refused(self, tasks: TaskClient, status: str, on_conflict: str | None) -> None:
        holder = tasks.task_in(status, unique_key=KEY)
        assert taken(keyed(tasks, on_conflict)) == holder
        assert ids(tasks) == {holder}

    @pytest.mark.parametrize("status", ["pending", "running"])
    def test_returns_the_task_that_has_it(self, tasks: TaskClient, status: str) -> None:
        holder = tasks.task_in(status, unique_key=KEY)
        answer = answered(keyed(tasks, "return", **ANOTHER_TASK))
        assert answer == tasks.get(holder).json()
        assert (answer["id"], answer["status"], answer["on_conflict"]) == (holder, status, "reject")
        assert ids(tasks) == {holder}

    def test_replaces_all_but_the_id_and_the_task_name(self, tasks: TaskClient) -> None:
        before = keyed(tasks, tags=["old"], metadata={"old": 1}, max_attempts=3).json()
        other = {
            "name": "new", "task_type": "other", "args": [5], "kwargs": {"steps": 7}, "priority": "high",
            "run_at": "2100-01-01T00:00:00Z", "expires_at": "2100-01-02T00:00:00Z", "timeout_seconds": 7.5,
            "max_attempts": 4, "retry_backoff_seconds": 2.5, "tags": ["new"], "metadata": {"new": 2},
        }  # fmt: skip
        after = answered(keyed(tasks, "replace", **other))
        expected = other | {"queue": "high_priority", "on_conflict": "replace", "version": before["version"] + 1}
        changed = {name: value for name, value in after.items() if value != before[name]}
        changed.pop("updated_at")
        assert changed.pop("waiting_for")["reason"] == "schedule"
        assert changed == expected
        assert tasks.get(before["id"]).json() == after

    def test_replaces_what_is_left_out_by_its_default(self, tasks: TaskClient) -> None:
        before = keyed(tasks, tags=["old"], max_attempts=3, delay_seconds=60, timeout_seconds=7, priority=4).json()
        after = answered(keyed(tasks, "replace"))
        assert after["id"] == before["id"]
        assert (after["tags"], after["max_attempts"], after["priority"]) == ([], 1, "normal")
        assert (after["run_at"], after["delay_seconds"], after["timeout_seconds"]) == (None, None, None)

    def test_of_a_running_task_is_not_replaced(self, tasks: TaskClient) -> None:
        holder = tasks.task_in("running", unique_key=KEY)
        assert taken(keyed(tasks, "replace", name="new")) == holder
        assert tasks.get(holder).json()["name"] != "new"

    def test_of_another_task_name_is_not_replaced(self, tasks: TaskClient) -> None:
        holder = tasks.task_in("pending", unique_key=KEY)
        assert taken(keyed(tasks, "replace", **ANOTHER_TASK)) == holder

    def test_is_kept_by_a_replaced_task_between_two_attempts(self, tasks: TaskClient) -> None:
        """One more attempt is left, whatever the request says; the failure that was is still told."""
        holder = tasks.task_in("running", unique_key=KEY, max_attempts=3)
        with SessionLocal() as db:
            ends.end_attempt(db, UUID(holder), 1, ends.retried(ERROR, NextTry(60)))
            db.commit()
        assert taken(keyed(tasks)) == holder
        after = answered(keyed(tasks, "replace", max_attempts=1))
        assert (after["max_attempts"], after["attempt"], after["run_at"]) == (2, 1, None)
        assert after["error"]["type"] == "ValueError"


class TestTheTurnOfAReplacedTask:
    def place(self, task_id: str) -> tuple[Any, ...]:
        task = stored(task_id)
        return task.turn, task.due_at

    @pytest.mark.parametrize("fields", [{}, {"args": [7], "name": "new"}])
    def test_is_as_before_while_queue_and_priority_stay(self, tasks: TaskClient, fields: dict[str, Any]) -> None:
        task_id = created(keyed(tasks))
        tasks.create()
        before = self.place(task_id)
        assert before[0] is not None
        answered(keyed(tasks, "replace", **fields))
        assert self.place(task_id) == before

    @pytest.mark.parametrize("fields", [{"priority": "high"}, {"priority": "low"}])
    def test_is_the_last_of_the_line_with_another_priority(self, tasks: TaskClient, fields: dict[str, Any]) -> None:
        task_id = created(keyed(tasks))
        before = [tasks.create(**fields)["id"] for _ in range(3)]
        answered(keyed(tasks, "replace", **fields))
        query = "SELECT id FROM tasks WHERE user_id = :user AND priority = :priority ORDER BY turn"
        line = sql(query, user=tasks.user["id"], **fields)
        assert [str(id_of(found)) for (found,) in line] == [*before, task_id]

    def test_is_left_for_a_later_start_and_taken_for_an_earlier_one(self, tasks: TaskClient) -> None:
        task_id = created(keyed(tasks))
        later = answered(keyed(tasks, "replace", delay_seconds=3600))
        assert later["run_at"] > later["updated_at"]
        turn, due = self.place(task_id)
        assert turn is None
        assert due.isoformat()[:19] == later["run_at"][:19]
        answered(keyed(tasks, "replace"))
        assert self.place(task_id)[0] is not None


class TestEveryEnd:
    """Whatever ends a task frees its key in the same statement; what makes it pending again keeps it."""

    def held(self, task: Task) -> bool:
        (row,) = sql("SELECT active_key FROM tasks WHERE id = :id", id=task.id)
        assert row.active_key in {None, KEY}
        return row.active_key is not None

    @pytest.mark.parametrize(
        ("end", "keeps"),
        [
            (lambda db, task, attempt: ends.end_attempt(db, task.id, attempt, ends.succeeded(1)), False),
            (lambda db, task, attempt: ends.end_attempt(db, task.id, attempt, ends.failed(ERROR)), False),
            (lambda db, task, attempt: ends.end_attempt(db, task.id, attempt, ends.stopped("ignored")), False),
            (lambda db, task, attempt: ends.end_attempt(db, task.id, attempt, ends.retried(ERROR, NextTry(1))), True),
            (lambda db, task, attempt: ends.end_attempt(db, task.id, attempt, ends.handed_back("shutdown")), True),
            (lambda db, task, attempt: ends.end_tasks(db, ends.lost("a test"), Task.id == task.id), True),
            (lambda db, task, attempt: ends.end_tasks(db, ends.overran(1), Task.id == task.id), False),
            (lambda db, task, attempt: task_service.cancel(db, task.id, commit=False), True),
            (lambda db, task, attempt: task_service.update_task_status(db, task.id, "succeeded", commit=False), False),
            (lambda db, task, attempt: task_service.update_task(db, task.id, {"status": "failed"}), False),
        ],
        ids=["success", "failure", "ignored", "retry", "hand-back", "loss", "limit", "asked", "outside", "patch"],
    )
    def test_of_a_running_task(self, tasks: TaskClient, end: Any, keeps: bool) -> None:
        task = stored(created(keyed(tasks)))
        with SessionLocal() as db:
            end(db, task, claim(db, task).attempt)
            db.commit()
        assert self.held(task) is keeps

    @pytest.mark.parametrize(
        "end",
        [
            lambda tasks, task: tasks.post(f"{task.id}/cancel"),
            lambda tasks, task: sql("UPDATE tasks SET expires_at = now() WHERE id = :id", id=task.id),
        ],
        ids=["cancel", "expiry"],
    )
    def test_of_a_pending_task(self, tasks: TaskClient, end: Any) -> None:
        task = stored(created(keyed(tasks)))
        end(tasks, task)
        with SessionLocal() as db:
            task_states.revoke_expired(db)
        assert not self.held(task)


class TestRetry:
    @pytest.mark.parametrize("status", ["failed", "revoked"])
    def test_takes_the_key_again(self, tasks: TaskClient, status: str) -> None:
        task_id = tasks.task_in(status, unique_key=KEY)
        assert tasks.post(f"{task_id}/retry").status_code == 202
        assert taken(keyed(tasks)) == task_id

    @pytest.mark.parametrize("status", ["pending", "running"])
    def test_is_refused_while_another_task_has_the_key(self, tasks: TaskClient, status: str) -> None:
        task_id = tasks.task_in("failed", unique_key=KEY)
        holder = tasks.task_in(status, unique_key=KEY)
        before = tasks.get(task_id).json()
        assert taken(tasks.post(f"{task_id}/retry")) == holder
        assert tasks.get(task_id).json() == before
        tasks.delete(holder, force=True)
