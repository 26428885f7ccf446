"""`unique_key` in many threads at once: one pending or running task for a key, ever, and no neighbour that pays."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.db.session import SessionLocal
from app.errors import UniqueKeyTaken
from app.messaging import wakeups
from app.models.task import TaskStatus
from app.services.task_service import task_service
from tests.report.recorded import is_promised
from tests.support.databases import ENGINE
from tests.support.lock_waits import await_lock_waits
from tests.support.settings import sql
from tests.support.task_client import BODY, TaskClient, module_client
from tests.support.tasks import new_task, new_user, task_in
from tests.support.unique_keys import KEY, active, create, wanted

client = module_client()
AT_ONCE = 8
ROUNDS = 12
# After each change of a task, how many tasks with its key have not ended.
_COUNT = (
    "INSERT INTO most_active SELECT count(*) FROM tasks"
    " WHERE user_id = NEW.user_id AND unique_key = NEW.unique_key AND finished_at IS NULL"
)
_TRIGGER = "CREATE TRIGGER most_active_{event} AFTER {event} ON tasks FOR EACH ROW"
_TABLE = "CREATE TABLE most_active (number int)"
_EVENTS = ("INSERT", "UPDATE")
if ENGINE == "postgresql":
    LEDGER = [
        _TABLE,
        f"""CREATE FUNCTION most_active() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF NEW.unique_key IS NOT NULL THEN {_COUNT}; END IF; RETURN NULL; END $$""",
        *(f"{_TRIGGER.format(event=event)} EXECUTE FUNCTION most_active()" for event in _EVENTS),
    ]
    NO_LEDGER = ["DROP FUNCTION most_active() CASCADE"]
else:
    LEDGER = [_TABLE, *(f"{_TRIGGER.format(event=event)} BEGIN {_COUNT}; END" for event in _EVENTS)]
    NO_LEDGER = [f"DROP TRIGGER most_active_{event}" for event in _EVENTS]
# InnoDB counts in a trigger by the look with which the statement began. One that has waited for the key sees the task
# that had it, which has ended meanwhile, beside its own.
COUNTS_WHAT_HAS_ENDED = ENGINE in {"mysql", "mariadb"}


@pytest.fixture
def user(client: httpx.Client) -> UUID:
    with SessionLocal() as db:
        return new_user(db)


class TestManyAtOnce:
    def together(self, act: Callable[[int], Any]) -> list[Any]:
        """What `act` gives in each of the threads that begin together; an error as it is."""
        start = threading.Barrier(AT_ONCE)

        def run(number: int) -> Any:
            start.wait(30)
            try:
                return act(number)
            except UniqueKeyTaken as error:
                return error

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(run, range(AT_ONCE)))

    def test_one_is_created_and_the_others_are_refused(self, user: UUID) -> None:
        for _ in range(ROUNDS):
            found = self.together(lambda _: create(user).id)
            (task_id,) = [each for each in found if isinstance(each, UUID)]
            assert {error.task_id for error in found if isinstance(error, UniqueKeyTaken)} == {task_id}
            with SessionLocal() as db:
                task_service.cancel_task(db, task_id)

    def test_all_get_the_one(self, user: UUID) -> None:
        for _ in range(ROUNDS):
            (task_id,) = set(self.together(lambda _: create(user, "return").id))
            with SessionLocal() as db:
                task_service.cancel_task(db, task_id)

    def test_each_replacement_counts_once(self, user: UUID) -> None:
        found = self.together(lambda number: create(user, "replace", name=str(number)))
        assert len({task.id for task in found}) == 1
        assert sorted(task.version for task in found) == list(range(1, AT_ONCE + 1))
        (last,) = [task for task in found if task.version == AT_ONCE]
        with SessionLocal() as db:
            assert task_service.get_task(db, last.id).name == last.name

    def test_batches_of_the_same_keys_in_any_order(self, user: UUID) -> None:
        """None deadlocks: each takes its keys in the same order."""
        keys = [f"key {number}" for number in range(200)]

        def submit(number: int) -> set[UUID]:
            mine = keys[:: -1 if number % 2 else 1]
            with SessionLocal() as db:
                return {task.id for task in task_service.create_tasks(db, wanted(*mine, on_conflict="replace"), user)}

        found = self.together(submit)
        assert all(each == found[0] for each in found)
        assert sorted(key for _, key in active(user)) == sorted(keys)

    def test_submits_ends_and_retries_leave_one_at_any_moment(self, user: UUID) -> None:
        """The ledger is filled by the database itself: how many there are after each change."""
        for statement in LEDGER:
            sql(statement)
        try:
            ended = [self._ended(user) for _ in range(AT_ONCE)]
            self.together(lambda number: self._churn(user, number, ended[number]))
            with is_promised():
                most = max(row.number for row in sql("SELECT DISTINCT number FROM most_active"))
                assert most == 1 or (COUNTS_WHAT_HAS_ENDED and most == 2)
            assert len(active(user)) <= 1
        finally:
            for statement in NO_LEDGER:
                sql(statement)
        assert {row.active_key for row in sql("SELECT active_key FROM tasks WHERE finished_at IS NOT NULL")} == {None}

    def _ended(self, user: UUID) -> UUID:
        with SessionLocal() as db:
            return task_in(db, TaskStatus.REVOKED, user, unique_key=KEY).id

    def _churn(self, user: UUID, number: int, ended: UUID) -> None:
        for again in range(ROUNDS):
            with SessionLocal() as db:  # its own for each call: one that a deadlock undoes is made again
                try:
                    on_conflict = ("reject", "return", "replace")[(number + again) % 3]
                    if (number + again) % 4 == 3:
                        task = task_service.retry_task(db, ended)
                    else:
                        task = new_task(db, user, unique_key=KEY, on_conflict=on_conflict)
                except UniqueKeyTaken:
                    continue
            with SessionLocal() as db:
                task_service.cancel_task(db, task.id)


class TestNeighbours:
    def test_in_the_group_are_not_touched(self, tasks: TaskClient) -> None:
        """Half of the requests have a key that is taken; each request without one is accepted."""
        body = BODY | {"unique_key": KEY}
        tasks.create(**body)

        def submit(number: int) -> int:
            return tasks.post(body=body if number % 2 else BODY).status_code

        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = list(pool.map(submit, range(40)))
        assert found == [409 if number % 2 else 201 for number in range(40)]

    @pytest.mark.postgresql(
        "MySQL's index has the tasks without a key too: who waits for a key locks the gap before it"
    )
    def test_wait_for_no_transaction_that_holds_the_key(self, tasks: TaskClient) -> None:
        """One that takes the key waits for another that has done so; requests without a key go on."""
        user = UUID(tasks.user["id"])
        with SessionLocal() as db, ThreadPoolExecutor(1) as pool:
            (mine,) = task_service.create_tasks(db, wanted(KEY), user, commit=False)
            waiting = pool.submit(tasks.post, body=BODY | {"unique_key": KEY, "on_conflict": "return"})
            await_lock_waits(1, "one that waits for the key")
            assert tasks.post(body=BODY).status_code == 201
            assert not waiting.done()
            db.commit()
            answer = waiting.result(30)
        assert (answer.status_code, answer.json()["id"]) == (200, str(mine.id))
        wakeups.flush()
