"""The counters behind `/metrics`: what has become of tasks, by task and queue, on every engine."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text
from sqlalchemy.orm import Session

from app.core.metrics import TaskSums
from app.models import User
from app.models.task import Task, TaskStatus
from app.models.task_count import task_count_changes
from app.models.task_stats import MOST_PAIRS, OTHER_NAME, task_submissions, task_sum_durations, task_sums as table
from app.services.execution import ends
from app.services.operations import metrics, stats_service
from app.services.operations.metrics import OTHER_PAIR, Pair
from app.services.task_service import task_service
from app.services.tasks import task_counts
from tests.support.retention import forget, purge_finished
from tests.support.spelling import spelled
from tests.support.tasks import ERROR, LONG_RUNNING, claim, new_task, new_user, retried, task_in

NUMBERS = ("sent", "succeeded", "failed", "revoked", "retried")
OTHER_TASK = "app.tasks.common_tasks.fetch_url"
DEFAULT = Pair(LONG_RUNNING, "default")


def fold(db: Session) -> None:
    while task_counts.fold(db) or stats_service.add_submissions(db):
        pass


def sums(db: Session) -> dict[Pair, TaskSums]:
    fold(db)
    return {Pair(each.name, each.queue): each for each in metrics.read_task_sums(db)}


def numbers(db: Session, pair: Pair = DEFAULT) -> tuple[int, ...]:
    """In the order of NUMBERS."""
    found = sums(db).get(pair)
    return tuple(found.numbers[name] for name in NUMBERS) if found else (0,) * len(NUMBERS)


def count_of(durations: Any) -> int:
    assert durations.buckets[-1][0] == "+Inf"
    return int(durations.buckets[-1][1])


class TestNumbers:
    def test_are_those_of_each_end_by_task_and_queue(self, db: Session) -> None:
        user = new_user(db)
        for status in TaskStatus:
            task_in(db, status, user)
        task_in(db, TaskStatus.SUCCEEDED, user, priority="high")
        task_in(db, TaskStatus.FAILED, user, celery_task_name=OTHER_TASK, args=["https://example.com"])
        assert numbers(db) == (5, 1, 1, 1, 0)
        assert numbers(db, Pair(LONG_RUNNING, "high_priority")) == (1, 1, 0, 0, 0)
        assert numbers(db, Pair(OTHER_TASK, "default")) == (1, 0, 1, 0, 0)
        assert len(sums(db)) == 3

    def test_an_attempt_that_is_tried_again_is_retried_and_not_failed(self, db: Session) -> None:
        task = new_task(db, max_attempts=3)
        for done in range(2):
            task = task_service.get_task(db, task.id)
            claim(db, task)
            retried(db, task_service.get_task(db, task.id))
            assert numbers(db) == (1, 0, 0, 0, done + 1)
        attempt = claim(db, task_service.get_task(db, task.id)).attempt
        ends.end_attempt(db, task.id, attempt, ends.failed(ERROR))
        db.commit()
        assert numbers(db) == (1, 0, 1, 0, 2)

    def test_retries_that_are_added_up_together_are_all_counted(self, db: Session) -> None:
        task = new_task(db, max_attempts=4)
        fold(db)
        for _ in range(3):
            task = task_service.get_task(db, task.id)
            claim(db, task)
            retried(db, task_service.get_task(db, task.id))
        assert numbers(db) == (1, 0, 0, 0, 3)

    @pytest.mark.parametrize(
        ("ending", "expected"),
        [
            (lambda: ends.overran(1), (1, 0, 0, 0, 1)),
            (lambda: ends.lost("a test"), (1, 0, 0, 0, 1)),
            (lambda: ends.handed_back("shutting down"), (1, 0, 0, 0, 0)),
            (ends.not_begun, (1, 0, 0, 0, 0)),
        ],
        ids=["overran", "lost", "handed_back", "not_begun"],
    )
    def test_each_way_back_to_pending(
        self, db: Session, ending: Callable[[], ends.Ending], expected: tuple[int, ...]
    ) -> None:
        task = new_task(db, max_attempts=2)
        claim(db, task)
        assert ends.end_tasks(db, ending(), Task.id == task.id) == 1
        db.commit()
        assert numbers(db) == expected

    def test_a_loss_that_is_the_last_one_is_failed(self, db: Session) -> None:
        task = new_task(db)
        db.execute(text("UPDATE tasks SET rerun_lost = false"))
        claim(db, task)
        ends.end_tasks(db, ends.lost("a test"), Task.id == task.id)
        db.commit()
        assert numbers(db) == (1, 0, 1, 0, 0)

    def test_a_loss_of_a_task_that_was_to_be_cancelled_is_revoked(self, db: Session) -> None:
        task = new_task(db)
        claim(db, task)
        task_service.cancel(db, task.id)
        ends.end_tasks(db, ends.lost("a test"), Task.id == task.id)
        db.commit()
        assert numbers(db) == (1, 0, 0, 1, 0)

    def test_never_fall(self, db: Session) -> None:
        user = new_user(db)
        ended = {status: task_in(db, status, user) for status in (TaskStatus.SUCCEEDED, TaskStatus.FAILED)}
        before = numbers(db)
        measured = count_of(sums(db)[DEFAULT].run), count_of(sums(db)[DEFAULT].wait)
        task_service.retry_task(db, ended[TaskStatus.FAILED].id)
        assert numbers(db) == before
        task_service.cancel(db, ended[TaskStatus.FAILED].id)
        purge_finished(db, 0)
        db.execute(delete(User).where(User.id == user))
        db.commit()
        assert db.scalars(select(Task.id)).all() == []
        forget(db, "task_counts", "task_totals", "stored_bytes")
        assert numbers(db) == (2, 1, 1, 1, 0)
        assert (count_of(sums(db)[DEFAULT].run), count_of(sums(db)[DEFAULT].wait)) == measured

    def test_a_change_that_is_rolled_back_is_not_counted(self, db: Session) -> None:
        new_task(db)
        fold(db)
        new_task(db, commit=False)
        db.rollback()
        assert numbers(db) == (1, 0, 0, 0, 0)

    def test_a_fold_that_fails_leaves_all_for_the_next_one(self, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        """The counters are written in the transaction that takes the changes: neither is done without the other."""
        task_in(db, TaskStatus.SUCCEEDED)
        with monkeypatch.context() as broken:
            broken.setattr("app.services.operations.error_group_service.add_failures", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                task_counts.fold(db)
        assert db.scalars(select(table.c.succeeded)).all() == []
        assert numbers(db) == (1, 1, 0, 0, 0)

    def test_a_plain_task_leaves_no_further_row(self, db: Session) -> None:
        task_in(db, TaskStatus.SUCCEEDED)
        rows = [db.execute(select(each)).all() for each in (task_submissions, task_count_changes)]
        assert [len(found) for found in rows] == [1, 1]

    def test_the_row_of_a_retry_moves_no_other_number(self, db: Session) -> None:
        user = new_user(db)
        task = new_task(db, user, max_attempts=2)
        claim(db, task)
        retried(db, task_service.get_task(db, task.id))
        before = task_service.get_task_count(db, user_id=user)
        fold(db)
        assert task_service.get_task_count(db, user_id=user) == before == 1
        assert sum(sum(each.failed) for each in task_service.get_stats(db, user).series) == 0

    def test_of_a_submit_by_a_process_of_the_release_before_count_as_other(self, db: Session) -> None:
        task = new_task(db)
        db.execute(task_submissions.update().values(celery_task_name=None))
        assert task.queue == "default"
        assert numbers(db, OTHER_PAIR) == (1, 0, 0, 0, 0)


class TestDurations:
    def measured(self, db: Session, seconds: float) -> TaskSums:
        """A task that has waited and run for so long."""
        task = new_task(db)
        attempt = claim(db, task).attempt
        ago = "now() - :twice * interval '1 second'"
        values = {"id": task.id, "twice": 2 * seconds}
        db.execute(spelled(f"UPDATE tasks SET created_at = {ago}, due_at = NULL WHERE id = :id", values))
        started = "UPDATE tasks SET started_at = now() - :once * interval '1 second' WHERE id = :id"
        db.execute(spelled(started, {"id": task.id, "once": seconds}))
        ends.end_attempt(db, task.id, attempt, ends.succeeded(None))
        db.commit()
        return sums(db)[DEFAULT]

    @pytest.mark.parametrize(
        ("seconds", "shorter", "longer"), [(300.0, "262.144", "1048.576"), (3000.0, "1048.576", "4194.304"), (9e5, "4194.304", "+Inf")]
    )  # fmt: skip
    def test_stand_in_the_bucket_of_their_length_and_in_all_longer_ones(
        self, db: Session, seconds: float, shorter: str, longer: str
    ) -> None:
        found = self.measured(db, seconds)
        for durations in (found.run, found.wait):
            by_bound = dict(durations.buckets)
            assert len(by_bound) <= 15
            assert (by_bound[shorter], by_bound[longer], by_bound["+Inf"]) == (0, 1, 1)
            assert durations.seconds == pytest.approx(seconds, rel=0.3)

    def test_of_a_failure_are_no_runtime(self, db: Session) -> None:
        """As celery-exporter has it: a task that fails at once would look fast."""
        task_in(db, TaskStatus.FAILED)
        found = sums(db)[DEFAULT]
        assert (count_of(found.run), count_of(found.wait)) == (0, 1)

    def test_a_bucket_of_another_release_counts_in_the_next_longer_one(self, db: Session) -> None:
        self.measured(db, 300)
        db.execute(task_sum_durations.update().values(bucket=74))
        run = dict(sums(db)[DEFAULT].run.buckets)
        assert (run["262.144"], run["1048.576"]) == (0, 1)


class TestPairs:
    def test_the_201st_counts_as_other(self, db: Session) -> None:
        known = [{"celery_task_name": f"task {number}", "queue": "default"} for number in range(MOST_PAIRS - 2)]
        db.execute(insert(table), known)
        user = new_user(db)
        for queue in ("normal", "high", "low"):
            task_in(db, TaskStatus.SUCCEEDED, user, priority=queue)
        for priority in ("normal", "high", "low"):
            task_in(db, TaskStatus.FAILED, user, priority=priority)
        found = sums(db)
        assert len(found) == MOST_PAIRS + 1
        own = {pair: each for pair, each in found.items() if pair.celery_task_name == LONG_RUNNING}
        assert len(own) == 2
        assert numbers(db, OTHER_PAIR) == (2, 1, 1, 0, 0)
        assert OTHER_PAIR == (OTHER_NAME, OTHER_NAME)
        assert sum(each.numbers["sent"] for each in own.values()) == 4
        assert count_of(found[OTHER_PAIR].wait) == 2

    def test_room_that_is_made_is_used(self, db: Session) -> None:
        db.execute(insert(table), [{"celery_task_name": f"{number}", "queue": "q"} for number in range(MOST_PAIRS)])
        task_in(db, TaskStatus.SUCCEEDED)
        assert DEFAULT not in sums(db)
        db.execute(table.delete().where(table.c.celery_task_name == "7"))
        task_in(db, TaskStatus.SUCCEEDED)
        assert numbers(db) == (1, 1, 0, 0, 0)
