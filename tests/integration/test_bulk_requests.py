"""Requests of bulk operations: what is refused, what a preview says, and what its token is good for."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.db.session import SessionLocal
from app.errors import AdminOnly, BulkDeedNotFound, InvalidInput
from app.models.audit import AuditRecord
from app.models.task_filter import TaskFilter
from app.services.bulk import deeds
from app.services.task_service import task_service
from app.services.tasks import task_queries
from tests.support.bulk import counts, ended, preview, start
from tests.support.settings import sql
from tests.support.task_client import TaskClient, module_client

client = module_client()
PENDING = {"status": ["pending"]}


def code(tasks: TaskClient, deed: str = "cancel", **body: Any) -> str:
    answer = tasks.post(f"bulk/{deed}", body)
    assert answer.status_code in {403, 422, 429}, answer.text
    return str(answer.json()["code"])


class TestARequest:
    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"dry_run": True},
            {"ids": []},
            {"ids": None},
            {"ids": ["x"]},
            {"ids": [str(uuid4())] * 1001},
            {"ids": [str(uuid4())], "filter": PENDING},
            {"filter": {}, "dry_run": True},
            {"filter": {"status": [], "name": None}, "dry_run": True},
            {"filter": {"q": ""}, "dry_run": True},
            {"filter": {"q": " "}, "dry_run": True},
            {"filter": {"q": "x" * 501}, "dry_run": True},
            {"filter": {"status": "gone"}, "dry_run": True},
            {"filter": {"state": "pending"}, "dry_run": True},
            {"filter": {"created_after": 1}, "dry_run": True},
            {"filter": {"tag": ["x"] * 21}, "dry_run": True},
            {"filter": PENDING, "dry_run": True, "token": "x"},
            {"ids": [str(uuid4())], "force": True},
            {"ids": [str(uuid4())], "dry_run": 0},
            {"ids": [str(uuid4())], "dry_run": None},
        ],
    )
    def test_that_is_not_clear_is_refused(self, tasks: TaskClient, body: dict[str, Any]) -> None:
        answer = tasks.post("bulk/cancel", body)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_error"), answer.text

    def test_by_filter_needs_a_preview(self, tasks: TaskClient) -> None:
        assert code(tasks, filter=PENDING) == "preview_required"

    def test_by_a_search_is_read_as_in_the_list(self, tasks: TaskClient, admin: TaskClient) -> None:
        tasks.create(name="monthly report", tags=["a"])
        tasks.create(name="report")
        assert preview(tasks, "cancel", q="report status:pending")["matched"] == 2
        assert preview(tasks, "cancel", q="report", tag="a")["matched"] == 1
        assert preview(admin, "cancel", q=f"user:{tasks.user['username']} report")["matched"] == 2
        token = preview(tasks, "cancel", q='"monthly report"')["token"]
        assert start(tasks, "cancel", token=token, filter={"name": "monthly report"})["matched"] == 1
        refused = {
            "tag:a status:xyzzy": "word 2: status must be 'pending', 'running', 'succeeded', 'failed' or 'revoked'",
            "statsu:xyzzy": "word 1: unknown key, did you mean status",
            "tag:a": "tag is a parameter, too: send one of both",
        }
        for text, reason in refused.items():
            answer = tasks.post("bulk/cancel", {"filter": {"q": text, "tag": "b"}, "dry_run": True})
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_search"), answer.text
            assert answer.json()["errors"][0] == {"loc": ["body", "filter", "q"], "msg": reason, "type": "search"}
            assert "xyzzy" not in answer.text
        chinese = tasks.request(
            "POST", "bulk/cancel", json={"filter": {"q": "x:1"}, "dry_run": True}, headers={"Accept-Language": "zh"}
        )
        assert chinese.json()["errors"][0]["msg"] == "第 1 个词：未知的键"

    def test_for_the_tasks_of_others_is_for_administrators(self, tasks: TaskClient) -> None:
        assert code(tasks, filter={"user_id": "all"}, dry_run=True) == "admin_only"
        with SessionLocal() as db, pytest.raises(AdminOnly):
            task_service.start_bulk(db, "cancel", user_id=UUID(tasks.user["id"]), wanted=TaskFilter())

    def test_from_python_names_tasks(self, tasks: TaskClient) -> None:
        user_id = UUID(tasks.user["id"])
        with SessionLocal() as db:
            for call in (task_service.preview_bulk, task_service.start_bulk):
                with pytest.raises(InvalidInput):
                    call(db, "cancel", user_id=user_id)
            with pytest.raises(BulkDeedNotFound):
                task_service.get_bulk(db, uuid4())

    def test_beyond_the_number_of_running_ones_is_refused(
        self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(get_settings(), "quota_bulk_deeds", 2)
        body = {"ids": [str(uuid4())]}
        first, _ = (start(tasks, "cancel", **body) for _ in range(2))
        refused = tasks.post("bulk/cancel", body)
        assert (refused.status_code, refused.json()["code"]) == (429, "bulk_deeds_quota")
        assert refused.headers["retry-after"] == "5"
        assert tasks.post(f"bulk/{first['id']}/abort").status_code == 200
        start(tasks, "cancel", **body)


class TestAPreview:
    def test_counts_as_the_list_does_and_changes_nothing(self, tasks: TaskClient) -> None:
        made = [tasks.create(tags=["a", "b"], priority="high") for _ in range(12)]
        tasks.create()
        for wanted in (
            {"tag": ["b", "a"]},
            {"tag": "a", "priority": 3},
            {"status": "pending", "queue": "high_priority"},
        ):
            shown = preview(tasks, "cancel", **wanted)
            assert shown["matched"] == tasks.get("count", **wanted).json()["total"] == 12
            assert shown["sample"] == tasks.get(limit=10, **wanted).json()
        assert preview(tasks, "cancel", waiting_for="schedule")["matched"] == 0
        assert ended(tasks, start(tasks, "cancel", token=preview(tasks, "cancel", name="nothing")["token"])) == {
            "matched": 0, "done": 0, "failed": 0, "skipped": {},
        }  # fmt: skip
        dry = tasks.post("bulk/cancel", {"ids": [task["id"] for task in made], "dry_run": True}).json()
        assert (dry["matched"], len(dry["sample"])) == (12, 10)
        assert {task["status"] for task in tasks.get().json()} == {"pending"}

    def test_of_nothing_reads_the_tasks_once(self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each page of a search that finds nothing reads LOOK rows, until there are no more."""
        for _ in range(3):
            tasks.create(name="a task")
        searched: list[TaskFilter] = []
        search = task_queries.shown_page

        def noting(db: Session, wanted: TaskFilter, *args: Any, **options: Any) -> Any:
            searched.append(wanted)
            return search(db, wanted, *args, **options)

        monkeypatch.setattr(task_queries, "shown_page", noting)
        user_id = UUID(tasks.user["id"])
        with SessionLocal() as db:
            for name, matched in (("a task", 3), ("nothing", 0)):
                shown = task_service.preview_bulk(db, "cancel", user_id=user_id, wanted=TaskFilter(user_id, name=name))
                assert (shown.matched, len(shown.sample)) == (matched, matched)
        assert [wanted.name for wanted in searched] == ["a task"]


class TestAToken:
    def test_is_for_the_tasks_of_its_time_that_match_when_it_is_sent(self, tasks: TaskClient) -> None:
        failed, left = tasks.task_in("failed"), tasks.task_in("failed")
        shown = preview(tasks, "delete", status="failed")
        assert shown["matched"] == 2
        created = tasks.task_in("failed")
        assert tasks.post(f"{left}/retry").status_code == 202
        accepted = start(tasks, "delete", token=shown["token"])
        assert accepted["matched"] == 1
        assert ended(tasks, accepted) == {"matched": 1, "done": 1, "failed": 0, "skipped": {}}
        assert tasks.get(failed).status_code == 404
        assert [tasks.get(each).status_code for each in (left, created)] == [200, 200]

    def test_takes_the_same_filter_and_no_other(self, tasks: TaskClient, admin: TaskClient) -> None:
        same = {"tag": ["a", "b"], "status": ["failed", "revoked"]}
        token = preview(tasks, "delete", **same)["token"]
        assert code(tasks, "delete", token=token, filter=PENDING) == "token_mismatch"
        assert code(tasks, "delete", token=token, filter={"tag": ["a", "b"]}) == "token_mismatch"
        assert code(tasks, "delete", token=token, ids=[str(uuid4())]) == "token_mismatch"
        assert code(tasks, "cancel", token=token) == "token_mismatch"
        assert code(admin, "delete", token=token) == "token_expired"
        reordered = {"status": ["revoked", "failed", "failed"], "tag": ["b", "a"], "name": None}
        assert start(tasks, "delete", token=token, filter=reordered)["matched"] == 0

    def test_of_ids_takes_the_same_ids(self, tasks: TaskClient) -> None:
        ids = [tasks.create()["id"] for _ in range(2)]
        token = tasks.post("bulk/cancel", {"ids": ids, "dry_run": True}).json()["token"]
        assert code(tasks, token=token, ids=ids[:1]) == "token_mismatch"
        accepted = start(tasks, "cancel", token=token, ids=ids)
        assert start(tasks, "cancel", token=token) == accepted
        assert ended(tasks, accepted)["done"] == 2

    def test_that_is_late_or_not_of_this_service_is_refused(
        self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        token = preview(tasks, "cancel", **PENDING)["token"]
        middle = len(token) // 2
        other = "A" if token[middle] != "A" else "B"
        for changed in (token[:middle] + other + token[middle + 1 :], token[:-8], "x", "…", "a b"):
            assert code(tasks, token=changed) == "token_expired"
        assert timedelta(minutes=10) == deeds.TOKEN_LIFETIME
        monkeypatch.setattr(deeds, "TOKEN_LIFETIME", timedelta(0))
        assert code(tasks, token=token) == "token_expired"

    def test_of_an_administrator_who_is_none_any_more_is_refused(self, admin: TaskClient) -> None:
        token = preview(admin, "cancel", user_id="all")["token"]
        sql("UPDATE users SET role = 'user' WHERE id = :id", id=admin.user["id"])
        assert code(admin, token=token) == "admin_only"

    def test_sent_many_times_at_once_makes_one_deed(self, tasks: TaskClient) -> None:
        tasks.create()
        token = preview(tasks, "cancel", **PENDING)["token"]
        together = threading.Barrier(4)

        def send(_: int) -> UUID:
            together.wait(30)
            with SessionLocal() as db:
                return task_service.start_bulk(db, "cancel", user_id=UUID(tasks.user["id"]), token=token).id

        with ThreadPoolExecutor(4) as pool:
            (deed_id,) = set(pool.map(send, range(4)))
        accepted = start(tasks, "cancel", token=token)
        assert accepted == {"id": str(deed_id), "matched": 1}
        assert ended(tasks, accepted)["done"] == 1
        assert start(tasks, "cancel", token=token) == accepted
        assert counts(tasks, accepted)["done"] == 1
        with SessionLocal() as db:
            of_deed = select(AuditRecord.event, func.count()).where(AuditRecord.object_id == str(deed_id))
            events = [tuple(row) for row in db.execute(of_deed.group_by(AuditRecord.event).order_by(AuditRecord.event))]
        assert events == [("bulk.ended", 1), ("bulk.started", 1)]
