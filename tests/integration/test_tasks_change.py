"""Reading one task, changing, cancelling, retrying and deleting it, in every state that matters."""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.db.session import SessionLocal
from app.services.task_service import task_service
from tests.support.tables import cases
from tests.support.task_client import TaskClient, is_waited_for, module_client, stored
from tests.support.waiting import wait_for

client = module_client()
ENDED = ["succeeded", "failed", "revoked"]


@contextmanager
def meanwhile(tasks: TaskClient, task_id: str, act: Callable[[Session], object]) -> Iterator[None]:
    """`act` happens in another thread once a request of the block waits for the task."""

    def run() -> None:
        wait_for(lambda: is_waited_for(tasks.http, task_id), 20, "the request to wait")
        with SessionLocal() as db:
            act(db)

    with ThreadPoolExecutor(1) as pool:
        acted = pool.submit(run)
        yield
        acted.result(20)


class TestGet:
    def test_a_tag_that_still_holds_answers_304(self, tasks: TaskClient) -> None:
        task_id = tasks.create()["id"]
        tag = tasks.get(task_id).headers["etag"]
        again = tasks.request("GET", task_id, headers={"If-None-Match": tag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert tasks.request("GET", task_id, headers={"If-None-Match": f'"x", W/{tag}'}).status_code == 304
        tasks.patch(task_id, {"name": "another"})
        changed = tasks.request("GET", task_id, headers={"If-None-Match": tag})
        assert (changed.status_code, changed.json()["name"]) == (200, "another")

    def test_waiting_ends_with_the_task(self, tasks: TaskClient) -> None:
        task_id = tasks.task_in("running")
        with meanwhile(
            tasks, task_id, lambda db: task_service.update_task_status(db, task_id, "succeeded", 100, {"n": 1})
        ):
            answer = tasks.get(task_id, wait=30)
        assert (answer.json()["status"], answer.json()["result"]) == ("succeeded", {"n": 1})
        assert answer.elapsed.total_seconds() < 20

    def test_waiting_ends_with_the_seconds(self, tasks: TaskClient) -> None:
        answer = tasks.get(tasks.task_in("running"), wait=0.3)
        assert (answer.status_code, answer.json()["status"]) == (200, "running")
        assert answer.elapsed.total_seconds() >= 0.3

    def test_what_has_ended_is_answered_at_once(self, tasks: TaskClient) -> None:
        assert tasks.get(tasks.task_in("failed"), wait=60).elapsed.total_seconds() < 20

    def test_a_task_deleted_during_the_wait_is_not_found(self, tasks: TaskClient) -> None:
        task_id = tasks.task_in("pending")
        with meanwhile(tasks, task_id, lambda db: task_service.delete(db, task_id, force=True)):
            assert tasks.get(task_id, wait=30).status_code == 404

    def test_waiting_has_its_bounds(self, tasks: TaskClient) -> None:
        task_id = tasks.create()["id"]
        with cases() as case:
            for wait in (-1, 61, "nan", "inf", "x"):
                with case(wait):
                    assert tasks.get(task_id, wait=wait).status_code == 422


class TestPatch:
    def test_the_owners_fields_change_at_any_time(self, tasks: TaskClient) -> None:
        change = {"name": "新名字", "tags": ["a"], "metadata": {"k": [1.5, None]}}
        with cases() as case:
            for status in ("pending", "running", *ENDED):
                with case(status):
                    task_id = tasks.task_in(status)
                    before = tasks.get(task_id).json()
                    answer = tasks.patch(task_id, change)
                    assert answer.status_code == 200, answer.text
                    new = {"version": before["version"] + 1, "updated_at": answer.json()["updated_at"]}
                    assert answer.json() == before | change | new == tasks.get(task_id).json()
                    assert answer.headers["etag"] == f'"{new["version"]}"'

    def test_what_it_runs_with_and_when_change_while_pending_alone(self, tasks: TaskClient) -> None:
        changes: list[dict[str, Any]] = [
            {"priority": "high"}, {"run_at": "2100-01-01T00:00:00Z"}, {"expires_at": "2100-01-01T00:00:00Z"},
            {"args": [2.5]}, {"kwargs": {"steps": 2}}, {"timeout_seconds": 5.5}, {"max_attempts": 3},
            {"retry_backoff_seconds": 0.5},
        ]  # fmt: skip
        others = {status: tasks.task_in(status) for status in ("running", *ENDED)}
        before = {status: tasks.get(task_id).json() for status, task_id in others.items()}
        with cases() as case:
            for change in changes:
                with case("pending", change):
                    answer = tasks.patch(tasks.task_in("pending"), change)
                    assert answer.status_code == 200
                    assert {name: answer.json()[name] for name in change} == change
            for change, status in itertools.product(changes, others):
                with case(status, change):
                    refused = tasks.patch(others[status], change | {"name": "must not change either"})
                    assert (refused.status_code, refused.json()["code"]) == (409, "invalid_transition")
                    assert tasks.get(others[status]).json() == before[status]

    def test_a_new_priority_moves_it_to_the_queue_of_that(self, tasks: TaskClient) -> None:
        """That its message goes there is in test_task_service.py."""
        task_id = tasks.create(priority="low")["id"]
        answer = tasks.patch(task_id, {"priority": "urgent"})
        assert (answer.json()["priority"], answer.json()["queue"]) == ("critical", "high_priority")

    def test_if_match(self, tasks: TaskClient) -> None:
        task = tasks.create()
        tag = f'"{task["version"]}"'
        assert tasks.patch(task["id"], {"name": "b"}, headers={"If-Match": tag}).status_code == 200
        refused = tasks.patch(task["id"], {"name": "c"}, headers={"If-Match": tag})
        assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")
        for header in ('"99"', f"W/{tag}", "nonsense"):
            assert tasks.patch(task["id"], {"name": "c"}, headers={"If-Match": header}).status_code == 412
        assert tasks.patch(task["id"], {"name": "d"}, headers={"If-Match": "*"}).status_code == 200
        assert tasks.get(task["id"]).json()["name"] == "d"

    def test_what_cannot_be_set_is_refused(self, tasks: TaskClient) -> None:
        task = tasks.create()
        with cases() as case:
            for name, value in (
                ("unknown", 1), ("user_id", "x"), ("celery_task_name", "x"), ("name", None), ("name", "\0"),
                ("kwargs", [1]), ("timeout_seconds", 0), ("priority", "no"), ("run_at", "soon"),
                ("run_at", "9999-12-31T23:59:59-23:59"), ("progress", 101), ("progress", 1.5), ("status", "done"),
                ("metadata", {"a": "\0"}),
            ):  # fmt: skip
                with case(name, value):
                    answer = tasks.patch(task["id"], {name: value})
                    assert answer.status_code == 422
                    assert answer.json()["errors"][0]["loc"][:2] == ["body", name]
                    assert tasks.get(task["id"]).json() == task

    def test_nothing_changes_nothing(self, tasks: TaskClient) -> None:
        task = tasks.create()
        assert tasks.patch(task["id"], {}).json() == task


class TestPatchOfTheState:
    def test_is_not_for_users(self, tasks: TaskClient) -> None:
        task_id = tasks.task_in("running")
        with cases() as case:
            for change in ({"status": "revoked"}, {"progress": 5}, {"progress_detail": None}, {"result": 1}):
                with case(change):
                    answer = tasks.patch(task_id, change | {"name": "must not change either"})
                    assert (answer.status_code, answer.json()["code"]) == (403, "admin_only")
                    assert stored(task_id).name != "must not change either"

    def test_an_administrator_ends_a_running_task(self, admin: TaskClient, tasks: TaskClient) -> None:
        with cases() as case:
            for status in ENDED:
                with case(status):
                    task_id = tasks.task_in("running")
                    answer = admin.patch(task_id, {"status": status})
                    assert (answer.status_code, answer.json()["status"]) == (200, status)
                    assert [a["outcome"] for a in tasks.get(f"{task_id}/attempts").json()] == [status]

    def test_an_administrator_sets_result_and_progress(self, admin: TaskClient) -> None:
        task_id = admin.task_in("running")
        detail = {"step": -0.0}
        assert admin.patch(task_id, {"progress": 40, "progress_detail": detail}).json()["progress"] == 40
        changes = {"status": "succeeded", "result": {"n": 1e22}, "progress_detail": {"step": 2}}
        ended = admin.patch(task_id, changes).json()
        assert (ended["result"], ended["progress"], ended["progress_detail"]) == ({"n": 1e22}, 100, {"step": 2})

    def test_what_the_state_machine_does_not_know_is_refused(self, admin: TaskClient) -> None:
        changes: dict[str, list[dict[str, Any]]] = {
            "pending": [{"status": "running"}, {"status": "succeeded"}, {"progress": 5}],
            "running": [{"status": "pending"}, {"status": "running"}, {"result": 1}, {"status": "failed", "result": 1}],
            "succeeded": [{"status": "failed"}, {"result": 2}],
            "failed": [{"status": "succeeded"}, {"progress": 5}],
            "revoked": [{"status": "pending"}],
        }
        with cases() as case:
            for status, refused in changes.items():
                task_id = admin.task_in(status)
                before = admin.get(task_id).json()
                for change in refused:
                    with case(status, change):
                        answer = admin.patch(task_id, change | {"name": "must not change either"})
                        assert answer.status_code == 409
                        assert admin.get(task_id).json() == before


class TestCancel:
    def test_a_pending_one_is_revoked_and_stays_so(self, tasks: TaskClient) -> None:
        task_id = tasks.create()["id"]
        first = tasks.post(f"{task_id}/cancel")
        assert first.status_code == 200
        assert (first.json()["status"], first.json()["status_reason"]) == ("revoked", "cancelled")
        again = tasks.post(f"{task_id}/cancel")
        assert (again.status_code, again.json()) == (200, first.json())

    def test_a_running_one_is_asked(self, tasks: TaskClient) -> None:
        task_id = tasks.task_in("running")
        first = tasks.post(f"{task_id}/cancel")
        assert (first.status_code, first.json()["status"]) == (202, "running")
        assert first.json()["cancel_requested_at"] is not None
        assert tasks.post(f"{task_id}/cancel").json() == first.json()

    def test_an_ended_one_is_refused(self, tasks: TaskClient) -> None:
        for status in ("succeeded", "failed"):
            assert tasks.post(f"{tasks.task_in(status)}/cancel").status_code == 409, status


class TestRetry:
    @pytest.mark.parametrize("status", ["failed", "revoked"])
    def test_starts_anew_under_the_same_id(self, tasks: TaskClient, status: str) -> None:
        task_id = tasks.task_in(status)
        before = tasks.get(task_id).json()
        answer = tasks.post(f"{task_id}/retry")
        after = answer.json()
        assert (answer.status_code, after["status"], after["attempt"]) == (202, "pending", before["attempt"])
        assert after["celery_id"] != before["celery_id"]
        nothing = ("error", "result", "finished_at", "cancel_requested_at", "status_reason")
        assert [after[name] for name in nothing] == [None] * len(nothing)
        assert tasks.post(f"{task_id}/retry").status_code == 409

    def test_is_refused_elsewhere(self, tasks: TaskClient) -> None:
        for status in ("pending", "running", "succeeded"):
            assert tasks.post(f"{tasks.task_in(status)}/retry").status_code == 409, status


class TestDelete:
    def test_an_ended_one_is_gone(self, tasks: TaskClient) -> None:
        with cases() as case:
            for status, force in itertools.product(ENDED, (False, True)):
                with case(status, force):
                    task_id = tasks.task_in(status)
                    answer = tasks.delete(task_id, force=force)
                    assert (answer.status_code, answer.content) == (204, b"")
                    assert tasks.get(task_id).status_code == 404
                    assert tasks.delete(task_id).status_code == 404

    def test_an_active_one_needs_force(self, tasks: TaskClient) -> None:
        for status, then in (("pending", 204), ("running", 202)):
            task_id = tasks.task_in(status)
            assert tasks.delete(task_id).status_code == 409
            answer = tasks.delete(task_id, force=True)
            assert (answer.status_code, answer.content) == (then, b"")
        assert tasks.get(task_id).json()["cancel_requested_at"] is not None


class TestAttempts:
    def test_the_current_one_is_included(self, tasks: TaskClient) -> None:
        with cases() as case:
            for status, outcomes in (
                ("pending", []),
                ("running", ["running"]),
                ("succeeded", ["succeeded"]),
                ("failed", ["failed"]),
                ("revoked", []),
            ):
                with case(status):
                    attempts = tasks.get(f"{tasks.task_in(status)}/attempts").json()
                    assert [attempt["outcome"] for attempt in attempts] == outcomes
                    for attempt in attempts:
                        assert attempt["number"] == 1
                        assert attempt["worker"] == "worker@test"
                        assert (attempt["finished_at"] is None) == (status == "running")
                        assert (attempt["traceback"] is None) == (status != "failed")
