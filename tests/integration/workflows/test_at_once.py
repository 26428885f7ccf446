"""Parents that end, and children that are made, at the same moment: each child goes on once."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db.outage import is_passing
from app.db.session import SessionLocal
from app.db.statements import bulk, workflows
from app.models.bulk import Deed
from app.models.task import Task, TaskDependency, TaskStatus
from app.services.bulk.steps import Doer, perform
from app.services.execution import ends
from app.services.execution.claims import give_back
from app.services.outbox import deliver_batch
from app.services.task_service import task_service
from app.services.tasks import task_changes
from app.services.workflows.dependents import CONSUMER, flush_releases, settle_ends
from app.services.workflows.service import workflow_service
from tests.support.lock_waits import after_the_commit, await_lock_waits, needs_row_locks
from tests.support.services import Services
from tests.support.settings import on_new_database
from tests.support.tasks import ERROR, claim, claim_next, new_task, new_user
from tests.support.workflows import sleep

SEED, WIDTH, LAYERS, THREADS = 29, 12, 5, 6


@pytest.fixture(autouse=True)
def database(services: Services) -> Iterator[None]:
    with on_new_database(services):
        yield


@pytest.fixture
def user() -> UUID:
    with SessionLocal() as db:
        return new_user(db)


def waits_of(task: Task) -> str | None:
    with SessionLocal() as db:
        return task_service.get_task(db, task.id).waits


def succeed(db: Session, task: Task) -> None:
    """Write the end; the caller commits."""
    assert ends.end_attempt(db, task.id, task_service.get_task(db, task.id).attempt, ends.succeeded(1))


def fail(db: Session, task: Task) -> None:
    """Have it run and fail, committed and not settled."""
    claim(db, task)
    assert ends.end_attempt(db, task.id, task_service.get_task(db, task.id).attempt, ends.failed(ERROR))
    db.commit()


@needs_row_locks
def test_two_parents_that_end_at_once_release_it_once(user: UUID) -> None:
    with SessionLocal() as one, SessionLocal() as other:
        first, second = new_task(one, user), new_task(one, user)
        child = new_task(one, user, depends_on=[first.id, second.id])
        for parent in (first, second):
            claim(one, parent)
            succeed(one, parent)
            one.commit()
        settle_ends(one, [first.id])

        def settle_the_second() -> None:
            settle_ends(other, [second.id])
            other.commit()

        after_the_commit(one, settle_the_second)
    assert waits_of(child) == "ready"
    with SessionLocal() as db:
        assert [each.id for each in claim_next(db)] == [child.id]


@needs_row_locks
def test_a_bulk_retry_has_no_task_while_it_waits_for_its_workflow(user: UUID) -> None:
    """Whoever settles an end has the workflow, and then wants the children of the task: they would wait for ever."""
    with SessionLocal() as one, SessionLocal() as other, ThreadPoolExecutor(1) as pool:
        tasks = [sleep("parent"), sleep("child", "parent")]
        workflow = workflow_service.create_workflow(one, "nightly", tasks, user_id=user)
        workflow_service.cancel_workflow(one, workflow.id)
        assert flush_releases(30)  # or this waits as well
        ids = [node.id for node in workflow.tasks if node.id is not None]
        doer = Doer(user, "user", "high", as_admin=False, within_quota=False)

        def retry() -> int:
            done = perform(other, Deed.RETRY, doer, ids).done
            other.commit()
            return done

        workflows.lock(one, [workflow.id])
        retried = pool.submit(retry)
        try:
            await_lock_waits(1, "the retry to wait")
            locked = select(Task.id).where(Task.id.in_(ids)).with_for_update(nowait=True)
            assert set(one.scalars(locked)) == {*ids}
        finally:
            one.rollback()
        assert retried.result(30) == len(ids)


@needs_row_locks
def test_a_bulk_retry_has_no_task_while_it_waits_for_a_child(user: UUID) -> None:
    """Whoever settles an end locks all children in the order of their ids, those that have ended too."""
    with SessionLocal() as one, SessionLocal() as other, ThreadPoolExecutor(1) as pool:
        parent = new_task(one, user)
        child = new_task(one, user, depends_on=[parent.id])
        fail(one, parent)
        ids, waiting = [parent.id], child.id
        doer = Doer(user, "user", "high", as_admin=False, within_quota=False)

        def retry() -> int:
            done = perform(other, Deed.RETRY, doer, ids).done
            other.commit()
            return done

        one.execute(select(Task.id).where(Task.id == waiting).with_for_update())
        retried = pool.submit(retry)
        try:
            await_lock_waits(1, "the retry to wait")
            assert one.scalars(select(Task.id).where(Task.id.in_(ids)).with_for_update(nowait=True)).all()
        finally:
            one.rollback()
        assert retried.result(30) == 1
        assert task_service.get_task(one, waiting).waits == "dependency"


@needs_row_locks
def test_a_child_that_is_made_while_its_parent_ends_waits_for_nothing(user: UUID) -> None:
    with SessionLocal() as one, SessionLocal() as other:
        parent = new_task(one, user)
        claim(one, parent)
        succeed(one, parent)
        made = list[Task]()
        after_the_commit(one, lambda: made.append(new_task(other, user, depends_on=[parent.id])))
    assert waits_of(made[0]) == "ready"


@needs_row_locks
def test_a_parent_that_ends_while_its_child_is_made_releases_it(user: UUID) -> None:
    with SessionLocal() as one, SessionLocal() as other:
        parent = new_task(one, user)
        claim(one, parent)
        child = new_task(one, user, depends_on=[parent.id], commit=False)

        def end() -> None:
            succeed(other, parent)
            other.commit()

        after_the_commit(one, end)
    assert waits_of(child) == "dependency"
    _deliver_all()
    assert waits_of(child) == "ready"


@needs_row_locks
def test_a_parent_that_is_retried_while_its_failure_is_settled_keeps_its_child(user: UUID) -> None:
    with SessionLocal() as one, SessionLocal() as other:
        parent = new_task(one, user)
        child = new_task(one, user, depends_on=[parent.id])
        fail(one, parent)
        task_service.retry_task(one, parent.id, commit=False)

        def settle_the_failure() -> None:
            settle_ends(other, [parent.id])
            other.commit()

        after_the_commit(one, settle_the_failure)
    assert waits_of(child) == "dependency"


@needs_row_locks
def test_a_parent_that_fails_while_its_workflow_is_retried_is_waited_for(
    user: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """It fails between the look at the nodes and the lock of their tasks: it runs again, and the others wait for it."""
    tasks = [sleep("failed"), sleep("slow"), sleep("middle", "failed", "slow"), sleep("last", "middle")]
    with SessionLocal() as one, SessionLocal() as other:
        workflow = task_service.create_workflow(one, "retried", tasks, user_id=user)
        failed, slow, *_ = (task_service.get_task(one, node.id) for node in workflow.tasks if node.id)
        fail(one, failed)
        claim(one, slow)
        settle_ends(one, [failed.id])
        one.commit()
        attempt, lock = task_service.get_task(one, slow.id).attempt, bulk.lock_tasks

        def fail_first(*args: Any, **options: Any) -> Any:
            assert ends.end_attempt(other, slow.id, attempt, ends.failed(ERROR))
            other.commit()
            return lock(*args, **options)

        with monkeypatch.context() as patched:
            patched.setattr(bulk, "lock_tasks", fail_first)
            workflow_service.retry_workflow(one, workflow.id)
        settle_ends(other, [slow.id])
        other.commit()
        ready = {each.id for _ in tasks for each in claim_next(one)}
        assert ready == {failed.id, slow.id}


def test_a_graph_is_run_in_order_however_many_run_it(user: UUID) -> None:
    """Some run what is ready, others hand over what has ended, all at once: each task runs once, after its parents."""
    rng = random.Random(SEED)
    layers: list[list[Task]] = []
    with SessionLocal() as db:
        for _ in range(LAYERS):
            above = layers[-1] if layers else []
            layers.append(
                [
                    new_task(db, user, depends_on=[each.id for each in rng.sample(above, min(len(above), 4))])
                    for _ in range(WIDTH)
                ]
            )
    total = WIDTH * LAYERS
    with ThreadPoolExecutor(THREADS) as pool:
        done = [pool.submit(_run_until, total, deliver=number % 2 == 0) for number in range(THREADS)]
        ran = [each for future in done for each in future.result()]
    assert (len(ran), len(set(ran))) == (total, total)
    with SessionLocal() as db:
        times = {row.id: (row.started_at, row.finished_at, row.attempt) for row in db.scalars(select(Task))}
        assert all(attempt == 1 for _, _, attempt in times.values())
        for edge in db.scalars(select(TaskDependency)):
            assert not edge.is_open
            assert times[edge.parent_id][1] <= times[edge.child_id][0]


def _run_until(total: int, *, deliver: bool) -> list[UUID]:
    ran: list[UUID] = []
    with SessionLocal() as db:
        while task_service.get_task_count(db, status=TaskStatus.SUCCEEDED) < total:
            db.rollback()
            for each in claim_next(db):
                assert ends.end_attempt(db, each.id, each.attempt, ends.succeeded(1))
                db.commit()
                ran.append(each.id)
            if deliver:
                _quietly(lambda: deliver_batch(db, CONSUMER))
    return ran


def _quietly(deliver: Callable[[], int]) -> None:
    """What a deadlock among those that deliver has undone is done at the next look, as by maintenance."""
    try:
        deliver()
    except SQLAlchemyError as error:
        if not is_passing(error):
            raise


def _deliver_all() -> None:
    with SessionLocal() as db:
        while deliver_batch(db, CONSUMER):
            pass


@pytest.mark.postgresql(
    "InnoDB locks the rows that the first statement looks at, so that nothing comes between the two"
)
def test_a_cancellation_takes_what_is_given_back_meanwhile(user: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that runs, and waits again before it is asked to stop, is met by neither of the two statements."""
    with SessionLocal() as db, SessionLocal() as worker:
        workflow = workflow_service.create_workflow(db, "w", [sleep("a")], user_id=user)
        claims = claim_next(worker)
        worker.commit()
        ask = task_changes.request_all_cancels

        def ask_behind(*arguments: Any) -> Any:
            if claims:
                give_back(worker, [claims.pop()])
                worker.commit()
            return ask(*arguments)

        monkeypatch.setattr(task_changes, "request_all_cancels", ask_behind)
        assert workflow_service.cancel_workflow(db, workflow.id).status == TaskStatus.REVOKED
