"""The Python API as the contract has it, the owner's own snippets among it."""

import itertools
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.errors import (
    InvalidArguments,
    InvalidInput,
    InvalidLimit,
    InvalidTask,
    InvalidTransition,
    TaskActive,
    TaskCancelled,
    TaskNotFound,
    UnknownTask,
)
from app.models.task import TaskStatus
from app.schemas.task import TaskCreate
from app.services.execution.attempts import CurrentAttempt, current_attempt
from app.services.task_service import TaskService, task_service
from tests.support.retention import purge_finished
from tests.support.tasks import LONG_RUNNING, claim_next, new_task, new_user, task_in


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The queues in which slots would have been woken, instead of waking them."""
    sent: list[str] = []
    monkeypatch.setattr("app.messaging.wakeups.publish", sent.extend)
    return sent


@pytest.fixture
def in_body(db: Session) -> Iterator[Any]:
    """`in_body(task)`: what follows is said by the body of its running attempt."""
    tokens = []

    def enter(task: Any) -> CurrentAttempt:
        current = CurrentAttempt(task.id, task.attempt)
        tokens.append(current_attempt.set(current))
        return current

    yield enter
    for token in reversed(tokens):
        current_attempt.reset(token)


class TestTheOwnersSnippets:
    def test_create_read_cancel_delete(self, db: Session) -> None:
        current_user = SimpleNamespace(id=new_user(db))

        task, celery_id = task_service.create_task(
            db=db,
            name="测试任务",
            task_type="test_task",
            celery_task_name="app.tasks.common_tasks.long_running_task",
            args=[30],  # 任务参数
            kwargs={},  # 任务关键字参数
            priority="normal",
            user_id=current_user.id,
        )
        task_id = task.id
        assert celery_id == str(task.celery_id)

        task = task_service.get_task(db, task_id)
        status = task.status
        progress = task.progress
        result = task.result
        assert (status, progress, result) == ("pending", 0, None)

        success = task_service.cancel_task(db, task_id)
        assert success is True
        success = task_service.delete_task(db, task_id)
        assert success is True
        with pytest.raises(TaskNotFound):
            task_service.get_task(db, task_id)

    def test_report(self, db: Session, in_body: Any) -> None:
        task = task_in(db, TaskStatus.RUNNING)
        task_id = task.id
        in_body(task)

        task_service = TaskService()
        task_service.update_task_progress(db, task_id, 50, {"status": "processing", "step": 2})
        seen = task_service.get_task(db, task_id)
        assert (seen.progress, seen.progress_detail) == (50, {"status": "processing", "step": 2})

        task_service.update_task_status(db, task_id, "succeeded", 100, {"result": "success"})
        seen = task_service.get_task(db, task_id)
        assert (seen.status, seen.progress, seen.result) == ("succeeded", 100, {"result": "success"})


class TestCreate:
    def test_names_a_user_who_is_none(self, db: Session) -> None:
        named: dict[str, Any] = {"name": "x", "task_type": "x", "celery_task_name": LONG_RUNNING, "args": [1]}
        for user, says in ((42, "user_id is the UUID of a user or its text, not int"), (new_id(), "There is no user ")):
            with pytest.raises(InvalidTask, match=says) as refused:
                task_service.create_task(db, **named, user_id=user)
            assert "\n" not in str(refused.value)
            assert len(str(refused.value)) < 100

    def test_refuses_what_is_no_task(self, db: Session) -> None:
        user = new_user(db)
        for error, options in (
            (UnknownTask, {"celery_task_name": "os.system"}),
            (InvalidArguments, {"args": ["x"]}),
            (InvalidTask, {"priority": "highest"}),
            (InvalidTask, {"unknown": 1}),
            (InvalidTask, {"run_at": "2030-01-01T00:00:00Z", "delay_seconds": 1}),
            (InvalidTask, {"name": "a\0b"}),
            (InvalidTask, {"metadata": {"a": "\0"}}),
            (InvalidTask, {"kwargs": {"x": float("nan")}}),
            (InvalidTask, {"kwargs": {"x": "\ud800"}}),
        ):
            with pytest.raises(error):
                new_task(db, user, **options)
        assert task_service.get_task_count(db, user) == 0

    def test_what_is_no_task_in_python_is_named_like_what_is_none_in_json(self, db: Session) -> None:
        user, fields = new_user(db), {"name": "n", "task_type": "t", "celery_task_name": LONG_RUNNING}
        with pytest.raises(InvalidTask, match=r"args, kwargs and metadata are JSON: .*date"):
            task_service.create_task(db, **fields, args=[date(2030, 1, 1)], user_id=user)
        with pytest.raises(InvalidTask, match="celery_task_name: is required"):
            task_service.create_tasks(db, [{"name": "x", "task_type": "t"}], user)
        with pytest.raises(InvalidTask, match="not 'admin'"):
            task_service.create_task(db, **fields, user_id="admin")
        (task,) = task_service.create_tasks(db, [fields | {"args": [1]}], user)
        for changes, text in (
            ({"prioritty": "low"}, "prioritty: unknown field, did you mean priority"),
            ({"priority": "lowest"}, "priority: must be "),
        ):
            with pytest.raises(InvalidTask, match=text):
                task_service.update_task(db, task.id, changes)
        with pytest.raises(TaskNotFound, match="not 'abc'"):
            task_service.start_bulk(db, "cancel", user_id=user, ids=["abc"])
        with pytest.raises(InvalidLimit, match="concurency: unknown field, did you mean concurrency"):
            task_service.put_limit(db, "lic", concurency=3)

    def test_of_a_task_due_now_wakes_a_slot_once_committed(self, db: Session, published: list[str]) -> None:
        now = new_task(db)
        assert now.run_at is None
        assert now.turn is not None
        assert published == ["default"]
        new_task(db, delay_seconds=0)
        new_task(db, priority="low")
        assert published == ["default", "default", "low_priority"]

    def test_of_a_task_for_later_leaves_turn_and_wake_up_to_maintenance(
        self, db: Session, published: list[str]
    ) -> None:
        task = new_task(db, delay_seconds=60)
        assert published == []
        assert task.run_at == task.due_at
        assert task.turn is None

    def test_many_at_once_keep_their_order(self, db: Session, published: list[str]) -> None:
        user = new_user(db)
        wanted = [TaskCreate(name=str(n), task_type="t", celery_task_name=LONG_RUNNING, args=[n]) for n in range(300)]
        tasks = task_service.create_tasks(db, wanted, user)
        assert [task.name for task in tasks] == [str(n) for n in range(300)]
        assert len(published) == 300

    def test_one_bad_among_many_refuses_all(self, db: Session, published: list[str]) -> None:
        user = new_user(db)
        good = TaskCreate(name="a", task_type="t", celery_task_name=LONG_RUNNING, args=[1])
        with pytest.raises(InvalidArguments):
            task_service.create_tasks(db, [good, good.model_copy(update={"args": ["x"]})], user)
        assert task_service.get_task_count(db, user) == 0
        assert published == []

    def test_in_the_callers_transaction_nothing_is_sent_before_its_commit(
        self, db: Session, published: list[str]
    ) -> None:
        user = new_user(db)
        rolled_back = new_task(db, user, commit=False).id
        assert published == []
        db.rollback()
        with pytest.raises(TaskNotFound):
            task_service.get_task(db, rolled_back)
        committed = new_task(db, user, commit=False).id
        assert published == []
        db.commit()
        assert published == ["default"]
        assert [row.id for row in claim_next(db)] == [committed]


class TestRead:
    def test_filters(self, db: Session) -> None:
        user = new_user(db)
        mine = [new_task(db, user, name=f"Report {n}%", task_type="report", tags=["a", f"t{n}"]) for n in range(3)]
        new_task(db)
        task_service.cancel(db, mine[0].id)
        names = lambda **wanted: [task.name for task in task_service.get_tasks(db, user, **wanted)]  # noqa: E731
        assert names() == ["Report 2%", "Report 1%", "Report 0%"]
        assert names(status="revoked") == ["Report 0%"]
        assert names(task_type="other") == []
        assert names(tag=["a", "t1"]) == ["Report 1%"]
        assert names(name="PORT 2%") == ["Report 2%"]
        assert names(name="2_") == []
        assert names(skip=1, limit=1) == ["Report 1%"]
        assert task_service.get_task_count(db, user, status="pending") == 2

    def test_takes_one_value_for_a_list_of_one_and_refuses_what_is_no_filter(self, db: Session) -> None:
        """In silence it would find nothing, or break the session with an error of the database."""
        new_task(db, tags=["nightly"], priority="high")
        moment = datetime.now(UTC) - timedelta(hours=1)
        for found in (
            {"tag": "nightly"}, {"tag": ["nightly"]}, {"priority": "high"}, {"created_after": moment.isoformat()},
            {"status": ("pending", TaskStatus.FAILED)}, {"created_after": moment.replace(tzinfo=None)}, {"user_id": "all"},
        ):  # fmt: skip
            assert task_service.get_task_count(db, **found) == 1, found
        for wrong, place in (
            ({"user_id": "admin"}, "user_id"), ({"status": ["failed", "done"]}, "status.1"), ({"error": "zz"}, "error"),
            ({"priority": "lowest"}, "priority"), ({"created_after": "2026-01-01"}, "created_after"), ({"tags": ["x"]}, "tags"),
        ):  # fmt: skip
            with pytest.raises(InvalidInput, match=f"^{place}: "):
                task_service.get_tasks(db, **wrong)
        assert task_service.get_task_count(db) == 1

    def test_an_id_that_is_none_names_no_task(self, db: Session) -> None:
        for wrong in (new_id(), "not-a-uuid"):
            with pytest.raises(TaskNotFound):
                task_service.get_task(db, wrong)


class TestUpdateFromOutside:
    def test_revokes_a_pending_task(self, db: Session) -> None:
        task = new_task(db)
        revoked = task_service.update_task_status(db, task.id, "revoked")
        assert (revoked.status, revoked.status_reason) == ("revoked", "stopped")

    def test_every_other_move_is_refused_and_changes_nothing(self, db: Session) -> None:
        moves = [
            (TaskStatus.PENDING, "running"),
            (TaskStatus.PENDING, "succeeded"),
            (TaskStatus.PENDING, "failed"),
            (TaskStatus.RUNNING, "running"),
            (TaskStatus.RUNNING, "pending"),
            *itertools.product((TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.REVOKED), TaskStatus),
        ]
        made = []
        for status, to in moves:
            task = task_in(db, status)
            version = task.version
            with suppress(InvalidTransition):
                task_service.update_task_status(db, task.id, to)
                made.append((status, to))
            assert (status, to, task_service.get_task(db, task.id).version) == (status, to, version)
        assert made == []

    def test_progress_of_what_does_not_run_is_refused(self, db: Session) -> None:
        for status in (TaskStatus.PENDING, TaskStatus.SUCCEEDED):
            with pytest.raises(InvalidTransition):
                task_service.update_task_progress(db, task_in(db, status).id, 50)

    def test_a_progress_that_is_no_percentage(self, db: Session) -> None:
        for progress in (-1, 101):
            with pytest.raises(ValueError, match=f"between 0 and 100, not {progress}"):
                task_service.update_task_progress(db, task_in(db, TaskStatus.RUNNING).id, progress)

    @pytest.mark.parametrize(("result", "error"), [(float("nan"), ValueError), (object(), TypeError)])
    def test_a_result_that_is_no_json(self, db: Session, result: object, error: type[Exception]) -> None:
        task = task_in(db, TaskStatus.RUNNING)
        with pytest.raises(error):
            task_service.update_task_status(db, task.id, "succeeded", result=result)
        assert task_service.get_task(db, task.id).status == "running"

    def test_an_unknown_task(self, db: Session) -> None:
        with pytest.raises(TaskNotFound):
            task_service.update_task_status(db, new_id(), "revoked")


class TestUpdateInABody:
    def test_hears_of_a_cancellation(self, db: Session, in_body: Any) -> None:
        task = task_in(db, TaskStatus.RUNNING)
        task_service.cancel(db, task.id)
        in_body(task)
        with pytest.raises(TaskCancelled):
            task_service.update_task_progress(db, task.id, 50)

    def test_what_it_ends_is_settled_with_the_commit_alone(self, db: Session, in_body: Any) -> None:
        task = task_in(db, TaskStatus.RUNNING)
        current = in_body(task)
        task_service.update_task_status(db, task.id, "failed", error="no good", commit=False)
        assert not current.settled
        db.rollback()
        assert not current.settled
        task_service.update_task_status(db, task.id, "failed", error="no good")
        assert current.settled
        assert task_service.get_task(db, task.id).error == {"type": "Failed", "message": "no good"}

    @pytest.mark.parametrize("status", ["failed", "revoked"])
    def test_a_result_needs_success_and_says_what_to_give_instead(self, db: Session, in_body: Any, status: str) -> None:
        task = task_in(db, TaskStatus.RUNNING)
        in_body(task)
        with pytest.raises(
            InvalidTransition, match=f"requires the status succeeded: give the reason for {status} as error="
        ):
            task_service.update_task_status(db, task.id, status, 100, {"result": 1})
        assert task_service.get_task(db, task.id).status == "running"

    @pytest.mark.parametrize("status", ["failed", "revoked", "succeeded"])
    def test_a_progress_that_is_no_percentage_is_refused_before_it_is_written(
        self, db: Session, in_body: Any, status: str
    ) -> None:
        task = task_in(db, TaskStatus.RUNNING)
        in_body(task)
        with pytest.raises(ValueError, match="progress must be between 0 and 100, not 101"):
            task_service.update_task_status(db, task.id, status, 101)
        assert task_service.get_task(db, task.id).status == "running"

    def test_a_status_or_an_error_that_is_none_is_named(self, db: Session) -> None:
        task = task_in(db, TaskStatus.RUNNING)
        with pytest.raises(
            ValueError, match="status is one of pending, running, succeeded, failed, revoked, not 'done'"
        ):
            task_service.update_task_status(db, task.id, "done")
        error: Any = {"type": "x"}
        with pytest.raises(TypeError, match="error is a text, such as error='no such picture', not dict"):
            task_service.update_task_status(db, task.id, "failed", error=error)

    def test_no_task_id_is_named_as_what_it_is(self, db: Session) -> None:
        without: Any = None
        with pytest.raises(TaskNotFound, match="task_id is None: the body runs without a record"):
            task_service.update_task_progress(db, without, 50)
        wrong: Any = 42
        with pytest.raises(TaskNotFound, match="A task_id is a UUID or its text, not int"):
            task_service.get_task(db, wrong)

    def test_cannot_speak_once_its_attempt_is_lost(self, db: Session, in_body: Any) -> None:
        task = task_in(db, TaskStatus.RUNNING)
        in_body(task)
        task_service.update_task_status(db, task.id, "failed")
        with pytest.raises(InvalidTransition):
            task_service.update_task_status(db, task.id, "succeeded")

    def test_of_another_task_it_speaks_as_from_outside(self, db: Session, in_body: Any) -> None:
        in_body(task_in(db, TaskStatus.RUNNING))
        other = task_in(db, TaskStatus.RUNNING)
        assert task_service.update_task_status(db, other.id, "revoked").status == "revoked"


class TestCancel:
    @pytest.mark.parametrize(
        ("status", "answer", "then"),
        [
            (TaskStatus.PENDING, True, "revoked"),
            (TaskStatus.RUNNING, True, "running"),
            (TaskStatus.REVOKED, True, "revoked"),
            (TaskStatus.SUCCEEDED, False, "succeeded"),
            (TaskStatus.FAILED, False, "failed"),
        ],
    )
    def test_in_every_state(self, db: Session, status: TaskStatus, answer: bool, then: str) -> None:
        task = task_in(db, status)
        assert task_service.cancel_task(db, task.id) is answer
        cancelled = task_service.get_task(db, task.id)
        assert cancelled.status == then
        assert (cancelled.cancel_requested_at is not None) == (status is TaskStatus.RUNNING)


class TestRetry:
    @pytest.mark.parametrize("status", [TaskStatus.FAILED, TaskStatus.REVOKED])
    def test_starts_a_new_generation(self, db: Session, status: TaskStatus, published: list[str]) -> None:
        task = task_in(db, status)
        before, celery_id, version = task.attempt, task.celery_id, task.version
        published.clear()
        again = task_service.retry_task(db, task.id)
        assert (again.status, again.attempt, again.failures, again.crashes) == ("pending", before, 0, 0)
        assert (again.error, again.finished_at, again.version) == (None, None, version + 1)
        assert again.celery_id != celery_id
        assert (again.generation, published) == (2, ["default"])
        assert [(row.id, row.attempt) for row in claim_next(db)] == [(task.id, before + 1)]

    def test_an_expiry_that_has_gone_by_does_not_revoke_it_again(self, db: Session) -> None:
        task = task_in(db, TaskStatus.REVOKED, expires_at="2020-01-01T00:00:00Z")
        assert task_service.retry_task(db, task.id).expires_at is None


class TestDelete:
    @pytest.mark.parametrize("status", [TaskStatus.PENDING, TaskStatus.RUNNING])
    def test_spares_what_is_active(self, db: Session, status: TaskStatus) -> None:
        task = task_in(db, status)
        assert task_service.delete_task(db, task.id) is False
        with pytest.raises(TaskActive):
            task_service.delete(db, task.id)
        assert task_service.get_task(db, task.id).status == status

    def test_by_force_takes_a_pending_one_and_asks_a_running_one(self, db: Session) -> None:
        assert task_service.delete(db, new_task(db).id, force=True) is True
        running = task_in(db, TaskStatus.RUNNING)
        assert task_service.delete(db, running.id, force=True) is False
        asked = task_service.get_task(db, running.id)
        assert asked.cancel_requested_at is not None
        assert asked.delete_requested_at is not None

    def test_purging_spares_the_young_and_the_active(self, db: Session) -> None:
        user = new_user(db)
        for status in TaskStatus:
            task_in(db, status, user)
        assert purge_finished(db, days=1) == 0
        assert purge_finished(db, days=0) == 3
        assert {task.status for task in task_service.get_tasks(db, user)} == {"pending", "running"}


class TestEdit:
    def test_a_new_priority_moves_a_pending_task_to_its_queue(self, db: Session, published: list[str]) -> None:
        task = new_task(db)
        published.clear()
        moved = task_service.update_task(db, task.id, {"priority": "critical"})
        assert (moved.priority, moved.queue) == ("critical", "high_priority")
        assert published == ["high_priority"]
        assert [row.id for row in claim_next(db, "high_priority")] == [task.id]

    def test_a_later_start_takes_the_turn_away(self, db: Session, published: list[str]) -> None:
        task = new_task(db)
        published.clear()
        later = datetime.now(UTC) + timedelta(hours=2)
        moved = task_service.update_task(db, task.id, {"run_at": later})
        assert (moved.run_at, moved.due_at, moved.turn) == (later, later, None)
        assert published == []
        assert claim_next(db) == []
        sooner = task_service.update_task(db, task.id, {"run_at": None})
        assert sooner.run_at is None
        assert published == ["default"]
        assert [row.id for row in claim_next(db)] == [task.id]
