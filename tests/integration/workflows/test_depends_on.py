"""`depends_on`: when a task goes on that waits for others, what becomes of it otherwise, and what is not deleted."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.errors import InvalidTask, InvalidTransition, ParentFailed, TaskHasChildren, UniqueKeyTaken
from app.models.task import Task, TaskStatus
from app.schemas.task import TaskRead
from app.schemas.task_filter import filter_from
from app.services.bulk import steps
from app.services.execution import ends
from app.services.outbox import deliver_batch
from app.services.task_service import task_service
from app.services.tasks.quotas import EDGE_BYTES
from app.services.workflows import dependents
from app.services.workflows.dependents import CONSUMER
from tests.support.retention import purge_finished
from tests.support.tasks import ERROR, LONG_RUNNING, claim, claim_next, finish, new_task, new_user, task_in

FAILED = ends.failed(ERROR)


@pytest.fixture
def user(db: Session) -> UUID:
    return new_user(db)


@pytest.fixture
def parent(db: Session, user: UUID) -> Task:
    return new_task(db, user)


def child_of(db: Session, *parents: Task, **options: Any) -> Task:
    return new_task(db, parents[0].user_id, depends_on=[parent.id for parent in parents], **options)


def settle(db: Session) -> None:
    """What maintenance does within a pass."""
    while deliver_batch(db, CONSUMER):
        pass


def end(db: Session, task: Task, ending: ends.Ending | None = None) -> None:
    finish(db, task, ending)
    settle(db)


def shown(db: Session, task: Task) -> TaskRead:
    return TaskRead.model_validate(task_service.get_task(db, task.id))


def status(db: Session, task: Task) -> TaskStatus:
    return task_service.get_task(db, task.id).status


class TestWaiting:
    def test_is_claimed_once_its_parent_has_succeeded(self, db: Session, parent: Task) -> None:
        child = child_of(db, parent)
        assert [each.id for each in claim_next(db)] == [parent.id]
        assert claim_next(db) == []
        task = task_service.get_task(db, parent.id)
        assert ends.end_attempt(db, task.id, task.attempt, ends.succeeded(1))
        db.commit()
        assert claim_next(db) == []
        settle(db)
        assert [each.id for each in claim_next(db)] == [child.id]

    def test_is_shown_with_what_it_waits_for(self, db: Session, parent: Task) -> None:
        other = new_task(db, parent.user_id)
        child = child_of(db, parent, other)
        end(db, other)
        waiting = shown(db, child).waiting_for
        assert waiting is not None
        assert (waiting.reason, waiting.blocked_by, waiting.until) == ("dependency", [parent.id], None)
        assert shown(db, child).depends_on == [parent.id, other.id]
        (listed,) = task_service.show_page(
            db, filter_from({"user_id": parent.user_id, "waiting_for": "dependency"}), 10
        ).items
        read = TaskRead.model_validate(listed).waiting_for
        assert (read and read.blocked_by) == [parent.id]

    def test_waits_for_all_its_parents(self, db: Session, parent: Task) -> None:
        other = new_task(db, parent.user_id)
        child = child_of(db, parent, other)
        end(db, parent)
        assert task_service.get_task(db, child.id).waits == "dependency"
        end(db, other)
        assert task_service.get_task(db, child.id).waits == "ready"

    def test_of_parents_that_have_succeeded_waits_for_none(self, db: Session, parent: Task) -> None:
        end(db, parent)
        assert child_of(db, parent).waits == "ready"

    def test_waits_for_its_time_too(self, db: Session, parent: Task) -> None:
        child = child_of(db, parent, run_at=datetime.now(UTC) + timedelta(hours=1))
        end(db, parent)
        assert (task_service.get_task(db, child.id).waits, claim_next(db)) == ("schedule", [])
        task_service.run_now(db, child.id)
        assert [each.id for each in claim_next(db)] == [child.id]

    def test_run_now_and_a_new_priority_do_not_release_it(self, db: Session, parent: Task) -> None:
        child = child_of(db, parent, run_at=datetime.now(UTC) + timedelta(hours=1))
        task_service.run_now(db, child.id)
        task_service.update_task(db, child.id, {"priority": "high"})
        assert task_service.get_task(db, child.id).waits == "dependency"
        claim(db, parent)
        assert claim_next(db) == []
        with pytest.raises(InvalidTransition, match="it is waiting for other tasks"):
            task_service.run_now(db, child.id)

    def test_takes_a_place_of_its_limit_afterwards(self, db: Session, parent: Task) -> None:
        task_service.put_limit(db, name="one", concurrency=1)
        child = child_of(db, parent, limit="one")
        end(db, parent)
        assert task_service.get_task(db, child.id).waits in {"limit", "ready"}

    def test_a_replacement_waits_for_its_own_parents(self, db: Session, parent: Task) -> None:
        key: dict[str, Any] = {"unique_key": "k", "on_conflict": "replace"}
        child = child_of(db, parent, **key)
        other = new_task(db, parent.user_id)
        replaced = child_of(db, other, **key)
        assert (replaced.id, shown(db, child).depends_on) == (child.id, [other.id])
        end(db, parent)
        assert task_service.get_task(db, child.id).waits == "dependency"
        end(db, other)
        assert task_service.get_task(db, child.id).waits == "ready"
        free = new_task(db, parent.user_id, **key)
        assert (free.id, free.waits, shown(db, child).depends_on) == (child.id, "ready", None)

    def test_a_replacement_makes_no_circle(self, db: Session, user: UUID) -> None:
        keyed = new_task(db, user, unique_key="k")
        child = child_of(db, keyed)
        for parent in (keyed, child):
            with pytest.raises(UniqueKeyTaken, match="others depend on it, and would depend on themselves"):
                new_task(db, user, unique_key="k", on_conflict="replace", depends_on=[parent.id])
        db.rollback()
        assert task_service.get_task(db, keyed.id).waits == "ready"


class TestAParentThatDoesNotSucceed:
    @pytest.mark.parametrize("ending", [FAILED, ends.stopped("ignored")])
    def test_has_its_descendants_revoked(self, db: Session, parent: Task, ending: ends.Ending) -> None:
        child = child_of(db, parent)
        grandchild = child_of(db, child)
        end(db, parent, ending)
        for task in (child, grandchild):
            ended = task_service.get_task(db, task.id)
            assert (ended.status, ended.status_reason) == (TaskStatus.REVOKED, "parent_failed")

    def test_has_them_revoked_when_it_is_cancelled(self, db: Session, parent: Task) -> None:
        child = child_of(db, parent)
        task_service.cancel(db, parent.id)
        settle(db)
        assert status(db, child) is TaskStatus.REVOKED

    def test_is_followed_at_once(self, other: Session) -> None:
        """Where the end is committed: without a pass of maintenance."""
        parent = new_task(other)
        child = child_of(other, parent)
        task_service.cancel(other, parent.id)
        assert dependents.flush_releases(10)
        assert status(other, child) is TaskStatus.REVOKED

    @pytest.mark.parametrize("state", [TaskStatus.FAILED, TaskStatus.REVOKED])
    def test_that_has_failed_before_revokes_at_once(self, db: Session, user: UUID, state: TaskStatus) -> None:
        child = child_of(db, task_in(db, state, user))
        assert (child.status, child.status_reason) == (TaskStatus.REVOKED, "parent_failed")

    def test_revokes_its_child_once(self, db: Session, parent: Task) -> None:
        other = new_task(db, parent.user_id)
        child = child_of(db, parent, other)
        finish(db, parent, FAILED)
        finish(db, other, FAILED)
        settle(db)
        version = task_service.get_task(db, child.id).version
        settle(db)
        assert (version, task_service.get_task(db, child.id).version) == (2, 2)


class TestRefused:
    def test_what_is_none_of_the_users_tasks(self, db: Session, user: UUID) -> None:
        ids = [new_task(db).id, new_id()]
        with pytest.raises(InvalidTask) as refused:
            new_task(db, user, depends_on=ids)
        assert [error["loc"] for error in refused.value.errors] == [["depends_on", 0], ["depends_on", 1]]
        assert task_service.get_task_count(db, user) == 0

    def test_in_a_batch_by_its_place(self, db: Session, parent: Task) -> None:
        fields = {"name": "a", "task_type": "t", "celery_task_name": LONG_RUNNING, "args": [1]}
        with pytest.raises(InvalidTask) as refused:
            task_service.create_tasks(
                db, [fields | {"depends_on": [parent.id]}, fields | {"depends_on": [new_id()]}], parent.user_id
            )
        assert [error["loc"] for error in refused.value.errors] == [["tasks", 1, "depends_on", 0]]
        assert task_service.get_task_count(db, parent.user_id) == 1


class TestDeletion:
    def test_of_a_parent_that_a_pending_task_names_is_refused(self, db: Session, parent: Task) -> None:
        child = child_of(db, parent)
        with pytest.raises(TaskHasChildren):
            task_service.delete(db, parent.id, force=True)
        end(db, parent)
        with pytest.raises(TaskHasChildren):
            task_service.delete(db, parent.id)
        assert purge_finished(db, 0) == 0
        finish(db, child)
        assert task_service.delete(db, parent.id)

    def test_of_the_child_frees_the_parent(self, db: Session, parent: Task) -> None:
        child = child_of(db, parent)
        end(db, parent)
        assert task_service.delete(db, child.id, force=True)
        assert purge_finished(db, 0) == 1


class TestRetry:
    def test_beside_a_failed_parent_is_refused(self, db: Session, parent: Task) -> None:
        child = child_of(db, parent)
        end(db, parent, FAILED)
        with pytest.raises(ParentFailed):
            task_service.retry_task(db, child.id)

    def test_waits_for_a_parent_that_runs_again(self, db: Session, parent: Task) -> None:
        child = child_of(db, parent)
        end(db, parent, FAILED)
        task_service.retry_task(db, parent.id)
        assert task_service.retry_task(db, child.id).waits == "dependency"
        end(db, parent)
        assert task_service.get_task(db, child.id).waits == "ready"

    def test_of_a_parent_alone_revives_no_child(self, db: Session, parent: Task) -> None:
        child = child_of(db, parent)
        end(db, parent, FAILED)
        task_service.retry_task(db, parent.id)
        end(db, parent)
        assert status(db, child) is TaskStatus.REVOKED


class TestBulkRetry:
    def retry(self, db: Session, *tasks: Task) -> dict[str, int]:
        """How many were restarted, and how many were skipped for which reason."""
        deed = task_service.start_bulk(db, "retry", user_id=tasks[0].user_id, ids=[task.id for task in tasks])
        while steps.step(db, deed.id):
            pass
        deed = task_service.get_bulk(db, deed.id)
        return {"done": deed.done, **deed.skipped}

    def test_takes_parents_first(self, db: Session, parent: Task) -> None:
        child = child_of(db, parent)
        grandchild = child_of(db, child)
        end(db, parent, FAILED)
        assert self.retry(db, grandchild, child, parent) == {"done": 3}
        assert [task_service.get_task(db, each.id).waits for each in (parent, child, grandchild)] == [
            "ready",
            "dependency",
            "dependency",
        ]
        for each in (parent, child, grandchild):
            assert [claimed.id for claimed in claim_next(db)] == [each.id]
            task = task_service.get_task(db, each.id)
            assert ends.end_attempt(db, each.id, task.attempt, ends.succeeded(1))
            db.commit()
            settle(db)

    def test_skips_what_has_a_parent_that_stays_failed(self, db: Session, parent: Task) -> None:
        child = child_of(db, parent)
        grandchild = child_of(db, child)
        end(db, parent, FAILED)
        assert self.retry(db, child, grandchild) == {"done": 0, "parent_failed": 2}
        assert status(db, child) is status(db, grandchild) is TaskStatus.REVOKED

    def test_skips_what_depends_on_one_whose_key_is_taken(self, db: Session, parent: Task) -> None:
        keyed = new_task(db, parent.user_id, unique_key="k")
        child = child_of(db, keyed)
        end(db, keyed, FAILED)
        new_task(db, parent.user_id, unique_key="k")
        assert self.retry(db, keyed, child) == {"done": 0, "unique_key_taken": 1, "parent_failed": 1}
        assert status(db, child) is TaskStatus.REVOKED

    def test_waits_for_a_parent_that_runs_again_already(self, db: Session, parent: Task) -> None:
        child = child_of(db, parent)
        end(db, parent, FAILED)
        task_service.retry_task(db, parent.id)
        assert self.retry(db, child) == {"done": 1}
        assert task_service.get_task(db, child.id).waits == "dependency"


class TestSizes:
    def test_parents_count_in_what_a_task_keeps(self, db: Session, parent: Task) -> None:
        before = child_of(db, parent)
        after = child_of(db, parent, *(new_task(db, parent.user_id) for _ in range(9)))
        assert after.attached_bytes - before.attached_bytes == 9 * EDGE_BYTES

    def test_of_a_replacement_count_as_its_own(self, db: Session, parent: Task) -> None:
        key: dict[str, Any] = {"unique_key": "k", "on_conflict": "replace"}
        child = child_of(db, parent, **key)
        before = child.attached_bytes
        child_of(db, parent, new_task(db, parent.user_id), **key)
        assert task_service.get_task(db, child.id).attached_bytes - before == EDGE_BYTES


@pytest.fixture(autouse=True)
def _released() -> Iterator[None]:
    yield
    assert dependents.flush_releases(10)
