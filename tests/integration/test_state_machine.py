"""The states on a real database: what each statement does, and what the database refuses to any client."""

import itertools

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.db.sql import transitions, turns
from app.errors import AttemptLost
from app.models.task import TERMINAL, TRANSITIONS, AttemptOutcome, Task, TaskStatus
from app.services.execution import attempts, ends
from app.services.execution.attempts import NextTry
from app.services.task_service import task_service
from tests.support.spelling import spelled
from tests.support.tasks import ERROR, WORKER, claim, claim_next, new_task, task_in

PAIRS = list(itertools.product(TaskStatus, TaskStatus))


def outcomes(db: Session, task: Task) -> list[tuple[int, str]]:
    found = task_service.get_attempts(db, task.id)
    return [(a["number"], a["outcome"]) if isinstance(a, dict) else (a.number, a.outcome) for a in found]


class TestEveryPair:
    @pytest.mark.parametrize(("source", "to"), PAIRS)
    def test_the_writer_moves_the_known_ones_and_matches_no_row_elsewhere(
        self, db: Session, source: TaskStatus, to: TaskStatus
    ) -> None:
        task = task_in(db, source)
        sources = [state for state in TaskStatus if to in TRANSITIONS[state]]
        extra = {"claim_id": new_id()} if to is TaskStatus.RUNNING else {}
        if to is TaskStatus.PENDING and source in TERMINAL:
            extra = {"generation": Task.generation + 1, "celery_id": new_id(), "failures": 0, "crashes": 0}
        moved = transitions.move_tasks(db, to, Task.id == task.id, sources=sources, values=extra)
        assert moved == ([task.id] if to in TRANSITIONS[source] else [])

    @pytest.mark.parametrize(("source", "to"), [(s, t) for s, t in PAIRS if t not in TRANSITIONS[s] and s is not t])
    def test_the_database_refuses_the_unknown_ones_from_any_statement(
        self, db: Session, source: TaskStatus, to: TaskStatus
    ) -> None:
        task = task_in(db, source)
        statement = """
            UPDATE tasks SET status = :to,
                claim_id = CASE WHEN :to = 'running' THEN gen_random_uuid() END,
                due_at = CASE WHEN :to = 'pending' THEN now() END, turn = NULL,
                finished_at = CASE WHEN :to IN ('succeeded', 'failed', 'revoked') THEN now() END
            WHERE id = :id
        """
        with pytest.raises(IntegrityError, match="tasks_guard"):
            db.execute(spelled(statement, {"to": str(to), "id": task.id}))


class TestWhatTheDatabaseRefuses:
    @pytest.mark.parametrize(
        ("status", "change"),
        [
            (TaskStatus.PENDING, "attempt = attempt + 1"),
            (TaskStatus.PENDING, "due_at = NULL"),
            (TaskStatus.PENDING, "claim_id = gen_random_uuid()"),
            (TaskStatus.PENDING, "generation = 2"),
            (TaskStatus.PENDING, "finished_at = now()"),
            (TaskStatus.PENDING, "status = 'running', due_at = NULL, turn = NULL, claim_id = gen_random_uuid()"),
            (TaskStatus.PENDING, "version = version - 1"),
            (TaskStatus.PENDING, "version = version + 2"),
            (TaskStatus.PENDING, "celery_task_name = 'other'"),
            (TaskStatus.PENDING, "progress = 101"),
            (TaskStatus.PENDING, "priority = 'urgent'"),
            (TaskStatus.RUNNING, "attempt = 0"),
            (TaskStatus.RUNNING, "turn = 1"),
            (TaskStatus.RUNNING, "due_at = now()"),
            (TaskStatus.RUNNING, "failures = 1"),
            (TaskStatus.RUNNING, "claim_id = gen_random_uuid()"),
            (TaskStatus.RUNNING, "status = 'failed', finished_at = now()"),
            (TaskStatus.SUCCEEDED, "result = NULL"),
            (TaskStatus.SUCCEEDED, "finished_at = now()"),
            (TaskStatus.FAILED, "error_type = 'Other'"),
            (TaskStatus.FAILED, "progress = 1"),
            (TaskStatus.FAILED, "status = 'pending', finished_at = NULL, due_at = now()"),
            (TaskStatus.FAILED, "crashes = 4"),
            (TaskStatus.PENDING, "active_key = 'a key'"),
            (TaskStatus.PENDING, "unique_key = 'a key'"),
            (TaskStatus.SUCCEEDED, "unique_key = 'a key', active_key = 'a key'"),
        ],
    )
    def test_a_change_that_no_statement_of_ours_makes(self, db: Session, status: TaskStatus, change: str) -> None:
        task = task_in(db, status)
        with pytest.raises(IntegrityError):
            db.execute(spelled(f"UPDATE tasks SET {change} WHERE id = :id", {"id": task.id}))

    def test_a_cancelled_running_task_cannot_fail(self, db: Session) -> None:
        task = task_in(db, TaskStatus.RUNNING)
        task_service.cancel(db, task.id)
        statement = "UPDATE tasks SET status = 'failed', claim_id = NULL, finished_at = now() WHERE id = :id"
        with pytest.raises(IntegrityError, match="cancelled"):
            db.execute(spelled(statement, {"id": task.id}))


class TestClaim:
    def test_raises_the_attempt_and_gives_the_rows_arguments(self, db: Session) -> None:
        task = new_task(db, args=[1e22, 3], kwargs={"x": [-0.0, "\0", 1e22]}, priority="low", timeout_seconds=1.5)
        (taken,) = claim_next(db)
        assert (taken.id, taken.attempt, taken.args) == (task.id, 1, [1e22, 3])
        assert repr(taken.kwargs) == repr({"x": [-0.0, "\0", 1e22]})
        assert (taken.celery_task_name, taken.celery_id) == (task.celery_task_name, task.celery_id)
        assert (taken.queue, taken.priority, taken.timeout_seconds) == ("low_priority", "low", 1.5)
        running = task_service.get_task(db, task.id)
        assert (running.status, running.worker, running.worker_pid) == ("running", WORKER.name, WORKER.pid)
        assert (running.due_at, running.turn) == (None, None)

    def test_comes_neither_before_its_time_nor_after_it(self, db: Session) -> None:
        new_task(db, delay_seconds=60)
        new_task(db, expires_at="2020-01-01T00:00:00Z")
        assert claim_next(db) == []


class TestFence:
    def test_an_attempt_that_was_lost_can_write_nothing(self, db: Session) -> None:
        task = new_task(db)
        old = claim(db, task)
        ends.end_tasks(db, ends.lost("a test"), Task.id == task.id)
        new = claim(db, task)
        before = task_service.get_task(db, task.id).version
        with pytest.raises(AttemptLost):
            attempts.report_progress(db, task.id, old.attempt, 50, None)
        with pytest.raises(AttemptLost):
            attempts.is_cancelled(db, task.id, old.attempt)
        assert not ends.end_attempt(db, task.id, old.attempt, ends.succeeded("stale"))
        assert not ends.end_attempt(db, task.id, old.attempt, ends.failed(ERROR))
        assert not ends.end_attempt(db, task.id, old.attempt, ends.retried(ERROR, NextTry(0)))
        assert not ends.end_attempt(db, task.id, old.attempt, ends.stopped("cancelled"))
        assert task_service.get_task(db, task.id).version == before
        assert ends.end_attempt(db, task.id, new.attempt, ends.succeeded("fresh"))
        assert outcomes(db, task) == [(1, "worker_lost"), (2, "succeeded")]

    def test_progress_of_the_attempt_that_holds_it_is_written_exactly(self, db: Session) -> None:
        task = new_task(db)
        attempt = claim(db, task).attempt
        assert attempts.report_progress(db, task.id, attempt, 50, {"x": 1e22}) is False
        seen = task_service.get_task(db, task.id)
        assert (seen.progress, repr(seen.progress_detail)) == (50, repr({"x": 1e22}))
        attempts.report_progress(db, task.id, attempt, None, {"y": -0.0})
        assert task_service.get_task(db, task.id).progress == 50


class TestEnds:
    def test_a_retry_is_pending_until_its_delay_is_over(self, db: Session) -> None:
        task = task_in(db, TaskStatus.RUNNING, max_attempts=2)
        ends.end_attempt(db, task.id, 1, ends.retried(ERROR, NextTry(60)))
        pending = task_service.get_task(db, task.id)
        assert (pending.status, pending.failures, pending.progress) == ("pending", 1, 0)
        assert pending.run_at == pending.due_at
        assert pending.run_at > pending.updated_at
        turns.place_due(db)
        assert claim_next(db) == []

    def test_a_retry_may_change_the_arguments(self, db: Session) -> None:
        task = task_in(db, TaskStatus.RUNNING, max_attempts=2)
        ends.end_attempt(db, task.id, 1, ends.retried(ERROR, NextTry(0, [2], {"steps": 5})))
        taken = claim(db, task)
        assert (taken.args, taken.kwargs) == ([2], {"steps": 5})

    @pytest.mark.parametrize("how", ["fails", "retries", "is lost"])
    def test_a_request_to_cancel_beats_failure_retry_and_loss(self, db: Session, how: str) -> None:
        task = task_in(db, TaskStatus.RUNNING, max_attempts=5)
        task_service.cancel(db, task.id)
        if how == "fails":
            assert ends.end_attempt(db, task.id, 1, ends.failed(ERROR))
        elif how == "retries":
            assert ends.end_attempt(db, task.id, 1, ends.retried(ERROR, NextTry(0)))
        else:
            assert ends.end_tasks(db, ends.lost("a test"), Task.id == task.id) == 1
        revoked = task_service.get_task(db, task.id)
        assert (revoked.status, revoked.status_reason, revoked.error) == ("revoked", "cancelled", None)


class TestWhatCounts:
    """As the table of docs/writing-tasks.md says."""

    def counts(self, db: Session, task: Task) -> tuple[str, int, int, int, int]:
        now = task_service.get_task(db, task.id)
        return now.status.value, now.attempt, now.failures, now.crashes, now.max_attempts

    def test_a_claim_counts_as_an_attempt_and_its_end_at_most_as_one_thing(self, db: Session) -> None:
        task = new_task(db)
        assert self.counts(db, task) == ("pending", 0, 0, 0, 1)
        assert (claim(db, task).failures, self.counts(db, task)) == (0, ("running", 1, 0, 0, 1))
        ends.end_tasks(db, ends.lost("a test"), Task.id == task.id)
        claim(db, task)
        ends.end_attempt(db, task.id, 2, ends.handed_back("the worker shut down"))
        assert self.counts(db, task) == ("pending", 2, 0, 1, 1)
        assert claim(db, task).failures == 0  # self.request.retries
        # By the body, beyond the one attempt of the default.
        ends.end_attempt(db, task.id, 3, ends.retried(ERROR, NextTry(0)))
        assert self.counts(db, task) == ("pending", 3, 1, 1, 2)
        assert claim(db, task).failures == 1
        ends.end_attempt(db, task.id, 4, ends.failed(ERROR))
        assert self.counts(db, task) == ("failed", 4, 2, 1, 2)
        told = ["worker_lost", "handed_back", "retried", "failed"]
        assert [outcome for _, outcome in outcomes(db, task)] == told

    def test_a_retry_through_the_api_starts_failures_and_losses_anew_and_goes_on_with_attempts(
        self, db: Session
    ) -> None:
        task = new_task(db)
        claim(db, task)
        ends.end_tasks(db, ends.lost("a test"), Task.id == task.id)
        claim(db, task)
        ends.end_attempt(db, task.id, 2, ends.retried(ERROR, NextTry(0)))
        claim(db, task)
        ends.end_attempt(db, task.id, 3, ends.failed(ERROR))
        task_service.retry_task(db, task.id)
        assert self.counts(db, task) == ("pending", 3, 0, 0, 2)
        task = task_service.get_task(db, task.id)
        assert claim(db, task).failures == 0
        assert outcomes(db, task)[-1] == (4, "running")

    @pytest.mark.parametrize(("lost", "outcome"), [(False, "revoked"), (True, "worker_lost")])
    def test_a_cancelled_attempt_counts_as_an_attempt_alone(self, db: Session, lost: bool, outcome: str) -> None:
        task = task_in(db, TaskStatus.RUNNING)
        task_service.cancel(db, task.id)
        _ = (
            ends.end_tasks(db, ends.lost("a test"), Task.id == task.id)
            if lost
            else ends.end_attempt(db, task.id, 1, ends.failed(ERROR))
        )
        assert self.counts(db, task) == ("revoked", 1, 0, 0, 1)
        assert outcomes(db, task) == [(1, outcome)]


class TestLoss:
    def test_the_third_one_fails_the_task(self, db: Session) -> None:
        task = new_task(db)
        for _ in range(3):
            claim(db, task)
            assert ends.end_tasks(db, ends.lost("a test"), Task.id == task.id) == 1
        failed = task_service.get_task(db, task.id)
        assert (failed.status, failed.crashes, failed.failures, failed.attempt) == ("failed", 3, 0, 3)
        assert failed.error is not None
        assert failed.error["type"] == "worker_lost"
        assert outcomes(db, task) == [(number, AttemptOutcome.WORKER_LOST) for number in (1, 2, 3)]

    def test_overrunning_is_a_failure_like_any_other(self, db: Session) -> None:
        task = new_task(db, max_attempts=2)
        claim(db, task)
        assert ends.end_tasks(db, ends.overran(1.0), Task.id == task.id) == 1
        assert task_service.get_task(db, task.id).status == "pending"
        db.execute(spelled("UPDATE tasks SET run_at = NULL WHERE id = :id", {"id": task.id}))
        claim(db, task)
        ends.end_tasks(db, ends.overran(1.0), Task.id == task.id)
        failed = task_service.get_task(db, task.id)
        assert failed.error == {"type": "TimeLimitExceeded", "message": "hard time limit (1 s) exceeded"}
        assert outcomes(db, task) == [(1, "retried"), (2, "failed")]
