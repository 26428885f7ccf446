"""The release of children: the same rows whichever connection it has, and one release for each child."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db.outage import is_locked
from app.db.postgresql.prepared import Prepared
from app.db.postgresql.released_children import LET_GO_ON, SETTINGS, WAITING
from app.db.session import SessionLocal, autocommit_engine
from app.db.sql import prepared, released_children
from app.db.statements.dependencies import Child
from app.db.statements.pending_rows import PLACE_BATCH
from app.models.task import Task
from app.models.workflow import OnFailure
from app.services.execution import ends
from app.services.task_service import task_service
from app.services.tasks import due_tasks
from app.services.workflows import dependents
from app.services.workflows.service import workflow_service
from tests.support.lock_waits import after_the_commit, needs_row_locks
from tests.support.services import Services
from tests.support.settings import on_new_database, sql
from tests.support.tasks import ERROR, LONG_RUNNING, claim, claim_next, new_task, new_user
from tests.support.workflows import settle, sleep

LetGoOn = Callable[..., list[Child]]


@pytest.fixture(autouse=True)
def database(services: Services) -> Iterator[None]:
    with on_new_database(services):
        yield


@pytest.fixture
def db() -> Iterator[Session]:
    with SessionLocal() as db:
        yield db


@pytest.fixture
def user(db: Session) -> UUID:
    return new_user(db)


def in_a_session(*parents: Task) -> list[Child]:
    with SessionLocal() as db:
        children = released_children.let_go_on(db, [each.id for each in parents])
        db.commit()
    return children


def on_a_connection(*parents: Task) -> list[Child]:
    with autocommit_engine().connect() as connection:
        return released_children.let_go_on(connection, [each.id for each in parents])


def on_the_connection_of_a_child_process(*parents: Task) -> list[Child]:
    with prepared.prepared_connection() as connection:
        return released_children.let_go_on(connection, [each.id for each in parents])


at_once = [on_a_connection, on_the_connection_of_a_child_process]
ways = pytest.mark.parametrize("let_go_on", [in_a_session, *at_once])


def until_free(let_go_on: LetGoOn, parent: Task) -> list[Child]:
    """What it returns once nobody holds the children: on a slow machine it may give up before the test has seen it."""
    while True:
        try:
            return let_go_on(parent)
        except OperationalError as error:
            if not is_locked(error):
                raise


def succeed(db: Session, *tasks: Task) -> None:
    """Have them run and succeed, committed and not settled."""
    for task in tasks:
        claim(db, task)
        assert ends.end_attempt(db, task.id, task_service.get_task(db, task.id).attempt, ends.succeeded(1))
        db.commit()


def waits_of(task: Task) -> str | None:
    with SessionLocal() as db:
        return task_service.get_task(db, task.id).waits


def child_that_goes_on(db: Session, parent: Task) -> Task:
    """A child that runs also where its parent fails, as those of a workflow with `on_failure: continue`."""
    child = new_task(db, parent.user_id, depends_on=[parent.id])
    sql("UPDATE task_dependencies SET goes_on = true WHERE child_id = :child", child=child.id)
    return child


def retried_with_its_child(db: Session, user: UUID, on_failure: OnFailure) -> tuple[Task, Task, Callable[[], object]]:
    """A parent that has failed, which is not settled; its child, which was revoked; and what retries both of them."""
    tasks = [sleep("parent"), sleep("child", "parent")]
    workflow = workflow_service.create_workflow(
        db, "nightly", tasks, user_id=user, on_failure=on_failure
    )  # fmt: skip
    parent, child = (task_service.get_task(db, node.id) for node in workflow.tasks)
    task_service.cancel_task(db, child.id)
    assert dependents.flush_releases(30)  # or this waits for the retry as well
    claim(db, parent)
    assert ends.end_attempt(db, parent.id, 1, ends.failed(ERROR))
    db.commit()
    return parent, child, partial(workflow_service.retry_workflow, db, workflow.id, commit=False)


def open_edges() -> int:
    return int(sql("SELECT count(*) FROM task_dependencies WHERE is_open")[0][0])


@ways
class TestEachWay:
    def test_lets_those_go_on_that_wait_for_nothing_else(self, db: Session, user: UUID, let_go_on: LetGoOn) -> None:
        parent, other = new_task(db, user), new_task(db, user)
        free, held = new_task(db, user, depends_on=[parent.id]), new_task(db, user, depends_on=[parent.id, other.id])
        assert let_go_on(parent) == []
        succeed(db, parent)
        (child,) = let_go_on(parent)
        assert child[:-1] == (free.id, free.queue, user, None, free.user_limited)
        assert (waits_of(free), waits_of(held), open_edges()) == ("ready", "dependency", 1)
        assert let_go_on(parent) == []
        succeed(db, other)
        assert [each.id for each in let_go_on(parent, other)] == [held.id]
        assert waits_of(held) == "ready"

    def test_leaves_those_whose_parent_has_failed(self, db: Session, user: UUID, let_go_on: LetGoOn) -> None:
        parent = new_task(db, user)
        held = new_task(db, user, depends_on=[parent.id])
        goes_on = child_that_goes_on(db, parent)
        claim(db, parent)
        assert ends.end_attempt(db, parent.id, 1, ends.failed(ERROR))
        db.commit()
        assert [each.id for each in let_go_on(parent)] == [goes_on.id]
        assert (waits_of(held), open_edges()) == ("dependency", 1)
        settle(db)
        assert (task_service.get_task(db, held.id).status_reason, open_edges()) == ("parent_failed", 0)

    def test_counts_a_parent_that_is_deleted_as_ended(self, db: Session, user: UUID, let_go_on: LetGoOn) -> None:
        parent = new_task(db, user)
        held, goes_on = new_task(db, user, depends_on=[parent.id]), child_that_goes_on(db, parent)
        sql("DELETE FROM tasks WHERE id = :parent", parent=parent.id)  # as nothing in the service does
        assert [each.id for each in let_go_on(parent)] == [goes_on.id]
        assert (waits_of(held), open_edges()) == ("dependency", 1)

    def test_leaves_them_to_their_times_and_limits(self, db: Session, user: UUID, let_go_on: LetGoOn) -> None:
        task_service.put_limit(db, "api", concurrency=1)
        parent = new_task(db, user)
        later = new_task(db, user, depends_on=[parent.id], run_at=datetime.now(UTC) + timedelta(hours=1))
        limited = new_task(db, user, depends_on=[parent.id], limit="api")
        succeed(db, parent)
        assert {each.id: each.limit for each in let_go_on(parent)} == {later.id: None, limited.id: "api"}
        assert (waits_of(later), waits_of(limited)) == ("schedule", "limit")
        assert claim_next(db) == []

    def test_lets_any_number_go_on(self, db: Session, user: UUID, let_go_on: LetGoOn) -> None:
        parent = new_task(db, user)
        wanted = {"name": "a", "task_type": "test", "celery_task_name": LONG_RUNNING, "args": [1]}
        number = PLACE_BATCH + 1
        task_service.create_tasks(db, [{**wanted, "depends_on": [parent.id]}] * number, user_id=user)
        succeed(db, parent)
        children = let_go_on(parent)
        assert (len(children), open_edges()) == (number, 0)
        due_tasks.wake_committed(children)
        assert sql("SELECT count(*) FROM tasks WHERE status = 'pending' AND turn IS NOT NULL")[0][0] == number


@pytest.mark.postgresql("the release gives the turns in its own message there")
@pytest.mark.parametrize("let_go_on", at_once)
def test_it_gives_those_their_turns_that_can_start(db: Session, user: UUID, let_go_on: LetGoOn) -> None:
    parent = new_task(db, user)
    child = new_task(db, user, depends_on=[parent.id])
    succeed(db, parent)
    assert [each.is_placed for each in let_go_on(parent)] == [True]
    assert [each.id for each in claim_next(db)] == [child.id]


@pytest.mark.postgresql("its plan")
def test_the_edges_of_many_children_are_not_compared_with_each_of_them(db: Session, user: UUID) -> None:
    """By array or by a join in loops, a thousand edges took 600 ms where they take 13."""
    close = Prepared(LET_GO_ON[1])
    values = close.named(close.values({"p_parents": [new_task(db, user).id]}))
    cursor: Any = db.connection().connection.cursor()
    for name, value in {**SETTINGS, WAITING: "{}"}.items():
        cursor.execute(f"SET LOCAL {name} = '{value}'")
    cursor.execute(f"EXPLAIN {close.inline}", values)
    plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "hashed SubPlan" in plan
    assert "Nested Loop" not in plan


@needs_row_locks
@ways
class TestAtOnce:
    def test_the_second_of_two_parents_releases(self, db: Session, user: UUID, let_go_on: LetGoOn) -> None:
        first, second = new_task(db, user), new_task(db, user)
        child = new_task(db, user, depends_on=[first.id, second.id])
        succeed(db, first, second)
        assert released_children.let_go_on(db, [first.id]) == []
        released = after_the_commit(db, lambda: until_free(let_go_on, second))
        assert [each.id for each in released] == [child.id]

    def test_a_parent_that_is_retried_meanwhile_keeps_its_child(
        self, db: Session, user: UUID, let_go_on: LetGoOn
    ) -> None:  # fmt: skip
        parent = new_task(db, user)
        child = child_that_goes_on(db, parent)
        claim(db, parent)
        assert ends.end_attempt(db, parent.id, 1, ends.failed(ERROR))
        db.commit()
        task_service.retry_task(db, parent.id, commit=False)
        assert after_the_commit(db, lambda: until_free(let_go_on, parent)) == []
        assert (waits_of(child), open_edges()) == ("dependency", 1)

    def test_a_child_that_is_retried_with_its_parent_waits_for_it(
        self, db: Session, user: UUID, let_go_on: LetGoOn
    ) -> None:
        parent, child, retry = retried_with_its_child(db, user, OnFailure.CONTINUE)
        retry()
        assert after_the_commit(db, lambda: until_free(let_go_on, parent)) == []
        assert (waits_of(child), open_edges()) == ("dependency", 1)


@needs_row_locks
def test_a_child_that_is_retried_with_its_failed_parent_waits_for_it(db: Session, user: UUID) -> None:
    parent, child, retry = retried_with_its_child(db, user, OnFailure.CANCEL)

    def close_failed() -> set[UUID]:
        with SessionLocal() as other, other.begin():
            return released_children.close_failed(other, [parent.id])

    retry()
    assert after_the_commit(db, close_failed) == set()
    assert (waits_of(child), open_edges()) == ("dependency", 1)


@pytest.mark.postgresql("other engines wait for a lock as long as any statement does")
@pytest.mark.parametrize("let_go_on", at_once)
def test_what_is_locked_is_left_to_the_outbox(db: Session, user: UUID, let_go_on: LetGoOn) -> None:
    """It waits for 200 ms and not for a transaction that hangs; nothing is done by halves."""
    parent = new_task(db, user)
    children = [new_task(db, user, depends_on=[parent.id]) for _ in range(2)]
    succeed(db, parent)
    db.get(Task, children[1].id, with_for_update=True)
    with pytest.raises(OperationalError) as refused:
        let_go_on(parent)
    assert is_locked(refused.value)
    assert open_edges() == 2
    db.rollback()
    settle(db)
    assert [waits_of(each) for each in children] == ["ready", "ready"]


@pytest.mark.postgresql("other engines release all of them in one transaction")
@pytest.mark.parametrize("let_go_on", at_once)
def test_a_batch_that_is_locked_is_left_with_those_before_it_returned(
    db: Session, user: UUID, let_go_on: LetGoOn
) -> None:
    """Their release is committed: who has called wakes slots for them."""
    parent = new_task(db, user)
    wanted = {"name": "a", "task_type": "test", "celery_task_name": LONG_RUNNING, "args": [1]}
    number = PLACE_BATCH + 1
    made = task_service.create_tasks(db, [{**wanted, "depends_on": [parent.id]}] * number, user_id=user)
    succeed(db, parent)
    db.get(Task, max(each.id for each in made), with_for_update=True)
    assert len(let_go_on(parent)) == PLACE_BATCH
    db.rollback()
    settle(db)
    assert open_edges() == 0


def test_a_process_that_releases_at_once_hands_the_end_over(db: Session, user: UUID) -> None:
    """The child first; then its workflow is told, off the path of the process."""
    parent = new_task(db, user)
    child = new_task(db, user, depends_on=[parent.id])
    succeed(db, parent)
    with prepared.prepared_connection() as connection:
        assert [each.id for each in dependents.release_at_once(connection, parent.id)] == [child.id]
    assert dependents.flush_releases(30)
    assert sql("SELECT count(*) FROM task_outbox")[0][0] == 0
