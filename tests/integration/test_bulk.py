"""Bulk operations: what each of them does to tasks in every state, and what it leaves as it is."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from app.core.config import get_settings
from app.db.session import SessionLocal
from app.models.task import TaskStatus
from app.services.task_service import task_service
from tests.support.bulk import counts, ended, preview, revoke_many, start, start_filter
from tests.support.settings import sql
from tests.support.task_client import TaskClient, module_client
from tests.support.tasks import claim

client = module_client()
ALL = [status.value for status in TaskStatus]


def statuses(tasks: TaskClient, ids: dict[str, str]) -> dict[str, Any]:
    return {was: tasks.get(task_id).json().get("status") for was, task_id in ids.items()}


class TestADeed:
    @pytest.mark.parametrize(
        ("deed", "done", "skipped", "after"),
        [
            ("cancel", 3, {"invalid_transition": 2}, {"pending": "revoked"}),
            ("retry", 2, {"invalid_transition": 3}, {"failed": "pending", "revoked": "pending"}),
            ("delete", 3, {"task_active": 2}, dict.fromkeys(("succeeded", "failed", "revoked"), 404)),
        ],
    )
    @pytest.mark.parametrize("by", ["ids", "filter"])
    def test_does_what_the_single_calls_do(
        self, tasks: TaskClient, deed: str, done: int, skipped: dict[str, int], after: dict[str, Any], by: str
    ) -> None:
        ids = {status: tasks.task_in(status) for status in ALL}
        was = {status: tasks.get(task_id).json() for status, task_id in ids.items()}
        accepted = start(tasks, deed, ids=list(ids.values())) if by == "ids" else start_filter(tasks, deed, status=ALL)
        assert accepted["matched"] == 5
        assert ended(tasks, accepted) == {"matched": 5, "done": done, "failed": 0, "skipped": skipped}
        assert statuses(tasks, ids) == {status: status for status in ALL} | after
        now = {status: tasks.get(task_id).json() for status, task_id in ids.items()}
        assert now["succeeded"] == was["succeeded"] or deed == "delete"
        if deed == "cancel":
            assert now["pending"]["status_reason"] == "cancelled"
            assert now["running"]["cancel_requested_at"]
            assert now["revoked"] == was["revoked"]
        if deed == "retry":
            single = tasks.task_in("failed")
            tasks.post(f"{single}/retry")
            varies = {"id", "celery_id", "created_at", "updated_at", "started_at", "name"}
            assert {name: value for name, value in now["failed"].items() if name not in varies} == {
                name: value for name, value in tasks.get(single).json().items() if name not in varies
            }
            renewed = sql(
                "SELECT generation, turn IS NOT NULL AS placed FROM tasks WHERE id IN (:a, :b)",
                a=ids["failed"], b=ids["revoked"],
            )  # fmt: skip
            assert [tuple(row) for row in renewed] == [(2, True)] * 2
            assert len({now[each]["celery_id"] for each in ("failed", "revoked")} | {was["failed"]["celery_id"]}) == 3

    def test_covers_the_filter_and_not_a_page(self, tasks: TaskClient) -> None:
        revoke_many(tasks, 2000)
        later = tasks.create()
        accepted = start_filter(tasks, "delete", status="revoked")
        assert accepted["matched"] == 2000
        assert ended(tasks, accepted) == {"matched": 2000, "done": 2000, "failed": 0, "skipped": {}}
        assert [task["id"] for task in tasks.get().json()] == [later["id"]]
        assert tasks.get("count").json()["total"] == 1

    def test_takes_what_waits_for_one_reason(self, tasks: TaskClient) -> None:
        now, later = tasks.create()["id"], tasks.create(delay_seconds=3600)["id"]
        accepted = start_filter(tasks, "cancel", waiting_for="schedule")
        assert ended(tasks, accepted) == {"matched": 1, "done": 1, "failed": 0, "skipped": {}}
        assert [tasks.get(each).json()["status"] for each in (now, later)] == ["pending", "revoked"]

    def test_skips_unknown_ids_and_tasks_of_others(self, tasks: TaskClient, admin: TaskClient) -> None:
        own, others = tasks.task_in("pending"), admin.task_in("pending")
        ids = [own, str(uuid4()), others, own]
        dry = tasks.post("bulk/cancel", {"ids": ids, "dry_run": True}).json()
        assert (dry["matched"], [task["id"] for task in dry["sample"]]) == (1, [own])
        accepted = start(tasks, "cancel", ids=ids)
        assert accepted["matched"] == 1
        assert ended(tasks, accepted)["skipped"] == {"task_not_found": 2}
        assert admin.get(others).json()["status"] == "pending"
        # An administrator reaches all tasks, as the single calls do.
        assert ended(admin, start(admin, "cancel", ids=[own, others]))["done"] == 2

    def test_of_an_administrator_takes_the_filter_of_the_list(self, tasks: TaskClient, admin: TaskClient) -> None:
        ids = [tasks.create(task_type="bulk")["id"], admin.create(task_type="bulk")["id"]]
        assert preview(admin, "cancel", task_type="bulk")["matched"] == 1
        assert preview(admin, "cancel", task_type="bulk", user_id=tasks.user["id"])["sample"][0]["id"] == ids[0]
        accepted = start_filter(admin, "cancel", task_type="bulk", user_id="all")
        assert ended(admin, accepted)["done"] == 2
        assert tasks.get(f"bulk/{accepted['id']}").json()["code"] == "bulk_deed_not_found"

    def test_of_a_demoted_administrator_reaches_their_own_tasks_alone(
        self, tasks: TaskClient, admin: TaskClient
    ) -> None:
        accepted = start(admin, "cancel", ids=[tasks.create()["id"], admin.create()["id"]])
        sql("UPDATE users SET role = 'user' WHERE id = :id", id=admin.user["id"])
        assert ended(admin, accepted) == {"matched": 2, "done": 1, "failed": 0, "skipped": {"task_not_found": 1}}

    def test_of_a_deactivated_user_is_aborted(self, tasks: TaskClient, admin: TaskClient) -> None:
        task_id = tasks.create()["id"]
        accepted = start(tasks, "cancel", ids=[task_id])
        sql("UPDATE users SET is_active = false WHERE id = :id", id=tasks.user["id"])
        with pytest.raises(AssertionError, match="aborted"):
            ended(admin, accepted)
        assert admin.get(task_id).json()["status"] == "pending"

    def test_skips_what_has_changed_since_it_was_accepted(self, tasks: TaskClient) -> None:
        retried, deleted, kept = (tasks.task_in("failed") for _ in range(3))
        accepted = start_filter(tasks, "retry", status="failed")
        later = tasks.task_in("failed")
        assert tasks.post(f"{retried}/retry").status_code == 202
        assert tasks.delete(deleted).status_code == 204
        skipped = {"invalid_transition": 1, "task_not_found": 1}
        assert ended(tasks, accepted) == {"matched": 3, "done": 1, "failed": 0, "skipped": skipped}
        assert [tasks.get(each).json()["status"] for each in (kept, later)] == ["pending", "failed"]

    def test_reaches_what_no_longer_matches_but_did(self, tasks: TaskClient) -> None:
        """A pending task that began meanwhile is stopped: it matched."""
        task_id = tasks.create()["id"]
        accepted = start_filter(tasks, "cancel", status="pending")
        with SessionLocal() as db:
            claim(db, task_service.get_task(db, UUID(task_id)))
        assert ended(tasks, accepted)["done"] == 1
        assert tasks.get(task_id).json()["cancel_requested_at"]


class TestARetry:
    def test_counts_in_the_quotas(self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        for _ in range(5):
            tasks.task_in("failed")
        monkeypatch.setattr(get_settings(), "quota_queued_tasks", 3)
        accepted = start_filter(tasks, "retry", status="failed")
        assert ended(tasks, accepted)["skipped"] == {"queued_tasks_quota": 2}
        assert tasks.get("count").json()["pending"] == 3
        with SessionLocal() as db:  # Python code is trusted
            ids = [UUID(task["id"]) for task in tasks.get(status="failed").json()]
            python = task_service.start_bulk(db, "retry", user_id=UUID(tasks.user["id"]), ids=ids)
        assert ended(tasks, {"id": python.id})["done"] == 2

    def test_takes_unique_keys_again(self, tasks: TaskClient) -> None:
        keyed = [tasks.task_in("failed", unique_key="k") for _ in range(2)]
        free = tasks.task_in("failed", unique_key="other")
        accepted = start(tasks, "retry", ids=[*keyed, free])
        assert ended(tasks, accepted) == {"matched": 3, "done": 2, "failed": 0, "skipped": {"unique_key_taken": 1}}

    def test_asks_for_rights_and_limits_as_the_single_call_does(self, tasks: TaskClient) -> None:
        with SessionLocal() as db:
            task_service.put_limit(db, "gone", concurrency=1)
        fields: tuple[dict[str, str], ...] = ({"priority": "high"}, {"limit": "gone"}, {})
        high, limited, plain = (tasks.task_in("revoked", **each) for each in fields)
        with SessionLocal() as db:
            task_service.delete_limit(db, "gone")
        sql("UPDATE users SET max_priority = 'normal' WHERE id = :id", id=tasks.user["id"])
        accepted = start(tasks, "retry", ids=[high, limited, plain])
        codes = [tasks.post(f"{each}/retry").json()["code"] for each in (high, limited)]
        assert ended(tasks, accepted)["skipped"] == dict.fromkeys(sorted(codes), 1)
        assert codes == ["priority_not_allowed", "unknown_limit"]
        assert counts(tasks, accepted)["done"] == 1
