"""Failures in groups: exact numbers at every moment, their states, and that no failure waits for another."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, insert, select, text
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.error_keys import error_key
from app.db.session import SessionLocal
from app.db.statements import error_groups
from app.errors import ErrorGroupNotFound, InvalidInput
from app.maintenance.loop import Maintenance
from app.models import User
from app.models.error_group import FORGET_AFTER, TIMES_KEPT, ErrorGroup, ErrorState
from app.models.task import Task, TaskStatus
from app.models.task_count import task_count_changes
from app.models.task_filter import TaskFilter
from app.services import retention
from app.services.execution import ends
from app.services.execution.attempts import AttemptError, NextTry
from app.services.operations.error_group_service import ErrorFilter
from app.services.task_service import task_service
from app.services.tasks import task_counts
from tests.support.databases import ENGINE
from tests.support.error_groups import NOWHERE, agrees, failed, groups
from tests.support.retention import forget
from tests.support.spelling import spelled
from tests.support.statements import before_each_statement
from tests.support.task_client import module_client
from tests.support.tasks import ERROR, claim, new_task, new_user, task_in

client = module_client()


class TestFingerprint:
    def test_is_of_user_task_type_origin_and_kind_of_message(self, db: Session) -> None:
        user, other = new_user(db), new_user(db)
        same = [
            failed(db, user, AttemptError("E", f"row {n} is 'bad {n}'", "t", error_key(f"row {n} is 'x'", "m:f")))
            for n in (1, 23)
        ]
        assert len({task.error_fingerprint for task in same}) == 1
        key = error_key("row 1 is 'x'", "m:f")
        different = [
            failed(db, other, AttemptError("E", "m", "t", key)),
            failed(db, user, AttemptError("F", "m", "t", key)),
            failed(db, user, AttemptError("E", "m", "t", error_key("row 1 is 'x'", "m:g"))),
            failed(db, user, AttemptError("E", "m", "t", error_key("no", "m:f"))),
            failed(
                db,
                user,
                AttemptError("E", "m", "t", key),
                celery_task_name="app.tasks.common_tasks.fetch_url",
                args=["http://example.com"],
            ),
        ]
        fingerprints = {task.error_fingerprint for task in (*same, *different)}
        assert len(fingerprints) == 6
        assert all(each is not None and len(each) == 32 and int(each, 16) for each in fingerprints)

    def test_every_way_to_fail_sets_it_and_every_way_on_clears_it(self, db: Session) -> None:
        user = new_user(db)
        ways: dict[str, Callable[[UUID, int], object]] = {
            "fail": lambda task, attempt: ends.end_attempt(db, task, attempt, ends.failed(ERROR)),
            "body": lambda task, _: task_service.update_task_status(db, task, "failed", error="because of 7"),
            "admin": lambda task, _: task_service.update_task(db, task, {"status": "failed"}),
            "lost": lambda task, _: ends.end_tasks(db, ends.lost("a test"), Task.id == task),
            "overran": lambda task, _: ends.end_tasks(db, ends.overran(3.5), Task.id == task),
        }
        found = {}
        for name, way in ways.items():
            task = new_task(db, user)
            attempt = claim(db, task).attempt
            if name == "lost":
                db.execute(spelled("UPDATE tasks SET rerun_lost = false WHERE id = :id", {"id": task.id}))
            way(task.id, attempt)
            db.commit()
            ended = task_service.get_task(db, task.id)
            assert (ended.status, ended.error_fingerprint is None) == ("failed", False), name
            found[name] = ended
        assert len({task.error_fingerprint for task in found.values()}) == 5
        shown = groups(db, user)
        assert {group.error_type for group in shown.values()} == {
            "ValueError",
            "Failed",
            "worker_lost",
            "TimeLimitExceeded",
        }
        for task in found.values():
            assert task_service.retry_task(db, task.id).error_fingerprint is None
        assert agrees(db, user)
        again = claim(db, found["fail"])
        ends.end_attempt(db, again.id, again.attempt, ends.retried(ERROR, NextTry(0)))
        assert task_service.get_task(db, again.id).error_fingerprint is None


class TestNumbers:
    def steps(self, db: Session, user: UUID) -> Iterator[None]:
        tasks = [failed(db, user, AttemptError("E", message, "t")) for message in ("one", "two", "two", "two")]
        yield
        for status in TaskStatus:
            task_in(db, status, user)
        yield
        task_service.retry_task(db, tasks[1].id)
        yield
        task_service.update_task(db, tasks[2].id, {"tags": ["x"], "metadata": {"a": "b" * 5000}})
        yield
        elsewhere = "UPDATE tasks SET queue = 'elsewhere' WHERE user_id = :user AND status = 'failed'"
        db.execute(spelled(elsewhere, {"user": user}))
        db.commit()
        yield
        again = claim(db, tasks[1])
        ends.end_attempt(db, again.id, again.attempt, ends.failed(AttemptError("E", "two", "t")))
        db.commit()
        yield
        task_service.delete(db, tasks[0].id)
        yield
        db.execute(delete(Task).where(Task.user_id == user, Task.status == "failed"))
        db.commit()
        yield

    @pytest.mark.parametrize("when", ["each step", "only creations", "at the end"])
    def test_are_those_of_the_rows_at_every_moment(self, db: Session, when: str) -> None:
        user = new_user(db)
        for number, _ in enumerate(self.steps(db, user)):
            if when == "each step" or (when == "only creations" and number < 2):
                task_counts.fold(db)
            assert when == "at the end" or agrees(db, user)
        while task_counts.fold(db):
            pass
        assert agrees(db, user)
        assert {group.count for group in groups(db, user).values()} == {0}

    def test_of_a_change_that_is_added_before_the_failure_itself(self, db: Session) -> None:
        """A batch may begin anywhere."""
        user = new_user(db)
        task = failed(db, user)
        fingerprint = task.error_fingerprint
        first = db.execute(select(task_count_changes)).mappings().all()
        db.execute(delete(task_count_changes))
        task_service.retry_task(db, task.id, commit=False)
        task_counts.fold(db)
        db.execute(insert(task_count_changes), [dict(row) for row in first])
        (group,) = groups(db, user).values()
        assert (group.fingerprint, group.error_type, group.count) == (fingerprint, "ValueError", 0)

    def test_the_failures_of_each_hour_stay_whatever_became_of_the_tasks(self, db: Session) -> None:
        user = new_user(db)
        tasks = [failed(db, user)]
        db.execute(spelled("UPDATE task_count_changes SET ended_at = ended_at - interval '5 hours'"))
        tasks += [failed(db, user) for _ in range(2)]
        task_service.delete(db, tasks[0].id)
        (group,) = groups(db, user).values()
        assert (group.count, sum(group.last_24h), max(group.last_24h)) == (2, 3, 2)
        assert len(group.last_24h) == 24
        assert [number for number in group.last_24h if number] == [1, 2]
        assert group.last_seen - group.first_seen > timedelta(hours=4)
        assert group.sample_task_ids == [tasks[2].id, tasks[1].id]

    def test_groups_go_with_their_user_and_nothing_of_them_comes_back(self, db: Session) -> None:
        user, other = new_user(db), new_user(db)
        failed(db, user)
        task_counts.fold(db)
        failed(db, user)
        failed(db, other)
        db.execute(delete(User).where(User.id == user))
        db.commit()
        assert groups(db, user) == {}
        assert len(groups(db, other)) == 1

    @pytest.mark.postgresql("a TRUNCATE fires a trigger there alone")
    def test_a_truncated_table_has_none(self, db: Session) -> None:
        user = new_user(db)
        failed(db, user)
        task_counts.fold(db)
        failed(db, user)
        db.execute(text("TRUNCATE tasks CASCADE"))
        assert groups(db, user) == {}


class TestForgetting:
    def test_a_group_without_a_failed_task_goes_after_a_while_and_the_oldest_of_many_at_once(
        self, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        user = new_user(db)
        kept, *gone = (failed(db, user, AttemptError("E", message, "t")) for message in ("a", "b", "c", "d"))
        names = {task.id: task.error_fingerprint for task in (kept, *gone)}
        for task in gone:
            task_service.delete(db, task.id)
        task_counts.fold(db)
        forget(db, "error_groups", "error_times")
        assert len(groups(db, user)) == 4
        few = retention.Rule.by_keys(ErrorGroup, error_groups.is_unused_beyond(2))
        monkeypatch.setattr(retention, "FORGET", (*retention.FORGET, few))
        forget(db, "error_groups", "error_times")
        assert set(groups(db, user)) == set(names.values()) - {names[gone[0].id]}
        db.execute(spelled("UPDATE error_groups SET last_seen = last_seen - :age", {"age": FORGET_AFTER}))
        age = TIMES_KEPT + timedelta(hours=1)
        db.execute(spelled("UPDATE error_times SET at = at - :age", {"age": age}))
        forget(db, "error_groups", "error_times")
        assert set(groups(db, user)) == {names[kept.id]}
        assert db.execute(text("SELECT count(*) FROM error_times")).scalar_one() == 0


class TestStates:
    def state(self, db: Session, fingerprint: str) -> tuple[ErrorState, datetime | None]:
        task_counts.fold(db)
        group = task_service.get_error_group(db, fingerprint)
        return group.state, group.ignored_until

    def test_a_new_failure_reopens_a_resolved_group_and_no_ignored_one(self, db: Session) -> None:
        user = new_user(db)
        (fingerprint,) = {failed(db, user).error_fingerprint for _ in range(2)}
        assert fingerprint is not None
        assert self.state(db, fingerprint) == ("open", None)
        early = failed(db, user)  # before it is resolved, and added after that
        assert task_service.resolve_error_group(db, fingerprint).state == "resolved"
        assert self.state(db, fingerprint) == ("resolved", None)
        task_service.retry_task(db, early.id)
        assert self.state(db, fingerprint) == ("resolved", None)
        failed(db, user)
        assert self.state(db, fingerprint) == ("open", None)
        assert task_service.ignore_error_group(db, fingerprint).state == "ignored"
        failed(db, user)
        assert self.state(db, fingerprint) == ("ignored", None)
        assert task_service.reopen_error_group(db, fingerprint).state == "open"

    def test_an_ignored_group_is_open_again_once_its_time_has_passed(self, db: Session) -> None:
        user = new_user(db)
        fingerprint = failed(db, user).error_fingerprint
        assert fingerprint is not None
        task_counts.fold(db)
        until = datetime.now(UTC) + timedelta(hours=1)
        task_service.ignore_error_group(db, fingerprint, until)
        assert self.state(db, fingerprint) == ("ignored", until)
        found = {state: task_service.list_error_groups(db, ErrorFilter(user, state)).items for state in ErrorState}
        assert [len(found[state]) for state in ErrorState] == [0, 0, 1]
        db.execute(spelled("UPDATE error_groups SET ignored_until = now() - interval '1 second'"))
        assert self.state(db, fingerprint) == ("open", None)
        found = {state: task_service.list_error_groups(db, ErrorFilter(user, state)).items for state in ErrorState}
        assert [len(found[state]) for state in ErrorState] == [1, 0, 0]
        with pytest.raises(InvalidInput):
            task_service.ignore_error_group(db, fingerprint, datetime.now(UTC) - timedelta(seconds=1))
        with pytest.raises(ErrorGroupNotFound):
            task_service.resolve_error_group(db, NOWHERE)


@pytest.mark.skipif(ENGINE == "sqlite", reason="who writes holds all others up")
class TestAtOnce:
    SESSIONS, EACH = 8, 12
    # MariaDB waits for seconds, or not at all; MySQL for a second at least.
    HASTY = (
        "SET LOCAL lock_timeout = '20ms'"
        if ENGINE == "postgresql"
        else f"SET innodb_lock_wait_timeout = {0 if ENGINE == 'mariadb' else 1}"
    )

    @pytest.mark.usefixtures("fresh_database")
    def test_failures_of_one_new_group_wait_for_nobody(self) -> None:
        """Each of them would give up after 20 ms of waiting for a lock. Meanwhile they are added up."""
        with SessionLocal() as db:
            user = new_user(db)
            work = [[claim(db, new_task(db, user)) for _ in range(self.EACH)] for _ in range(self.SESSIONS)]
            sample = failed(db, user)
            task_counts.fold(db)
        assert sample.error_fingerprint is not None
        over = threading.Event()

        def fail(mine: list[Any]) -> None:
            with SessionLocal() as db:
                for attempt in mine:
                    db.execute(text(self.HASTY))
                    assert ends.end_attempt(db, attempt.id, attempt.attempt, ends.failed(ERROR))
                    db.commit()

        def fold() -> int:
            taken = 0
            with SessionLocal() as db:
                while not over.is_set():
                    taken += task_counts.fold(db)
            return taken

        # What holds the group's row for as long as all of them take.
        with SessionLocal() as holder, ThreadPoolExecutor(self.SESSIONS + 2) as pool:
            holder.execute(text("SELECT * FROM error_groups FOR UPDATE"))
            folds = [pool.submit(fold) for _ in range(2)]
            try:
                for each in [pool.submit(fail, mine) for mine in work]:
                    each.result(timeout=60)
                with SessionLocal() as db:
                    counted = task_service.get_task_count(db, error=sample.error_fingerprint)
            finally:
                holder.rollback()
                over.set()
            for each in folds:
                each.result(timeout=60)
        total = self.SESSIONS * self.EACH + 1
        with SessionLocal() as db:
            task_counts.fold(db)
            (group,) = groups(db, user).values()
            assert agrees(db, user)
        assert (counted, group.count, sum(group.last_24h)) == (total, total, total)

    @pytest.mark.usefixtures("fresh_database")
    def test_a_user_who_is_being_deleted_holds_up_no_pass(self) -> None:
        """Their tasks may take long. Meanwhile their failures wait, and everything else of a pass is done."""
        with SessionLocal() as db, SessionLocal() as deletion:
            user = new_user(db)
            failed(db, user)
            deletion.execute(spelled("SELECT 1 FROM users WHERE id = :user FOR UPDATE", {"user": user}))
            if ENGINE == "postgresql":
                db.execute(text("SET statement_timeout = '5s'"))
            maintenance = Maintenance(get_settings())
            assert maintenance.run_once(db)
            assert groups(db, user, folded=False) == {}
            assert task_service.get_task_count(db, user, status="failed") == 1
            deletion.rollback()
            assert maintenance.run_once(db)
            maintenance.close()
            assert len(groups(db, user, folded=False)) == 1


@pytest.mark.usefixtures("client")
def test_a_filter_by_error_alone_is_counted_from_the_sums() -> None:
    assert not task_counts.reads_many(TaskFilter(error=NOWHERE))
    assert task_counts.reads_many(TaskFilter(error=NOWHERE, tag=["x"]))
    seen: list[str] = []
    with SessionLocal() as db, before_each_statement(lambda statement, _: seen.append(statement)):
        for wanted in (TaskFilter(error=NOWHERE), TaskFilter(error=NOWHERE, tag=[], status=[])):  # as HTTP has it
            task_service.count(db, wanted)
    assert len(seen) >= 2
    assert [statement for statement in seen if "FROM tasks" in statement] == []
