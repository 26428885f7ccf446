"""Reading output over HTTP and from Python, and keeping it: pages, filters, rights, bytes, the fence."""

import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.core.config import get_settings
from app.core.json_text import dump_json
from app.db.session import SessionLocal, autocommit_engine
from app.db.sql import attached_rows as statements
from app.db.statements import retention
from app.ddl.terms import OUTPUT_ROW_BYTES
from app.errors import TaskNotFound, TooManyBytesStored
from app.live.queries import read_output
from app.models.task import Task, TaskOutput, TaskStatus
from app.schemas.task import TaskOutputRead
from app.services.execution import ends
from app.services.task_service import task_service
from app.services.tasks import task_changes, task_history
from app.services.tasks.quotas import Load, Quotas
from tests.support.accounts import bearer
from tests.support.retention import purge_finished
from tests.support.statements import before_each_statement
from tests.support.tasks import claim, new_task, new_user, retried, task_in

SEQ = 1 << 32


def chunk(seq: int, value: Any, stream: str = "output") -> statements.Chunk:
    json_text = dump_json(value)
    size = OUTPUT_ROW_BYTES + len(stream.encode()) + len(json_text)
    return statements.Chunk(seq, stream, "2026-11-25T10:30:00.5+00:00", json_text, size)


def write(db: Session, task: Task, *chunks: statements.Chunk, attempt: int = 1, has_ended: bool = False) -> Any:
    found = statements.write_output(db, task.id, attempt, chunks, has_ended=has_ended)
    db.commit()
    return found


def attached(db: Session, task: Task) -> int:
    return db.execute(select(Task.attached_bytes).where(Task.id == task.id)).scalar_one()


def stored(db: Session, task: Task) -> list[tuple[int, Any]]:
    rows = db.scalars(select(TaskOutput).where(TaskOutput.task_id == task.id).order_by(TaskOutput.seq))
    return [(row.seq, row.chunk) for row in rows]


def again(db: Session, task: Task) -> None:
    """The next attempt."""
    retried(db, task_service.get_task(db, task.id))
    claim(db, task)
    db.commit()


@pytest.fixture
def running(db: Session) -> Task:
    return task_in(db, TaskStatus.RUNNING)


class TestReading:
    @pytest.fixture
    def ask(self, client: TestClient, user: dict[str, Any], token: str) -> Callable[..., httpx.Response]:
        with SessionLocal() as db:
            task = task_in(db, TaskStatus.RUNNING, UUID(user["id"]))
            write(db, task, chunk(SEQ + 1, "a"), chunk(SEQ + 2, {"n": [1, None]}, "Ünïcode"), chunk(SEQ + 3, "b"))
            again(db, task)
            write(db, task, chunk(2 * SEQ + 1, None), attempt=2)

        def request(query: str = "", **headers: str) -> httpx.Response:
            return client.get(f"/api/v1/tasks/{task.id}/output{query}", headers=bearer(token) | headers)

        return request

    def test_shows_each_chunk_in_order(self, ask: Callable[..., httpx.Response]) -> None:
        answer = ask()
        assert answer.status_code == 200
        assert [(each["seq"], each["chunk"]) for each in answer.json()] == [
            (SEQ + 1, "a"),
            (SEQ + 2, {"n": [1, None]}),
            (SEQ + 3, "b"),
            (2 * SEQ + 1, None),
        ]
        assert answer.json()[1] == {
            "seq": SEQ + 2,
            "stream": "Ünïcode",
            "attempt": 1,
            "at": "2026-11-25T10:30:00.500000Z",
            "chunk": {"n": [1, None]},
        }
        assert "link" not in answer.headers

    def test_hides_what_stands_below_a_secret_key(self, db: Session, running: Task) -> None:
        write(db, running, chunk(SEQ + 1, {"password": "hunter2", "rows": 1}))
        (found,) = task_service.list_output(db, running.id).items
        assert TaskOutputRead.model_validate(found).chunk == {"password": "***", "rows": 1}
        assert stored(db, running) == [(SEQ + 1, {"password": "hunter2", "rows": 1})]

    def test_only_what_is_asked_for(self, ask: Callable[..., httpx.Response]) -> None:
        expected = {
            "?stream=output": ["a", "b", None],
            "?stream=%C3%9Cn%C3%AFcode": [{"n": [1, None]}],
            "?stream=other": [],
            f"?after={SEQ + 2}": ["b", None],
            f"?after={SEQ + 1}&stream=output": ["b", None],
            f"?after={2 * SEQ + 1}": [],
        }
        assert {query: [each["chunk"] for each in ask(query).json()] for query in expected} == expected

    def test_pages_follow_each_other(self, ask: Callable[..., httpx.Response]) -> None:
        found, query = [], "?limit=2&stream=output"
        while query:
            answer = ask(query)
            found.append([each["chunk"] for each in answer.json()])
            query = httpx.URL(answer.links["next"]["url"]).query.decode() if "next" in answer.links else ""
            query = query and f"?{query}"
        assert found == [["a", "b"], [None]]

    def test_nonsense_is_refused(self, ask: Callable[..., httpx.Response]) -> None:
        long = f"?stream={'x' * 201}"
        for query in ("?stream=", long, "?after=-1", "?after=x", f"?after={2**63}", "?limit=0", "?limit=201"):
            answer = ask(query)
            assert (query, answer.status_code, answer.json()["code"]) == (query, 422, "validation_error")

    def test_anothers_output_is_as_that_of_no_task(
        self, client: TestClient, make_user: Callable[..., Any], ask: Callable[..., httpx.Response]
    ) -> None:
        path = ask().request.url.path
        stranger, admin = make_user()[1], make_user("admin")[1]
        for follow in ("", "?follow=true"):
            hidden = client.get(path + follow, headers=bearer(stranger))
            unknown = client.get(f"/api/v1/tasks/{uuid4()}/output{follow}", headers=bearer(stranger))
            shown = [{**each.json(), "instance": "", "request_id": ""} for each in (hidden, unknown)]
            assert (hidden.status_code, shown[0]["code"]) == (404, "task_not_found")
            assert shown[0] == shown[1]
        assert client.get(path, headers=bearer(admin)).status_code == 200

    def test_from_python(self, db: Session, running: Task) -> None:
        write(db, running, chunk(SEQ + 1, "a"), chunk(SEQ + 2, "b", "other"))
        page = task_service.list_output(db, running.id, 1)
        assert ([each.chunk for each in page.items], page.last) == (["a"], SEQ + 1)
        assert [each.chunk for each in task_service.list_output(db, str(running.id), stream="other").items] == ["b"]
        with pytest.raises(TaskNotFound):
            task_service.list_output(db, running.id, owner=new_user(db))

    def test_a_page_ends_at_its_bytes_with_one_chunk_at_least(self, db: Session, running: Task) -> None:
        write(db, running, *(chunk(SEQ + number, "x" * 1000) for number in range(1, 6)))
        pages, after = [], 0
        while True:
            page = task_history.page_of_output(db, running.id, None, 100, after, 2500)
            pages.append(len(page.items))
            if page.last is None:
                break
            after = page.last
        assert pages == [2, 2, 1]
        assert len(task_history.page_of_output(db, running.id, None, 100, 0, 1).items) == 1
        newest = task_history.newest_output(db, running.id, 100, 2500)
        assert ([each.seq - SEQ for each in newest.items], newest.last) == ([4, 5], SEQ + 4)
        assert task_history.newest_output(db, running.id, 5, 10_000).last is None


class TestFollowing:
    @pytest.mark.usefixtures("fresh_database")
    @pytest.mark.parametrize("moment", range(1, 5))
    def test_ends_behind_the_last_chunk_at_whatever_moment_the_task_ends(self, moment: int) -> None:
        """The body writes its last chunk and ends before this statement of those who look."""
        count = 0

        def reached(_statement: str, _parameters: Any) -> None:
            nonlocal count
            count += 1
            if count == moment:
                with SessionLocal() as body:
                    write(body, task, chunk(SEQ + 2, "last"))
                    assert ends.end_attempt(body, task.id, 1, ends.succeeded(None))
                    body.commit()

        with SessionLocal() as db:
            task = task_in(db, TaskStatus.RUNNING)
            write(db, task, chunk(SEQ + 1, "first"))
        found: list[str] = []
        with SessionLocal(bind=autocommit_engine()) as db, before_each_statement(reached):
            ended, after = False, 0
            while not ended:
                page = partial(task_history.page_of_output, task_id=task.id, stream=None, limit=100, after=after)
                look = task_history.read_so_far(db, task.id, None, page)
                ended, after = look.ended, look.items[-1].seq if look.items else after
                found += [each.chunk for each in look.items]
        assert found == ["first", "last"]

    @pytest.mark.usefixtures("fresh_database")
    def test_tells_of_each_new_attempt_once(self) -> None:
        def look(after: int) -> tuple[list[bytes], int]:
            piece = read_output(task.id, None, None, after)
            return [
                each.split(b"\n")[0].removeprefix(b"event: ") for each in piece.events.split(b"\n\n")[:-1]
            ], piece.last

        with SessionLocal() as db:
            task = task_in(db, TaskStatus.RUNNING)
            assert look(0) == ([], SEQ)  # stands before the first chunk of the first attempt
            again(db, task)
            assert look(SEQ) == ([b"reset"], 2 * SEQ)
            assert look(0) == ([], 2 * SEQ)
            write(db, task, chunk(2 * SEQ + 1, "a"), attempt=2)
            assert look(2 * SEQ) == ([b"output"], 2 * SEQ + 1)
            again(db, task)
            again(db, task)
            write(db, task, chunk(4 * SEQ + 1, "b"), attempt=4)
        assert look(0) == look(1) == ([b"output", b"reset", b"output"], 4 * SEQ + 1)
        assert look(SEQ + 7) == ([b"reset", b"output", b"reset", b"output"], 4 * SEQ + 1)
        assert look(2 * SEQ + 1) == ([b"reset", b"output"], 4 * SEQ + 1)
        assert look(4 * SEQ + 1) == ([], 4 * SEQ + 1)
        assert look(2**63 - 1) == ([], 2**63 - 1)


class TestKeeping:
    def test_counts_the_bytes_with_the_task_and_changes_nothing_else(self, db: Session, running: Task) -> None:
        before = attached(db, running)
        chunks = [chunk(SEQ + 1, "é" * 10), chunk(SEQ + 2, 1, "é")]
        assert write(db, running, *chunks)[0] is None
        assert attached(db, running) - before == sum(each.bytes for each in chunks)
        assert statements.stored_output_bytes(db, running.id) == sum(each.bytes for each in chunks)
        after = task_service.get_task(db, running.id)
        assert (after.version, after.updated_at, after.status) == (running.version, running.updated_at, "running")

    def test_again_after_a_lost_reply_writes_and_counts_once(self, db: Session, running: Task) -> None:
        sizes = []
        for chunks in ([chunk(SEQ + 1, "a")], [chunk(SEQ + 1, "a"), chunk(SEQ + 2, "b")]) * 2:
            write(db, running, *chunks)
            sizes.append(attached(db, running))
        assert sizes[1] == sizes[2] == sizes[3]
        assert stored(db, running) == [(SEQ + 1, "a"), (SEQ + 2, "b")]

    def test_says_that_a_cancellation_was_requested(self, db: Session, running: Task) -> None:
        task_service.cancel(db, running.id)
        assert write(db, running, chunk(SEQ + 1, "a"))[0] is not None

    def test_an_attempt_that_does_not_hold_the_task_adds_nothing(self, db: Session, running: Task) -> None:
        before = attached(db, running)
        assert write(db, running, chunk(2 * SEQ + 1, "later"), attempt=2) is None
        assert ends.end_attempt(db, running.id, 1, ends.succeeded(None))
        assert write(db, running, chunk(SEQ + 1, "ended")) is None
        assert write(db, new_task(db), chunk(1, "pending"), attempt=0) is None
        assert write(db, running, chunk(2 * SEQ + 1, "later"), attempt=2, has_ended=True) is None
        assert (stored(db, running), attached(db, running)) == ([], before)
        assert write(db, running, chunk(SEQ + 1, "by the body"), has_ended=True) is not None
        assert stored(db, running) == [(SEQ + 1, "by the body")]
        task_service.delete(db, running.id)
        assert write(db, running, chunk(SEQ + 2, "deleted"), has_ended=True) is None

    @pytest.mark.usefixtures("fresh_database")
    def test_waits_for_a_change_of_the_row_and_counts_on_what_that_left(self) -> None:
        with SessionLocal() as db:
            task = task_in(db, TaskStatus.RUNNING)
            before = attached(db, task)
            db.commit()
        with SessionLocal() as other, SessionLocal() as db:
            other.execute(update(Task).where(Task.id == task.id).values(attached_bytes=Task.attached_bytes + 7))
            release = threading.Timer(0.05, other.commit)
            release.start()
            assert write(db, task, chunk(SEQ + 1, "a")) is not None
            release.join()
            assert attached(db, task) == before + 7 + chunk(SEQ + 1, "a").bytes

    def test_counts_in_the_quota_of_what_is_kept_and_goes_with_the_task(
        self, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        user = new_user(db)
        task = task_in(db, TaskStatus.RUNNING, user)
        write(db, task, *(chunk(SEQ + number, "x" * 1000) for number in range(20)))
        monkeypatch.setattr(get_settings(), "quota_stored_bytes", 20_000)
        with pytest.raises(TooManyBytesStored), Quotas().reserve(db, user, Load(1, 0, 1)):
            pass
        assert ends.end_attempt(db, task.id, 1, ends.succeeded(None))
        db.commit()
        with pytest.raises(TooManyBytesStored), Quotas().reserve(db, user, Load(1, 0, 1)):
            pass
        task_service.delete(db, task.id)
        assert stored(db, task) == []
        with Quotas().reserve(db, user, Load(1, 0, 1)):
            pass
        assert int(db.execute(text("SELECT sum(bytes) FROM task_count_changes")).scalar_one()) == 0

    def test_a_purge_deletes_by_bytes_and_leaves_nothing(self, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(task_changes, "PURGE_BYTES", 3000)
        user = new_user(db)
        for _ in range(5):
            write(db, task_in(db, TaskStatus.SUCCEEDED, user), chunk(SEQ + 1, "x" * 1000), has_ended=True)
        assert 0 < retention.delete_older(db, timedelta(0), 5, task_changes.PURGE_BYTES) < 3
        assert 3 <= purge_finished(db, days=0) <= 4
        assert db.scalar(select(func.count()).select_from(TaskOutput)) == 0

    def test_goes_with_its_user(self, client: TestClient, make_user: Callable[..., Any]) -> None:
        user, _ = make_user()
        with SessionLocal() as db:
            task = task_in(db, TaskStatus.SUCCEEDED, UUID(user["id"]))
            write(db, task, chunk(SEQ + 1, "x"), has_ended=True)
            db.rollback()
            deleted = client.delete(f"/api/v1/users/{user['id']}", headers=bearer(make_user("admin")[1]))
            assert deleted.status_code == 204, deleted.text
            assert stored(db, task) == []
