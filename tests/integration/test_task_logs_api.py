"""Reading log lines over HTTP and from Python, and keeping them: pages, filters, rights, bytes."""

import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.db.session import SessionLocal, autocommit_engine
from app.db.statements import retention
from app.errors import TaskNotFound
from app.models.task import LogLevel, Task, TaskLog, TaskStatus
from app.services.execution import ends
from app.services.task_service import task_service
from app.services.tasks import task_changes, task_history
from app.services.tasks.task_history import KeptLogs, LogLine
from tests.support.accounts import bearer
from tests.support.retention import purge_finished
from tests.support.statements import before_each_statement
from tests.support.tasks import new_task, new_user, task_in

LIMIT = 64 * 1024
SEQ = 1 << 32


def line(message: str, level: int = 20, fields: dict[str, Any] | None = None) -> LogLine:
    return LogLine("2026-11-25T10:30:00.5+00:00", level, "a.logger", message, json.dumps(fields or {}))


def write(db: Session, task: Task, *lines: LogLine, attempt: int = 1, kept: KeptLogs | None = None) -> KeptLogs:
    kept = kept or KeptLogs(task.id, attempt, LIMIT)
    assert kept.write(db, kept.numbered(lines))
    db.commit()
    return kept


def attached(db: Session, task: Task) -> int:
    return db.execute(select(Task.attached_bytes).where(Task.id == task.id)).scalar_one()


def stored(db: Session, task: Task) -> list[LogLine]:
    rows = db.scalars(select(TaskLog).where(TaskLog.task_id == task.id).order_by(TaskLog.seq))
    return [line(row.message, row.level, row.fields) for row in rows]


class TestReading:
    @pytest.fixture
    def ask(self, client: TestClient, user: dict[str, Any], token: str) -> Callable[..., httpx.Response]:
        with SessionLocal() as db:
            task = new_task(db, UUID(user["id"]))
            levels = {"debug": 10, "info": 20, "in between": 25, "warning": 30, "critical": 60}
            write(db, task, *(line(name, level) for name, level in levels.items()))
            write(db, task, line("again", 20, {"rows": 1, "password": "***"}), attempt=2)

        def request(query: str = "", **headers: str) -> httpx.Response:
            return client.get(f"/api/v1/tasks/{task.id}/logs{query}", headers=bearer(token) | headers)

        return request

    def test_shows_each_line_in_order(self, ask: Callable[..., httpx.Response]) -> None:
        answer = ask()
        assert answer.status_code == 200
        assert [(each["message"], each["level"]) for each in answer.json()] == [
            ("debug", "DEBUG"),
            ("info", "INFO"),
            ("in between", "INFO"),
            ("warning", "WARNING"),
            ("critical", "CRITICAL"),
            ("again", "INFO"),
        ]
        assert answer.json()[-1] == {
            "seq": 2 * SEQ + 1,
            "at": "2026-11-25T10:30:00.500000Z",
            "level": "INFO",
            "logger": "a.logger",
            "message": "again",
            "attempt": 2,
            "fields": {"rows": 1, "password": "***"},
        }
        assert "link" not in answer.headers

    def test_only_what_is_asked_for(self, ask: Callable[..., httpx.Response]) -> None:
        expected = {
            "?attempt=2": ["again"],
            "?attempt=3": [],
            "?level=WARNING": ["warning", "critical"],
            "?level=error&attempt=1": ["critical"],
            f"?after={SEQ + 4}": ["critical", "again"],
            f"?after={2 * SEQ + 1}": [],
        }
        assert {query: [each["message"] for each in ask(query).json()] for query in expected} == expected

    def test_pages_follow_each_other(self, ask: Callable[..., httpx.Response]) -> None:
        found, query = [], "?limit=2&level=INFO"
        while query:
            answer = ask(query)
            found.append([each["message"] for each in answer.json()])
            query = httpx.URL(answer.links["next"]["url"]).query.decode() if "next" in answer.links else ""
            query = query and f"?{query}"
        assert found == [["info", "in between"], ["warning", "critical"], ["again"]]

    def test_nonsense_is_refused(self, ask: Callable[..., httpx.Response]) -> None:
        for query in ("?attempt=0", "?level=LOUD", "?after=-1", "?after=x", f"?after={2**63}", "?limit=0"):
            answer = ask(query)
            assert (query, answer.status_code, answer.json()["code"]) == (query, 422, "validation_error")

    def test_anothers_lines_are_as_those_of_no_task(
        self, client: TestClient, make_user: Callable[..., Any], ask: Callable[..., httpx.Response]
    ) -> None:
        path = ask().request.url.path
        stranger, admin = make_user()[1], make_user("admin")[1]
        for follow in ("", "?follow=true"):
            hidden = client.get(path + follow, headers=bearer(stranger))
            unknown = client.get(f"/api/v1/tasks/{uuid4()}/logs{follow}", headers=bearer(stranger))
            shown = [{**each.json(), "instance": "", "request_id": ""} for each in (hidden, unknown)]
            assert (hidden.status_code, shown[0]["code"]) == (404, "task_not_found")
            assert shown[0] == shown[1]
        assert client.get(path, headers=bearer(admin)).status_code == 200

    def test_from_python(self, db: Session) -> None:
        task = new_task(db)
        write(db, task, line("a"), line("b", 30))
        page = task_service.list_logs(db, task.id, 1)
        assert ([each.message for each in page.items], page.last) == (["a"], SEQ + 1)
        assert [each.message for each in task_service.list_logs(db, str(task.id), level="WARNING").items] == ["b"]
        with pytest.raises(TaskNotFound):
            task_service.list_logs(db, task.id, owner=new_user(db))

    def test_a_page_ends_at_its_bytes_with_one_line_at_least(self, db: Session) -> None:
        task = new_task(db)
        write(db, task, *(line("x" * 1000) for _ in range(5)))
        pages, after = [], 0
        while True:
            page = task_history.page_of_logs(db, task.id, task_history.LogFilter(), 100, after, 2500)
            pages.append(len(page.items))
            if page.last is None:
                break
            after = page.last
        assert pages == [2, 2, 1]
        assert len(task_history.page_of_logs(db, task.id, task_history.LogFilter(), 100, 0, 1).items) == 1


class TestFollowing:
    @pytest.mark.usefixtures("fresh_database")
    @pytest.mark.parametrize("moment", range(1, 5))
    def test_ends_behind_the_last_line_at_whatever_moment_the_task_ends(self, moment: int) -> None:
        """The body writes its last line and ends before this statement of those who look."""
        statements = 0

        def reached(_statement: str, _parameters: Any) -> None:
            nonlocal statements
            statements += 1
            if statements == moment:
                with SessionLocal() as body:
                    write(body, task, line("last"), kept=kept)
                    assert ends.end_attempt(body, task.id, 1, ends.succeeded(None))
                    body.commit()

        with SessionLocal() as db:
            task = task_in(db, TaskStatus.RUNNING)
            kept = write(db, task, line("first"))
        found: list[str] = []
        with SessionLocal(bind=autocommit_engine()) as db, before_each_statement(reached):
            ended, after = False, 0
            while not ended:
                page = partial(
                    task_history.page_of_logs, task_id=task.id, wanted=task_history.LogFilter(), limit=100, after=after
                )
                look = task_history.read_so_far(db, task.id, None, page)
                ended, after = look.ended, look.items[-1].seq if look.items else after
                found += [each.message for each in look.items]
        assert found == ["first", "last"]


class TestKeeping:
    def test_counts_the_bytes_with_the_task_and_changes_nothing_else(self, db: Session) -> None:
        task = new_task(db)
        before = attached(db, task)
        lines = [line("é" * 10, fields={"a": 1}), line("b")]
        write(db, task, *lines)
        assert attached(db, task) - before == sum(each.bytes for each in lines)
        after = task_service.get_task(db, task.id)
        assert (after.version, after.updated_at, after.status) == (task.version, task.updated_at, "pending")

    def test_again_after_a_lost_reply_writes_and_counts_once(self, db: Session) -> None:
        task = new_task(db)
        kept = KeptLogs(task.id, 1, LIMIT)
        numbered = kept.numbered([line("a"), line("b")])
        sizes = []
        for _ in range(2):
            kept.write(db, numbered)
            sizes.append(attached(db, task))
        assert sizes[0] == sizes[1]
        assert stored(db, task) == [line("a"), line("b")]

    def test_the_newest_lines_of_all_attempts_stay_within_the_limit(self, db: Session) -> None:
        task = new_task(db)
        before = attached(db, task)
        for attempt in (1, 2, 3):
            kept = KeptLogs(task.id, attempt, LIMIT)
            for number in range(20):
                write(db, task, *(line(f"{attempt} {number} {'x' * 500}") for _ in range(4)), kept=kept)
                size = sum(each.bytes for each in stored(db, task))
                assert size <= LIMIT
                assert attached(db, task) - before == size
            assert size > LIMIT / 2
        found = stored(db, task)
        assert found[-1].message.startswith("3 19 ")
        assert not found[0].message.startswith("1 ")

    def test_late_lines_of_a_lost_attempt_stand_in_their_place(self, db: Session) -> None:
        task = task_in(db, TaskStatus.RUNNING)
        lost = write(db, task, line("first"))
        write(db, task, line("second"), attempt=2)
        write(db, task, line("late"), kept=lost)
        assert [each.message for each in stored(db, task)] == ["first", "late", "second"]
        assert task_service.get_task(db, task.id).version == task.version

    def test_a_task_that_is_gone_gets_none(self, db: Session) -> None:
        task = new_task(db)
        task_service.delete(db, task.id, force=True)
        kept = KeptLogs(task.id, 1, LIMIT)
        assert not kept.write(db, kept.numbered([line("a")]))
        assert stored(db, task) == []

    def test_of_an_ended_task_they_are_in_the_sums_and_go_with_it(self, db: Session) -> None:
        task = task_in(db, TaskStatus.SUCCEEDED)

        def kept() -> int:
            return int(db.execute(text("SELECT sum(bytes) FROM task_count_changes")).scalar_one())

        before = kept()
        write(db, task, line("late"))
        assert kept() - before == line("late").bytes
        task_service.delete(db, task.id)
        assert kept() == 0
        assert stored(db, task) == []

    def test_a_purge_deletes_by_bytes_and_leaves_nothing(self, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(task_changes, "PURGE_BYTES", 3000)
        user = new_user(db)
        for _ in range(5):
            write(db, task_in(db, TaskStatus.SUCCEEDED, user), line("x" * 1000))
        assert 0 < retention.delete_older(db, timedelta(0), 5, task_changes.PURGE_BYTES) < 3
        assert 3 <= purge_finished(db, days=0) <= 4
        assert task_service.get_tasks(db, user) == []


def test_a_level_in_between_is_the_next_lower_one() -> None:
    for number in range(-10, 120, 5):
        shown = LogLevel.of(number)
        assert shown.number <= max(number, 10), number
        assert shown is LogLevel.CRITICAL or shown.number + 10 > number, number
