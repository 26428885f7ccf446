"""GET /errors/: failures in groups, with exact numbers at every moment, and what users say of a group."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import delete, insert, select, text
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.error_keys import error_key
from app.core.ids import new_id
from app.db.session import SessionLocal
from app.errors import ErrorGroupNotFound, InvalidCursor, InvalidInput
from app.maintenance.loop import Maintenance
from app.models import User
from app.models.error_group import FORGET_AFTER, MOST_FORGETTABLE, TIMES_KEPT, ErrorState
from app.models.task import Task, TaskStatus
from app.models.task_count import task_count_changes
from app.models.task_filter import TaskFilter
from app.services.execution import ends
from app.services.execution.attempts import AttemptError, NextTry
from app.services.operations import error_adding, error_group_service
from app.services.operations.error_group_service import ErrorFilter, ErrorGroupState, ErrorSort
from app.services.task_service import task_service
from app.services.tasks import task_counts, task_pages
from tests.support.accounts import API, pages
from tests.support.databases import ENGINE
from tests.support.settings import sql
from tests.support.spelling import spelled
from tests.support.statements import before_each_statement
from tests.support.tables import check_rows
from tests.support.task_client import TaskClient, module_client
from tests.support.tasks import ERROR, claim, new_task, new_user, task_in

client = module_client()
NOWHERE = "0" * 32


def failed(db: Session, user: UUID, error: AttemptError = ERROR, **options: Any) -> Task:
    task = new_task(db, user, **options)
    ends.end_attempt(db, task.id, claim(db, task).attempt, ends.failed(error))
    db.commit()
    return task_service.get_task(db, task.id)


def groups(db: Session, user: UUID | None = None, *, folded: bool = True) -> dict[str, ErrorGroupState]:
    if folded:
        task_counts.fold(db)
    return {each.fingerprint: each for each in task_service.list_error_groups(db, ErrorFilter(user)).items}


def agrees(db: Session, user: UUID) -> bool:
    """Each group's number is what lists and counts find, and what the rows tell; no failed task is in none."""
    rows = "SELECT error_fingerprint, count(*) FROM tasks WHERE user_id = :user AND status = 'failed' GROUP BY 1"
    scanned = dict(map(tuple, db.execute(spelled(rows, {"user": user}))))
    shown = groups(db, user, folded=False)
    return all(
        group.count
        == scanned.get(fingerprint, 0)
        == task_service.get_task_count(db, error=fingerprint)
        == task_service.get_task_count(db, user, error=fingerprint, task_type="test")
        == len(task_service.get_tasks(db, user, error=fingerprint, limit=1000))
        == task_service.get_task_count(db, user, error=fingerprint)
        and task_service.get_task_count(db, new_id(), error=fingerprint) == 0
        for fingerprint, group in shown.items()
    ) and set(scanned) <= set(shown)


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
        error_adding.forget(db)
        assert len(groups(db, user)) == 4
        monkeypatch.setattr(error_adding, "MOST_FORGETTABLE", 2)
        error_adding.forget(db)
        assert set(groups(db, user)) == set(names.values()) - {names[gone[0].id]}
        db.execute(spelled("UPDATE error_groups SET last_seen = last_seen - :age", {"age": FORGET_AFTER}))
        age = TIMES_KEPT + timedelta(hours=1)
        db.execute(spelled("UPDATE error_times SET at = at - :age", {"age": age}))
        error_adding.forget(db)
        assert set(groups(db, user)) == {names[kept.id]}
        assert db.execute(text("SELECT count(*) FROM error_times")).scalar_one() == 0
        assert MOST_FORGETTABLE == 1000


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


class TestOverHttp:
    @pytest.fixture
    def ask(self, client: httpx.Client) -> Callable[..., httpx.Response]:
        def ask(who: TaskClient, method: str = "GET", path: str = "", **options: Any) -> httpx.Response:
            with SessionLocal() as db:
                task_counts.fold(db)
            return client.request(method, f"{API}/errors/{path}", headers=who.headers, **options)

        return ask

    def test_a_group_is_shown_with_its_tasks(self, tasks: TaskClient, ask: Callable[..., httpx.Response]) -> None:
        ids = [tasks.task_in("failed") for _ in range(7)]
        task = tasks.get(ids[0]).json()
        (group,) = ask(tasks).json()
        fingerprint = group["fingerprint"]
        assert (task["error_fingerprint"], task["error"]) == (fingerprint, {"type": "ValueError", "message": "no"})
        assert group == {
            "fingerprint": fingerprint,
            "user_id": tasks.user["id"],
            "celery_task_name": task["celery_task_name"],
            "error_type": "ValueError",
            "message": "no",
            "count": 7,
            "first_seen": task["finished_at"],
            "last_seen": tasks.get(ids[-1]).json()["finished_at"],
            "state": "open",
            "ignored_until": None,
            "sample_task_ids": ids[:1:-1],
            "last_24h": group["last_24h"],
        }
        assert sum(group["last_24h"]) == 7
        assert ask(tasks, path=fingerprint).json() == group
        assert [each["id"] for each in tasks.get(error=fingerprint).json()] == ids[::-1]
        assert tasks.get("count", error=fingerprint).json()["failed"] == 7
        tasks.delete(ids[0])
        assert tasks.get(ids[1]).json()["error_fingerprint"] == fingerprint
        assert (ask(tasks, path=fingerprint).json()["count"], len(tasks.get(error=fingerprint).json())) == (6, 6)

    def test_the_filter_goes_with_others_and_pages(self, tasks: TaskClient) -> None:
        for number in range(5):
            tasks.task_in("failed", task_type="even" if number % 2 == 0 else "odd", tags=["x"])
        tasks.task_in("succeeded", task_type="even")
        fingerprint = tasks.get(status="failed").json()[0]["error_fingerprint"]
        found = [page.json() for page in pages(tasks.http, f"{API}/tasks/", tasks.token, error=fingerprint, limit=2)]
        assert [len(page) for page in found] == [2, 2, 1]
        for params, number in (
            ({"task_type": "even"}, 3), ({"tag": "x"}, 5), ({"status": "succeeded"}, 0), ({"created_after": "2000-01-01T00:00:00Z"}, 5),
        ):  # fmt: skip
            found = tasks.get(error=fingerprint, **params).json()
            assert (len(found), tasks.get("count", error=fingerprint, **params).json()["total"]) == (number, number)
        for wrong in ("x", fingerprint.upper() if fingerprint.upper() != fingerprint else "G" * 32, fingerprint[:31]):
            answer = tasks.get(error=wrong)
            assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["query", "error"])
        assert tasks.get(error=NOWHERE).json() == []

    def test_another_users_tasks_are_not_looked_at(
        self, tasks: TaskClient, make_user: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A page that ends after LOOK rows names the last of them, and so tells that there are as many."""
        monkeypatch.setattr(task_pages, "LOOK", 2)
        for _ in range(3):
            tasks.task_in("failed")
        fingerprint = tasks.get().json()[0]["error_fingerprint"]
        stranger = TaskClient(tasks.http, *make_user())
        for params in ({}, {"tag": "x"}, {"status": "failed"}, {"task_type": "test"}):
            assert "link" in tasks.get(error=fingerprint, **params, limit=1).headers
            answer = stranger.get(error=fingerprint, **params)
            assert (answer.json(), answer.headers.get("link")) == ([], None)
            assert stranger.get("count", error=fingerprint, **params).json()["total"] == 0

    def test_states_are_set_and_recorded_once(self, tasks: TaskClient, ask: Callable[..., httpx.Response]) -> None:
        tasks.task_in("failed")
        (group,) = ask(tasks).json()
        path = group["fingerprint"]
        until = "2099-01-01T00:00:00Z"
        for deed, body, state, ignored_until in (
            ("resolve", None, "resolved", None),
            ("resolve", None, "resolved", None),
            ("ignore", {"until": until}, "ignored", until),
            ("ignore", None, "ignored", None),
            ("ignore", {}, "ignored", None),
            ("reopen", None, "open", None),
        ):
            options = {} if body is None else {"json": body}
            answer = ask(tasks, "POST", f"{path}/{deed}", **options)
            assert answer.status_code == 200, answer.text
            assert answer.json() == group | {"state": state, "ignored_until": ignored_until}
            assert ask(tasks, path=path).json() == answer.json()
        rows = sql("SELECT event, detail FROM audit_events WHERE object_id = :id ORDER BY id", id=path)
        assert [row.event for row in rows] == ["error.resolved", "error.ignored", "error.ignored", "error.reopened"]
        assert '"until":"2099-01-01T00:00:00+00:00"' in rows[1].detail
        assert all("message" not in row.detail for row in rows)

    @pytest.mark.parametrize(
        ("body", "loc"),
        [
            ({"until": "2000-01-01T00:00:00Z"}, ["body", "until"]),
            ({"until": "2099-01-01T00:00:00"}, ["body", "until"]),
            ({"until": 1}, ["body", "until"]),
            ({"for": "ever"}, ["body", "for"]),
        ],
    )
    def test_bad_input_is_refused(
        self, tasks: TaskClient, ask: Callable[..., httpx.Response], body: dict[str, Any], loc: list[str]
    ) -> None:
        tasks.task_in("failed")
        (group,) = ask(tasks).json()
        answer = ask(tasks, "POST", f"{group['fingerprint']}/ignore", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, loc)
        assert ask(tasks, path=group["fingerprint"]).json() == group

    def test_others_do_not_see_it_and_administrators_do_everything(
        self, tasks: TaskClient, admin: TaskClient, make_user: Any, ask: Callable[..., httpx.Response]
    ) -> None:
        task_id = tasks.task_in("failed")
        (group,) = ask(tasks).json()
        path = group["fingerprint"]
        stranger = TaskClient(tasks.http, *make_user())
        for method, deed in (("GET", ""), ("POST", "/resolve"), ("POST", "/ignore"), ("POST", "/reopen")):
            codes = []
            for name in (path, NOWHERE):
                answer = ask(stranger, method, f"{name}{deed}")
                codes.append((answer.status_code, answer.json()["code"], answer.json()["detail"]))
            assert codes == [(404, "error_group_not_found", codes[0][2])] * 2
            assert ask(admin, method, f"{path}{deed}").status_code == 200
        assert ask(stranger).json() == []
        assert stranger.get(error=path).json() == []
        assert stranger.get("count", error=path).json()["total"] == 0
        assert [each["id"] for each in admin.get(error=path).json()] == [task_id]
        assert admin.get("count", error=path).json()["failed"] == 1
        for params in ({}, {"user_id": "all"}, {"user_id": tasks.user["id"]}):
            assert path in {each["fingerprint"] for each in ask(admin, params={**params, "limit": 200}).json()}
        assert ask(admin, params={"user_id": admin.user["id"]}).json() == []
        for other in ("all", admin.user["id"]):
            assert ask(tasks, params={"user_id": other}).json()["code"] == "admin_only"

    def test_the_list_is_paged_and_filtered(self, tasks: TaskClient, ask: Callable[..., httpx.Response]) -> None:
        with SessionLocal() as db:
            for number in range(5):
                failed(db, UUID(tasks.user["id"]), AttemptError(f"E{number}", "no", "t"))
        groups = ask(tasks).json()
        assert [each["error_type"] for each in groups] == ["E4", "E3", "E2", "E1", "E0"]
        found = [page.json() for page in pages(tasks.http, f"{API}/errors/", tasks.token, limit=2)]
        assert [len(page) for page in found] == [2, 2, 1]
        assert [each for page in found for each in page] == groups
        ask(tasks, "POST", f"{groups[1]['fingerprint']}/resolve")
        for params, expected in (
            ({"state": "resolved"}, ["E3"]),
            ({"state": "open"}, ["E4", "E2", "E1", "E0"]),
            ({"celery_task_name": groups[0]["celery_task_name"], "limit": 1}, ["E4"]),
            ({"celery_task_name": "no.such.task"}, []),
        ):
            assert [each["error_type"] for each in ask(tasks, params=params).json()] == expected
        for params in ({"state": "closed"}, {"cursor": "x"}, {"limit": 0}):
            assert ask(tasks, params=params).status_code == 422
        assert ask(tasks, path="x").status_code == 422


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


class TestTheOrder:
    """The lists that the pages show, with the groups of another user beside them."""

    @pytest.fixture
    def user(self, db: Session) -> UUID:
        """Has groups that fail 1 to 4 times; the second one has failed first and last."""
        user, other = new_user(db), new_user(db)
        for number, kind in enumerate(("Alpha", "Beta", "Gamma", "Delta"), start=1):
            for _ in range(number):
                failed(db, user, AttemptError(f"{kind}Error", f"Row {number} of «É»", "t", error_key(kind, "m:f")))
        failed(db, other)
        task_counts.fold(db)
        beta = "UPDATE error_groups SET first_seen = :at, last_seen = :end WHERE error_type = 'BetaError'"
        now = datetime.now(UTC)
        db.execute(spelled(beta, {"at": now - timedelta(days=1), "end": now + timedelta(seconds=1)}))
        return user

    @staticmethod
    def by(db: Session, user: UUID, sort: str, **more: Any) -> list[str]:
        """The names of the groups, read by pages of one."""
        found, cursor = [], None
        while True:
            page = task_service.list_error_groups(db, ErrorFilter(user, **more), 1, cursor, sort)
            found += [group.error_type.removesuffix("Error") for group in page.items]
            if page.last is None:
                return found
            cursor = str(page.last)

    def test_is_of_times_and_of_numbers_over_all_pages(self, db: Session, user: UUID) -> None:
        assert self.by(db, user, ErrorSort.COUNT) == ["Delta", "Gamma", "Beta", "Alpha"]
        assert self.by(db, user, ErrorSort.FIRST_SEEN) == ["Delta", "Gamma", "Alpha", "Beta"]
        assert self.by(db, user, ErrorSort.LAST_SEEN)[0] == "Beta"
        assert self.by(db, user, "count") == self.by(db, user, ErrorSort.COUNT)
        with pytest.raises(ValueError, match="size"):
            task_service.list_error_groups(db, sort="size")

    def test_of_numbers_has_those_that_are_not_folded(self, db: Session, user: UUID) -> None:
        for _ in range(4):
            failed(db, user, AttemptError("AlphaError", "Row 1 of «É»", "t", error_key("Alpha", "m:f")))
        assert self.by(db, user, ErrorSort.COUNT) == ["Alpha", "Delta", "Gamma", "Beta"]

    def test_of_equal_numbers_leaves_none_out(self, db: Session, user: UUID) -> None:
        db.execute(spelled("UPDATE error_groups SET count = 7"))
        assert sorted(self.by(db, user, ErrorSort.COUNT)) == ["Alpha", "Beta", "Delta", "Gamma"]

    def test_is_of_those_with_a_text(self, db: Session, user: UUID) -> None:
        texts = {
            "gamma": ["Gamma"],
            "ROW 2 OF «é»": ["Beta"],
            "_": ["Delta", "Gamma", "Beta", "Alpha"],
            "%": [],
            "'": [],
        }
        check_rows(lambda text, names: self.by(db, user, ErrorSort.COUNT, text=text) == names, texts.items())

    def test_is_of_those_that_failed_last_where_there_are_very_many(
        self, db: Session, user: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(error_group_service, "LOOK", 2)
        assert "Beta" in self.by(db, user, ErrorSort.COUNT)
        assert len(self.by(db, user, ErrorSort.COUNT)) == 2
        assert len(self.by(db, user, ErrorSort.LAST_SEEN)) == 4
        assert error_group_service.count_error_groups(db, ErrorFilter(user)).is_cut

    def test_has_the_numbers_of_each_state(self, db: Session, user: UUID) -> None:
        names = {group.error_type: name for name, group in groups(db, user).items()}
        task_service.resolve_error_group(db, names["AlphaError"])
        task_service.ignore_error_group(db, names["BetaError"])
        counts = error_group_service.count_error_groups(db, ErrorFilter(user, ErrorState.IGNORED))
        assert ([*counts.by_state.values()], counts.is_cut) == ([2, 1, 1], False)
        counts = error_group_service.count_error_groups(db, ErrorFilter(user, text="beta"))
        assert [*counts.by_state.values()] == [0, 0, 1]
        assert [*error_group_service.count_error_groups(db, ErrorFilter(new_id())).by_state.values()] == [0, 0, 0]

    @pytest.mark.parametrize("cursor", ["x", "f" * 48, "0" * 47])
    @pytest.mark.parametrize("sort", ErrorSort)
    def test_of_a_wrong_cursor_is_refused(self, db: Session, sort: ErrorSort, cursor: str) -> None:
        with pytest.raises(InvalidCursor):
            task_service.list_error_groups(db, cursor=cursor, sort=sort)

    def test_failures_stand_in_their_hours(self, db: Session, user: UUID) -> None:
        name = next(name for name, group in groups(db, user).items() if group.error_type == "GammaError")
        for hours in (24, 168):
            first, numbers = error_group_service.failures_by_hour(db, name, hours)
            assert (len(numbers), sum(numbers), numbers[-1] + numbers[-2]) == (hours, 3, 3)
            assert timedelta(hours=hours - 1) <= datetime.now(UTC) - first < timedelta(hours=hours, seconds=5)


class TestRecentFailures:
    def test_are_those_of_open_groups(self, db: Session) -> None:
        user, other = new_user(db), new_user(db)
        for who, error in ((user, ERROR), (user, ERROR), (user, AttemptError("KeyError", "k", "")), (other, ERROR)):
            failed(db, who, error)
        found = groups(db, user)
        number, since = error_group_service.recent_failures(db, user)
        assert number == 3
        assert timedelta(hours=1) <= datetime.now(UTC) - since < timedelta(hours=2, seconds=5)
        ignored = next(name for name, group in found.items() if group.count == 2)
        error_group_service.ignore_error_group(db, ignored)
        assert error_group_service.recent_failures(db, user)[0] == 1
        error_group_service.reopen_error_group(db, ignored)
        assert error_group_service.recent_failures(db, user)[0] == 3
        error_group_service.resolve_error_group(db, ignored)
        assert error_group_service.recent_failures(db, user)[0] == 1

    def test_of_nobody_are_none(self, db: Session) -> None:
        assert error_group_service.recent_failures(db, new_id())[0] == 0
