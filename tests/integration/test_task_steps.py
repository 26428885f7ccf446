"""The rows of steps: fenced by the attempt, counted with the task, and gone with it."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.json_text import dump_json
from app.db.session import SessionLocal
from app.db.sql import attached_rows as statements
from app.db.statements import submissions
from app.ddl.terms import STEP_BYTES
from app.errors import TaskNotFound
from app.models import Task, TaskStep
from app.services.execution import ends
from app.services.task_service import task_service
from tests.support.task_client import TaskClient
from tests.support.tasks import ERROR, claim, finish, new_task, new_user, retried


def step(name: str, number: int = 1, result: Any = 1, attempt: int = 1) -> statements.Step:
    text = dump_json(result)
    return statements.Step((attempt << 32) + number, name, 0.5, text, STEP_BYTES + len(name.encode()) + len(text))


def write(db: Session, task: Task, attempt: int, kept: statements.Step) -> Any:
    found = statements.write_step(db, task.id, attempt, kept)
    db.commit()
    return found


def stored(db: Session, task: Task) -> int:
    """What counts of ended tasks and of what has no sums, in the quota of the task's user."""
    return submissions.read_quota_use(
        db, user_id=task.user_id, queued=10, rated=False, window=60, oldest=UUID(int=0)
    ).ended


@pytest.fixture
def task(db: Session) -> Task:
    made = new_task(db)
    claim(db, made)
    db.commit()
    return made


class TestWriting:
    def test_keeps_name_time_and_result(self, db: Session, task: Task) -> None:
        before = stored(db, task)
        assert write(db, task, 1, step("数据 ✓", result={"big": 10**30, "zero": -0.0})) is not None
        assert statements.step_names(db, task.id) == {"数据 ✓"}
        assert dump_json(statements.step_result(db, task.id, "数据 ✓")) == dump_json({"big": 10**30, "zero": -0.0})
        [row] = task_service.list_steps(db, task.id).items
        assert (row.attempt, row.seq, (row.finished_at - row.started_at).total_seconds()) == (1, (1 << 32) + 1, 0.5)
        assert row.size == len(dump_json({"big": 10**30, "zero": -0.0}))
        assert stored(db, task) == before + row.bytes == before + row.size + STEP_BYTES + len("数据 ✓".encode())

    def test_again_after_a_lost_reply_is_done_once(self, db: Session, task: Task) -> None:
        for _ in range(2):
            assert write(db, task, 1, step("a")) is not None
        assert len(task_service.list_steps(db, task.id).items) == 1

    def test_tells_of_a_cancellation(self, db: Session, task: Task) -> None:
        assert write(db, task, 1, step("a"))[0] is None
        task_service.cancel(db, task.id)
        assert write(db, task, 1, step("b", 2))[0] is not None
        assert statements.step_names(db, task.id) == {"a", "b"}

    @pytest.mark.parametrize("end", ["retried", "claimed", "ended", "deleted"])
    def test_of_an_attempt_that_is_lost_keeps_nothing(self, db: Session, task: Task, end: str) -> None:
        assert write(db, task, 1, step("a")) is not None
        if end == "ended":
            ends.end_attempt(db, task.id, 1, ends.failed(ERROR))
        elif end == "deleted":
            ends.end_attempt(db, task.id, 1, ends.failed(ERROR))
            task_service.delete(db, task.id)
        else:
            retried(db, task_service.get_task(db, task.id))
        if end == "claimed":
            claim(db, task)
        db.commit()
        assert write(db, task, 1, step("b", 2)) is None
        if end != "deleted":
            assert statements.step_names(db, task.id) == {"a"}

    def test_names_that_differ_little_are_two(self, db: Session, task: Task) -> None:
        for number, name in enumerate(("a", "A", "a ", "ä", "a\u0308"), 1):
            assert write(db, task, 1, step(name, number, name)) is not None
        assert {name: statements.step_result(db, task.id, name) for name in statements.step_names(db, task.id)} == {
            name: name for name in ("a", "A", "a ", "ä", "a\u0308")
        }


class TestWhatIsKept:
    def test_is_there_in_a_later_attempt_and_after_a_retry(self, db: Session, task: Task) -> None:
        write(db, task, 1, step("a"))
        retried(db, task_service.get_task(db, task.id))
        assert claim(db, task).attempt == 2
        db.commit()
        write(db, task, 2, step("b", attempt=2))
        ends.end_attempt(db, task.id, 2, ends.failed(ERROR))
        db.commit()
        task_service.retry_task(db, task.id)
        assert [(each.name, each.attempt) for each in task_service.list_steps(db, task.id).items] == [
            ("a", 1),
            ("b", 2),
        ]

    def test_is_gone_after_a_retry_from_the_start(self, db: Session, task: Task) -> None:
        write(db, task, 1, step("a"))
        ends.end_attempt(db, task.id, 1, ends.stopped("cancelled"))
        db.commit()
        task_service.retry_task(db, task.id, from_start=True)
        assert statements.step_names(db, task.id) == set()

    def test_is_not_of_a_task_that_replaces_it(self, db: Session) -> None:
        key: dict[str, Any] = {"unique_key": "k", "user_id": new_user(db)}
        task = new_task(db, **key)
        claim(db, task)
        db.commit()
        write(db, task, 1, step("a"))
        retried(db, task_service.get_task(db, task.id), delay=3600)
        same = new_task(db, **key, on_conflict="replace")
        assert same.id == task.id
        assert statements.step_names(db, task.id) == set()

    def test_is_not_of_a_task_that_repeats_it(self, db: Session, task: Task) -> None:
        write(db, task, 1, step("a"))
        ends.end_attempt(db, task.id, 1, ends.failed(ERROR))
        db.commit()
        new, _ = task_service.retry_with_changes(db, task.id, {"priority": "high"})
        assert statements.step_names(db, new.id) == set()
        assert statements.step_names(db, task.id) == {"a"}

    def test_goes_with_its_task(self, db: Session, task: Task) -> None:
        write(db, task, 1, step("a"))
        ends.end_attempt(db, task.id, 1, ends.failed(ERROR))
        db.commit()
        assert task_service.delete(db, task.id)
        assert db.scalars(select(TaskStep)).all() == []


class TestPages:
    def test_are_in_the_order_of_the_ends(self, db: Session, task: Task) -> None:
        for number in range(1, 6):
            write(db, task, 1, step(f"s{number}", number, number))
        first = task_service.list_steps(db, task.id, 2)
        second = task_service.list_steps(db, task.id, 3, cursor=first.last)
        assert [each.result for page in (first, second) for each in page.items] == [1, 2, 3, 4, 5]
        assert second.last is None

    def test_end_at_so_many_bytes(self, db: Session, task: Task) -> None:
        for number in range(1, 4):
            write(db, task, 1, step(f"s{number}", number, "x" * 600_000))
        first = task_service.list_steps(db, task.id)
        assert [each.name for each in first.items] == ["s1"]
        assert first.last == str((1 << 32) + 1)

    def test_lead_to_the_end_over_http(self, tasks: TaskClient) -> None:
        task_id = tasks.task_in("running")
        with SessionLocal() as db:
            for number in range(1, 4):
                write(db, db.get_one(Task, UUID(task_id)), 1, step(f"s{number}", number))
        answer, seen = tasks.get(f"{task_id}/steps", limit=1), list[str]()
        while True:
            seen += [each["name"] for each in answer.json()]
            if "next" not in answer.links:
                break
            answer = tasks.http.get(answer.links["next"]["url"], headers=tasks.headers)
        assert seen == ["s1", "s2", "s3"]

    def test_are_of_the_tasks_owner(self, db: Session, task: Task) -> None:
        with pytest.raises(TaskNotFound):
            task_service.list_steps(db, task.id, owner=new_user(db))


def test_a_task_without_steps_has_written_nothing(db: Session) -> None:
    task = new_task(db)
    finish(db, task)
    assert task_service.list_steps(db, task.id).items == []
