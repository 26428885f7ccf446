"""What is found among the newest tasks: those that took longest, and how often each value occurs."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.models.task import ACTIVE, TERMINAL, Task, TaskStatus
from app.models.task_filter import Longest, TaskFilter
from app.services.task_service import task_service
from app.services.tasks import task_counts, task_queries
from tests.support.tasks import claim, new_task, new_user, task_in

LIMIT = 3


def moved(db: Session, task: UUID, **seconds_ago: float) -> None:
    """Move these times of a task, which has not ended."""
    now = datetime.now(UTC)
    values = {name: now - timedelta(seconds=ago) for name, ago in seconds_ago.items()}
    db.execute(update(Task).where(Task.id == task).values(**values))
    db.commit()


def ended(db: Session, user: UUID, status: str = "succeeded", **seconds_ago: float) -> UUID:
    """A task that ends now, after these times."""
    task = task_in(db, TaskStatus.RUNNING, user).id
    moved(db, task, **seconds_ago)
    task_service.update_task_status(db, task, status)
    return task


def longest(db: Session, user: UUID, by: Longest, skip: int = 0, **wanted: Any) -> list[UUID]:
    found, _ = task_queries.shown_longest(db, TaskFilter(user_id=user, **wanted), by, LIMIT, skip)
    return [row["id"] for row in found]


class TestTheLongest:
    def test_runs_come_first_and_what_has_not_run_is_left_out(self, db: Session) -> None:
        user = new_user(db)
        short, long = ended(db, user, started_at=10), ended(db, user, "failed", started_at=5000)
        running, _ = task_in(db, TaskStatus.RUNNING, user, tags=["x"]).id, new_task(db, user)
        moved(db, running, started_at=60)
        assert longest(db, user, Longest.DURATION) == [long, running, short]
        assert longest(db, user, Longest.DURATION, status=["succeeded", "running"]) == [running, short]
        assert longest(db, user, Longest.DURATION, tag=["x"]) == [running]
        assert longest(db, new_id(), Longest.DURATION) == []

    def test_waits_are_until_the_start_or_until_now_and_what_is_not_due_is_left_out(self, db: Session) -> None:
        user = new_user(db)
        started = ended(db, user, created_at=500, started_at=400)
        due = ended(db, user, created_at=500, run_at=20, started_at=10)
        again = ended(db, user, created_at=900, started_at=10)
        tried_again = task_in(db, TaskStatus.FAILED, user)
        task_service.retry_task(db, tried_again.id)
        claim(db, tried_again)
        waits, _ = new_task(db, user).id, new_task(db, user, delay_seconds=3600)
        moved(db, waits, created_at=50)
        assert longest(db, user, Longest.WAIT) == [again, started, waits]
        assert longest(db, user, Longest.WAIT, skip=3) == [due]

    def test_a_page_follows_the_one_before(self, db: Session) -> None:
        user = new_user(db)
        tasks = [ended(db, user, started_at=100 + at * 10) for at in range(5)]
        wanted = TaskFilter(user_id=user)
        pages = [task_queries.shown_longest(db, wanted, Longest.DURATION, 2, skip) for skip in (0, 2, 4)]
        assert [row["id"] for rows, _ in pages for row in rows] == tasks[::-1]
        assert [behind for _, behind in pages] == [2, 4, None]

    def test_a_page_that_is_cut_for_its_bytes_is_followed_by_the_rest(
        self, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(task_queries, "MAX_PAGE_BYTES", 1)  # a page shows one task at least
        user = new_user(db)
        tasks = [ended(db, user, started_at=100 + at * 10) for at in range(3)]
        seen, skip = [], 0
        while skip is not None:
            rows, skip = task_queries.shown_longest(db, TaskFilter(user_id=user), Longest.DURATION, 2, skip)
            seen += [row["id"] for row in rows]
        assert seen == tasks[::-1]

    def test_no_more_than_the_newest_are_looked_at(self, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(task_queries, "PAGE_LOOK", 2)
        user = new_user(db)
        _, *newest = (ended(db, user, started_at=ago) for ago in (9000, 10, 20))
        assert longest(db, user, Longest.DURATION) == newest[::-1]


def numbers(db: Session, wanted: TaskFilter) -> dict[str, dict[Any, str]]:
    """Of each field: how often each value occurs, as it is shown."""
    found = task_counts.read_facets(db, wanted)
    return {
        field: {each.value: f"{each.number}{'+' if each.is_more else ''}" for each in values}
        for field, values in found.items()
    }


class TestFacets:
    @pytest.fixture
    def user(self, db: Session) -> UUID:
        """Of two failed tasks, a succeeded one and three that wait."""
        user = new_user(db)
        for status, priority, tags in (
            ("failed", "low", ["nightly"]), ("failed", "low", ["nightly", "import"]), ("succeeded", "normal", []),
            ("pending", "normal", []), ("pending", "normal", []), ("pending", "high", ["nightly"]),
        ):  # fmt: skip
            task_in(db, TaskStatus(status), user, priority=priority, tags=tags)
        return user

    def test_are_exact_where_few_match(self, db: Session, user: UUID) -> None:
        found = numbers(db, TaskFilter(user_id=user))
        assert found["queue"] == {"default": "3", "low_priority": "2", "high_priority": "1"}
        assert found["status"] == {"pending": "3", "failed": "2", "succeeded": "1"}
        assert (found["tag"], found["user_id"]) == ({"nightly": "3", "import": "1"}, {user: "6"})
        assert numbers(db, TaskFilter(user_id=user, tag=["import"]))["queue"] == {"low_priority": "1"}
        assert numbers(db, TaskFilter(user_id=new_id())) == {field: {} for field in task_counts.FACET_FIELDS}

    def test_that_looked_at_a_part_of_the_tasks_say_so(
        self, db: Session, user: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(task_counts, "PAGE_LOOK", 5)
        assert numbers(db, TaskFilter(user_id=user, tag=["nightly"]))["status"] == {"failed": "1+", "pending": "1+"}
        # Those of the sums are all.
        assert numbers(db, TaskFilter(user_id=user, queue="low_priority"))["status"] == {"failed": "2"}

    @pytest.mark.parametrize("is_folded", [False, True])
    def test_of_many_are_read_from_the_sums(
        self, db: Session, user: UUID, is_folded: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(task_counts, "MOST_COUNTED_ROWS", 4)
        if is_folded:
            while task_counts.fold(db):
                pass
        found = numbers(db, TaskFilter(user_id=user))
        assert found["queue"] == {"default": "3", "low_priority": "2", "high_priority": "1"}
        assert found["status"] == {"pending": "3", "failed": "2", "succeeded": "1"}
        # Those of the newest four.
        assert found["tag"] == {"nightly": "1+"}

    def test_of_many_values_are_those_of_ended_and_active_tasks_together(
        self, db: Session, user: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(task_counts, "MOST_COUNTED_ROWS", 4)
        monkeypatch.setattr(task_counts, "MOST_VALUES", 1)
        for _ in range(2):
            task_in(db, TaskStatus.SUCCEEDED, user, priority="high")
        task_in(db, TaskStatus.RUNNING, user)
        found = numbers(db, TaskFilter(user_id=user))
        # Two ended tasks of each queue; three of the four active ones are in `default`.
        assert found["queue"] == {"default": "4"}
        assert found["status"] == {"pending": "3"} or found["status"] == {"succeeded": "3"}
        assert numbers(db, TaskFilter(user_id=user, status=sorted(ACTIVE)))["status"] == {"pending": "3"}

    def test_of_more_active_ones_than_are_read_are_marked(
        self, db: Session, user: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(task_counts, "MOST_COUNTED_ROWS", 2)
        found = numbers(db, TaskFilter(user_id=user, status=[TaskStatus.PENDING]))
        assert found["status"] == {"pending": "2+"}
        assert numbers(db, TaskFilter(user_id=user, status=sorted(TERMINAL)))["status"] == {
            "failed": "2", "succeeded": "1",
        }  # fmt: skip

    def test_that_the_sums_do_not_have_are_those_of_the_newest(
        self, db: Session, user: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(task_counts, "MOST_COUNTED_ROWS", 1)
        found = numbers(db, TaskFilter(user_id=user, tag=["nightly"]))
        assert Counter(found["queue"].values()) == {"1+": 1}
