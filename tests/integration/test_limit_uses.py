"""What of each limit is in use and what waits for it, as the page of limits asks."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.db.sql import limits as statements, prepared
from app.models.limit import Limit
from app.models.task import WaitingReason
from app.models.task_filter import TaskFilter
from app.services.execution.claims import Claims
from app.services.operations import limit_service
from app.services.task_service import task_service
from app.services.tasks import task_counts, task_queries
from tests.support.limited import LINES, SHORT, served_session, succeed
from tests.support.spelling import spelled
from tests.support.statements import statements as noted_statements
from tests.support.tasks import WORKER, flush_admitter, new_task, new_user

pytestmark = pytest.mark.usefixtures("fresh_picture")


@pytest.fixture
def real(fresh_database: None) -> Iterator[Session]:
    """A session that commits, in a database that a worker serves."""
    yield from served_session()


def start(db: Session) -> list[UUID]:
    """What a worker gets until it gets nothing more."""
    flush_admitter()
    db.commit()
    found: list[UUID] = []
    with prepared.prepared_connection() as connection:
        while rows := Claims(LINES).next(connection, SHORT, new_id(), WORKER):
            found += [row.id for row in rows]
    return found


class TestUses:
    def test_are_the_running_tasks_by_key_and_the_waiting_ones(self, real: Session) -> None:
        user, other = new_user(real), new_user(real)
        task_service.put_limit(real, "x", concurrency=2, concurrency_per_key=1)
        task_service.put_limit(real, "y", rate={"count": 1, "period_seconds": 60})
        for of_turn in ([(user, "a"), (user, "b")], [(user, "a"), (other, "c"), (user, None)]):
            for who, key in of_turn:
                new_task(real, who, limit="x", limit_key=key)
            flush_admitter()  # the first two have the places: users take turns
        for _ in range(2):
            new_task(real, user, limit="y")
        flush_admitter()
        start(real)
        uses = limit_service.limit_uses(real)
        assert [(each.key, each.running, len(each.tasks)) for each in uses.of["x"].keys] == [("a", 1, 1), ("b", 1, 1)]
        assert (uses.of["x"].waiting, uses.of["y"].waiting, uses.of["y"].starts, uses.is_cut) == (3, 1, 1, False)
        own = limit_service.limit_uses(real, owner=other)
        assert (own.of["x"].waiting, own.of["x"].keys) == (1, [])

    def test_count_the_starts_within_the_period_of_each_rate(self, real: Session) -> None:
        user = new_user(real)
        for name, period in (("minute", 60), ("hour", 3600), ("unused", 60)):
            task_service.put_limit(real, name, rate={"count": 10, "period_seconds": period})
        task_service.put_limit(real, "unrated", concurrency=1)
        tasks = [new_task(real, user, limit=name).id for name in ("minute", "hour", "minute", "hour", "unrated")]
        assert sorted(start(real)) == tasks
        succeed(real, *tasks[:2])
        real.execute(spelled("UPDATE limit_places SET started_at = started_at - interval '300 seconds'"))
        tasks.append(new_task(real, user, limit="minute").id)  # it has a place, and may start at any moment
        flush_admitter()
        real.commit()
        starts = {name: use.starts for name, use in limit_service.limit_uses(real).of.items() if use.starts}
        assert starts == {"minute": 1, "hour": 2}
        rated = real.scalars(select(Limit).where(Limit.rate_count.is_not(None)))
        assert {
            limit.name: number for limit in rated if (number := statements.usage_of_limit(real, limit).starts)
        } == starts

    def test_take_as_many_statements_for_many_limits_as_for_one(self, real: Session) -> None:
        sent = []
        for at in range(3):
            task_service.put_limit(real, f"rated-{at}", rate={"count": 1, "period_seconds": 60})
            flush_admitter()  # what its thread sends is noted, too
            with noted_statements() as seen:
                limit_service.limit_uses(real)
            sent.append(len(seen))
        assert sent == [sent[0]] * 3


class TestTheTasksOfALimit:
    @pytest.fixture
    def found(self, real: Session) -> Callable[..., list[UUID]]:
        """The tasks that a filter lists, after it was counted."""

        def of_filter(**fields: Any) -> list[UUID]:
            wanted = TaskFilter(**fields)
            tasks = [task.id for task in task_queries.first_tasks(real, wanted, 100)]
            assert task_counts.count(real, wanted)["total"] == len(tasks)
            return tasks

        return of_filter

    def test_are_listed_and_counted(self, real: Session, found: Callable[..., list[UUID]]) -> None:
        user, other = new_user(real), new_user(real)
        for name in ("x", "y"):
            task_service.put_limit(real, name, concurrency=1)
        running, waiting, foreign = (new_task(real, who, limit="x").id for who in (user, user, other))
        new_task(real, user, limit="y")
        new_task(real, user)
        assert running in start(real)
        assert found(limit_name="x") == [foreign, waiting, running]
        assert found(limit_name="x", user_id=user) == [waiting, running]
        assert found(limit_name="x", status=["pending"]) == [foreign, waiting]
        assert found(limit_name="x", status=["pending"], user_id=user, name="a task") == [waiting]
        assert found(limit_name="x", status=["pending"], waiting_for=WaitingReason.LIMIT) == [foreign, waiting]
        assert found(limit_name="x", status=["pending", "running"], user_id=user) == [waiting, running]
        assert found(limit_name="z") == found(limit_name="x", status=["failed"]) == []
        succeed(real, running)
        assert found(limit_name="x", status=["succeeded"]) == [running]

    def test_that_wait_are_found_behind_any_number_of_newer_tasks(
        self, real: Session, found: Callable[..., list[UUID]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        user = new_user(real)
        for name in ("x", "y"):
            task_service.put_limit(real, name, concurrency=1)
        old = [new_task(real, user, limit="x").id for _ in range(3)]
        for _ in range(4):
            new_task(real, user, limit="y")
        monkeypatch.setattr(task_queries, "PAGE_LOOK", 2)
        for owner in ({}, {"user_id": user}):
            wanted: dict[str, Any] = {"limit_name": "x", "status": ["pending"], **owner}
            page = task_queries.read_page(real, TaskFilter(**wanted), 10)
            assert [task.id for task in page.items] == old[:0:-1]
            assert found(**wanted) == old[::-1]
