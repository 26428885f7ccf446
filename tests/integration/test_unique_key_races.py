"""`unique_key` from Python, and what other transactions do between two statements of a request."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.db.session import SessionLocal
from app.errors import InvalidTask, UniqueKeyTaken
from app.models.task import Task, TaskStatus
from app.services.task_service import task_service
from tests.support.databases import ENGINE
from tests.support.statements import before_each_statement
from tests.support.task_client import module_client
from tests.support.tasks import claim, new_user, task_in
from tests.support.unique_keys import KEY, active, create, wanted

client = module_client()
LOOK = "tasks.active_key = ANY" if ENGINE == "postgresql" else "tasks.active_key IN"
INSERT, UPDATE = "INSERT INTO tasks", "UPDATE tasks SET name"
READ = "tasks.cancel_requested_at \nFROM tasks \nWHERE tasks.id IN"


@pytest.fixture
def user(client: httpx.Client) -> UUID:
    with SessionLocal() as db:
        return new_user(db)


@contextmanager
def once_before(what: str, act: Callable[[], object]) -> Iterator[list[str]]:
    """`act` runs before the first statement with this text. Yields the texts of all that were sent with it."""
    seen: list[str] = []

    def note(statement: str, _: Any) -> None:
        if what in statement:
            seen.append(statement)
            if len(seen) == 1:
                act()

    with before_each_statement(note):
        yield seen


def cancelled(task: Task) -> None:
    with SessionLocal() as db:
        assert task_service.cancel_task(db, task.id)


def claimed(task: Task) -> None:
    with SessionLocal() as db:
        claim(db, task)


class TestFromPython:
    def test_each_conflict(self, user: UUID) -> None:
        first = create(user)
        with pytest.raises(UniqueKeyTaken) as caught:
            create(user)
        assert caught.value.task_id == first.id
        assert create(user, "return", name="other").name == first.name
        replaced = create(user, "replace", name="other")
        assert (replaced.id, replaced.name, replaced.version) == (first.id, "other", 2)
        assert active(user) == [(first.id, KEY)]

    def test_many_at_once(self, user: UUID) -> None:
        first = create(user)
        with SessionLocal() as db:
            tasks = task_service.create_tasks(db, wanted(KEY, None, "new", "new", on_conflict="return"), user)
            assert [task.id == first.id for task in tasks] == [True, False, False, False]
            assert tasks[2] is tasks[3]
            assert [task.active_key for task in tasks] == [KEY, None, "new", "new"]
            with pytest.raises(UniqueKeyTaken):
                task_service.create_tasks(db, wanted("another", KEY), user)
        assert len(active(user)) == 3

    def test_an_unknown_user(self, client: httpx.Client) -> None:
        del client
        with pytest.raises(InvalidTask, match="no user"):
            create(UUID(int=7))

    def test_without_commit_belongs_to_the_callers_transaction(self, user: UUID) -> None:
        with SessionLocal() as db:
            task_service.create_tasks(db, wanted(KEY), user, commit=False)
            db.rollback()
            assert active(user) == []
            (task,) = task_service.create_tasks(db, wanted(KEY), user, commit=False)
            db.commit()
        assert active(user) == [(task.id, KEY)]

    def test_refused_without_commit_leaves_the_callers_transaction_as_it_was(self, user: UUID) -> None:
        """By the last of its keys, when tasks with the others have been created."""
        holder = create(user)
        claimed(holder)
        with SessionLocal() as db:
            (mine,) = task_service.create_tasks(db, wanted(None), user, commit=False)
            with pytest.raises(UniqueKeyTaken):
                task_service.create_tasks(db, wanted("a", KEY, on_conflict="replace"), user, commit=False)
            db.commit()
        assert {task_id for task_id, _ in active(user)} == {holder.id, mine.id}

    def test_a_retry_that_is_refused_leaves_the_callers_transaction_as_it_was(self, user: UUID) -> None:
        with SessionLocal() as db:
            failed = task_in(db, TaskStatus.FAILED, user, unique_key=KEY)
            holder = create(user)
            (mine,) = task_service.create_tasks(db, wanted(None), user, commit=False)
            with pytest.raises(UniqueKeyTaken) as caught:
                task_service.retry_task(db, failed.id, commit=False)
            assert caught.value.task_id == holder.id
            db.commit()
            assert {task_id for task_id, _ in active(user)} == {holder.id, mine.id}
            cancelled(holder)
            assert task_service.retry_task(db, failed.id).status is TaskStatus.PENDING


@pytest.mark.skipif(ENGINE == "sqlite", reason="on SQLite no other transaction writes in between")
class TestOvertaken:
    """Another transaction acts between two statements of the request, which then does it all again."""

    @pytest.mark.parametrize("on_conflict", ["return", "replace"])
    def test_by_the_end_of_the_task_that_had_the_key(self, user: UUID, on_conflict: str) -> None:
        holder = create(user)
        moment = READ if on_conflict == "return" else UPDATE
        with once_before(moment, lambda: cancelled(holder)) as seen:
            task = create(user, on_conflict)
        assert task.id != holder.id
        assert active(user) == [(task.id, KEY)]
        assert len(seen) == 1

    def test_by_a_task_that_takes_the_key(self, user: UUID) -> None:
        others: list[Task] = []
        with once_before(INSERT, lambda: others.append(create(user, name="faster"))):
            task = create(user, "return")
        assert (task.id, task.name) == (others[0].id, "faster")
        assert active(user) == [(task.id, KEY)]

    @pytest.mark.parametrize("commit", [False, True])
    def test_keeps_what_the_callers_transaction_has_done(self, user: UUID, commit: bool) -> None:
        others: list[Task] = []
        with SessionLocal() as db:
            (mine,) = task_service.create_tasks(db, wanted(None), user, commit=False)
            with once_before(INSERT, lambda: others.append(create(user))):
                (task,) = task_service.create_tasks(db, wanted(KEY, on_conflict="return"), user, commit=commit)
            db.commit()
        assert task.id == others[0].id
        assert {task_id for task_id, _ in active(user)} == {task.id, mine.id}

    def test_by_a_task_that_takes_the_key_is_refused(self, user: UUID) -> None:
        others: list[Task] = []
        with once_before(INSERT, lambda: others.append(create(user))), pytest.raises(UniqueKeyTaken) as caught:
            create(user)
        assert caught.value.task_id == others[0].id

    def test_by_the_claim_of_a_task_that_is_replaced(self, user: UUID) -> None:
        holder = create(user)
        with once_before(UPDATE, lambda: claimed(holder)), pytest.raises(UniqueKeyTaken, match="running"):
            create(user, "replace", name="new")
        with SessionLocal() as db:
            assert task_service.get_task(db, holder.id).name == holder.name

    def test_by_a_change_of_a_task_that_is_replaced(self, user: UUID) -> None:
        holder = create(user)

        def change() -> None:
            with SessionLocal() as db:
                task_service.update_task(db, holder.id, {"tags": ["changed"]})

        with once_before(UPDATE, change):
            task = create(user, "replace", name="new")
        assert (task.id, task.name, task.tags, task.version) == (holder.id, "new", [], 3)

    def test_again_and_again_ends(self, user: UUID) -> None:
        """Each try finds the key free, and taken at its INSERT by a task that has ended at the next look."""

        def overtake(statement: str, _: Any) -> None:
            if threading.current_thread() is this and not busy:
                if INSERT in statement:
                    busy.append(True)
                    others.append(create(user))
                    busy.clear()
                elif LOOK in statement and others:
                    busy.append(True)
                    cancelled(others[-1])
                    busy.clear()

        this, busy, others = threading.current_thread(), [], []
        with before_each_statement(overtake), pytest.raises(UniqueKeyTaken, match="try again"):
            create(user)
        assert len(others) == 10

    def test_by_a_retry(self, user: UUID) -> None:
        with SessionLocal() as db:
            failed = task_in(db, TaskStatus.FAILED, user, unique_key=KEY)

        def retry() -> None:
            with SessionLocal() as db:
                task_service.retry_task(db, failed.id)

        with once_before(INSERT, retry), pytest.raises(UniqueKeyTaken) as caught:
            create(user)
        assert caught.value.task_id == failed.id
