"""`Idempotency-Key`: what is repeated creates nothing more, in any race and after any death."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import Transaction, select, update

from app.core.config import get_settings
from app.db.session import SessionLocal, engine
from app.db.sql import turns
from app.ddl.clock import NOW
from app.errors import IdempotencyKeyReused
from app.models import IdempotencyKey
from app.schemas.task import TaskCreate
from app.services import retention
from app.services.batched.submitter import create_once
from app.services.tasks import new_rows
from tests.support.accounts import MakeUser, bearer
from tests.support.databases import ENGINE
from tests.support.faults.failpoints import failpoints
from tests.support.services import Services
from tests.support.spelling import id_of
from tests.support.stack import Stack
from tests.support.task_client import BODY, TASKS, TaskClient, module_client, task_client

client = module_client()
AT_ONCE = 10
ROUNDS = 8
KEY = "order 17"
ONE_WRITER = "on SQLite every other request waits for an open transaction that has written"


def send(tasks: TaskClient, key: str | bytes = KEY, **fields: Any) -> httpx.Response:
    return tasks.post(body=BODY | fields, headers={"Idempotency-Key": key})


def created(answer: httpx.Response) -> str:
    """The id of a task that this very request has created."""
    assert (answer.status_code, answer.headers.get("Idempotency-Replayed")) == (201, None), answer.text
    return str(answer.json()["id"])


def replayed(answer: httpx.Response) -> str:
    assert (answer.status_code, answer.headers.get("Idempotency-Replayed")) == (201, "true"), answer.text
    return str(answer.json()["id"])


def refused(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def ids(tasks: TaskClient) -> set[str]:
    return {task["id"] for task in tasks.get().json()}


def age(tasks: TaskClient, interval: timedelta) -> None:
    """The user's keys are so old."""
    with SessionLocal.begin() as db:
        moment = NOW - interval
        db.execute(update(IdempotencyKey).where(IdempotencyKey.user_id == tasks.user["id"]).values(created_at=moment))


def keys(user_id: str) -> set[str]:
    with SessionLocal() as db:
        return set(db.scalars(select(IdempotencyKey.key).where(IdempotencyKey.user_id == user_id)))


class TestTheSameRequestAgain:
    def test_answers_the_first_task(self, tasks: TaskClient) -> None:
        first = send(tasks)
        again = send(tasks)
        assert replayed(again) == created(first)
        assert again.headers["location"] == first.headers["location"] == TASKS + first.json()["id"]
        assert ids(tasks) == {first.json()["id"]}

    def test_shows_it_as_it_stands_now(self, tasks: TaskClient) -> None:
        task_id = created(send(tasks))
        tasks.post(f"{task_id}/cancel")
        again = send(tasks)
        read = tasks.get(task_id)
        assert (replayed(again), again.json()) == (task_id, read.json())
        assert (again.json()["status"], again.headers["etag"]) == ("revoked", read.headers["etag"])

    @pytest.mark.parametrize(
        "spelled",
        [
            json.dumps(dict(reversed((BODY | {"kwargs": {"b": 2, "a": 1}}).items())), indent=4),
            json.dumps(BODY | {"kwargs": {"a": 1, "b": 2}, "priority": 2, "tags": [], "run_at": None}),
        ],
        ids=["another order and spacing", "defaults spelled out"],
    )
    def test_may_be_spelled_otherwise(self, tasks: TaskClient, spelled: str) -> None:
        first = send(tasks, kwargs={"a": 1, "b": 2})
        headers = {"Idempotency-Key": KEY, "Content-Type": "application/json"}
        assert replayed(tasks.request("POST", content=spelled, headers=headers)) == created(first)

    def test_is_recognised_by_a_later_release_that_knows_more_fields(self, tasks: TaskClient) -> None:
        class TaskCreateOfLater(TaskCreate):
            added: str | None = None

        first = created(send(tasks))
        with SessionLocal() as db:
            wanted = (TaskCreateOfLater.model_validate(BODY | more) for more in ({}, {"added": "x"}))
            same, other = (new_rows.rows_of([each], UUID(tasks.user["id"])) for each in wanted)
            again = create_once(db, same, KEY)
            assert (str(again.result[0].id), again.replayed) == (first, True)
            with pytest.raises(IdempotencyKeyReused):
                create_once(db, other, KEY)

    def test_without_its_key_is_another_task(self, tasks: TaskClient) -> None:
        found = {created(send(tasks)), created(tasks.post(body=BODY)), created(send(tasks, "another"))}
        assert len(found) == 3


class TestAnotherBody:
    def test_is_refused(self, tasks: TaskClient) -> None:
        pairs: list[tuple[dict[str, Any], dict[str, Any]]] = [
            ({}, {"name": "another"}),
            ({}, {"tags": ["x"]}),
            ({"kwargs": {"a": 1}}, {"kwargs": {"a": "1"}}),
            ({"kwargs": {"a": 1}}, {"kwargs": {"a": 1.0}}),
            ({"kwargs": {"a": 1}}, {"kwargs": {"a": True}}),
            ({"kwargs": {"a": None}}, {"kwargs": {}}),
            ({"args": [1, 2]}, {"args": [2, 1]}),
            ({"run_at": "2100-01-01T00:00:00Z"}, {"run_at": "2100-01-01T00:00:01Z"}),
        ]
        made = set()
        for number, (first, other) in enumerate(pairs):
            key = f"{KEY}-{number}"
            made.add(task_id := created(send(tasks, key, **first)))
            answer = send(tasks, key, **other)
            assert (other, refused(answer)) == (other, (422, "idempotency_key_reused"))
            assert answer.json()["errors"][0]["loc"] == ["header", "Idempotency-Key"]
            assert (first, replayed(send(tasks, key, **first))) == (first, task_id)
        assert ids(tasks) == made


class TestKeys:
    def test_are_each_users_own(self, tasks: TaskClient, make_user: MakeUser) -> None:
        other = task_client(tasks.http, make_user)
        mine, theirs = created(send(tasks)), created(send(other, name="theirs"))
        assert (replayed(send(tasks)), replayed(send(other, name="theirs"))) == (mine, theirs)

    def test_that_are_none_are_refused(self, tasks: TaskClient) -> None:
        for key in (b"", b"x" * 256, "schlüssel".encode(), b"caf\xe9", b"a\tb", b"a\x7f"):
            answer = send(tasks, key)
            assert (key, refused(answer)) == (key, (422, "validation_error"))
            assert answer.json()["errors"][0]["loc"] == ["header", "Idempotency-Key"], key
        assert ids(tasks) == set()

    def test_may_be_any_printable_ascii(self, tasks: TaskClient) -> None:
        for key in ("x" * 255, "0", '"a quoted one"', "~!@#$%^&*(){}[]\\|;:'<>,.?/"):
            assert (key, created(send(tasks, key))) == (key, replayed(send(tasks, key)))

    def test_are_not_used_up_by_a_refused_body(self, tasks: TaskClient) -> None:
        refusals: list[dict[str, Any]] = [{"name": ""}, {"celery_task_name": "no.such"}, {"args": []}]
        for wrong in refusals:
            assert (wrong, send(tasks, **wrong).status_code) == (wrong, 422)
            assert (wrong, keys(tasks.user["id"])) == (wrong, set())
        created(send(tasks))

    def test_go_with_their_user(self, tasks: TaskClient, make_user: MakeUser) -> None:
        tasks.post(f"{created(send(tasks))}/cancel")
        admin = task_client(tasks.http, make_user, "admin")
        answer = tasks.http.delete(f"/api/v1/users/{tasks.user['id']}", headers=admin.headers)
        assert (answer.status_code, keys(tasks.user["id"])) == (204, set())


class TestADeletedTask:
    @pytest.mark.parametrize("fields", [{}, {"name": "another"}])
    def test_is_not_created_by_a_late_repetition(self, tasks: TaskClient, fields: dict[str, Any]) -> None:
        assert tasks.delete(created(send(tasks)), force="true").status_code == 204
        code = (422, "idempotency_key_reused") if fields else (409, "idempotent_task_deleted")
        answer = send(tasks, **fields)
        assert (refused(answer), answer.headers.get("Retry-After")) == (code, None)
        assert ids(tasks) == set()


class TestTime:
    def test_a_key_is_new_again_after_a_day_and_not_before(self, tasks: TaskClient) -> None:
        first = created(send(tasks))
        age(tasks, timedelta(hours=23, minutes=55))
        assert replayed(send(tasks)) == first
        age(tasks, timedelta(hours=24))
        second = created(send(tasks, name="another"))
        assert replayed(send(tasks, name="another")) == second != first
        assert ids(tasks) == {first, second}

    def test_expired_keys_are_pruned_in_batches(self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        for number in range(5):
            send(tasks, f"old {number}")
        age(tasks, timedelta(hours=25))
        send(tasks, "fresh")
        rules = tuple(replace(rule, batch=2) for rule in retention.FORGET)
        monkeypatch.setattr(retention, "FORGET", rules)
        with SessionLocal() as db:
            assert retention.forget(db, get_settings(), "idempotency_keys").total() >= 5
        assert keys(tasks.user["id"]) == {"fresh"}
        assert len(ids(tasks)) == 6


class TestInFlight:
    """A request whose transaction is open on another connection: undecided."""

    @pytest.fixture
    def undecided(self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Transaction, str]]:
        with engine().connect() as connection, connection.begin() as outer:
            with (
                monkeypatch.context() as not_committed,
                SessionLocal(bind=connection, join_transaction_mode="create_savepoint") as db,
            ):
                not_committed.setattr(turns, "place", lambda *_: 0)  # which follows a commit
                rows = new_rows.rows_of([TaskCreate.model_validate(BODY)], UUID(tasks.user["id"]))
                accepted = create_once(db, rows, KEY)
            yield outer, str(accepted.result[0].id)

    @pytest.mark.skipif(ENGINE == "sqlite", reason=ONE_WRITER)
    @pytest.mark.usefixtures("undecided")
    def test_is_answered_at_once_with_a_time_to_try_again(self, tasks: TaskClient) -> None:
        for fields in ({}, {"name": "another"}):
            answer = send(tasks, **fields)
            assert (refused(answer), answer.headers["Retry-After"]) == ((409, "idempotency_key_in_flight"), "1")
            assert answer.elapsed.total_seconds() < 10  # a statement that waits ends after 30
        assert ids(tasks) == set()

    @pytest.mark.skipif(ENGINE == "sqlite", reason=ONE_WRITER)
    @pytest.mark.usefixtures("undecided")
    def test_other_keys_and_other_users_go_on(self, tasks: TaskClient, make_user: MakeUser) -> None:
        created(send(tasks, "another"))
        created(send(task_client(tasks.http, make_user)))

    def test_is_answered_with_the_task_once_committed(
        self, tasks: TaskClient, undecided: tuple[Transaction, str]
    ) -> None:
        outer, task_id = undecided
        outer.commit()
        assert replayed(send(tasks)) == task_id

    def test_leaves_the_key_free_when_it_fails(self, tasks: TaskClient, undecided: tuple[Transaction, str]) -> None:
        outer, task_id = undecided
        outer.rollback()
        second = created(send(tasks))
        assert (ids(tasks), second != task_id) == ({second}, True)


class TestABatch:
    """The rules are those of one task; what differs is that several tasks are answered."""

    THREE: tuple[dict[str, Any], ...] = ({}, {"name": "second"}, {"priority": "low"})

    def send(self, tasks: TaskClient, *fields: dict[str, Any], key: str = KEY) -> httpx.Response:
        return tasks.post("batch", {"tasks": [BODY | each for each in fields]}, headers={"Idempotency-Key": key})

    @staticmethod
    def ids_of(answer: httpx.Response) -> list[str]:
        assert answer.status_code == 201, answer.text
        return [task["id"] for task in answer.json()["tasks"]]

    def test_answers_the_first_tasks_in_their_order(self, tasks: TaskClient) -> None:
        first = self.send(tasks, *self.THREE)
        tasks.post(f"{self.ids_of(first)[1]}/cancel")
        again = self.send(tasks, *self.THREE)
        assert (self.ids_of(again), ids(tasks)) == (self.ids_of(first), set(self.ids_of(first)))
        assert [answer.headers.get("Idempotency-Replayed") for answer in (first, again)] == [None, "true"]
        assert [task["status"] for task in again.json()["tasks"]] == ["pending", "revoked", "pending"]

    def test_another_batch_under_its_key_is_refused(self, tasks: TaskClient) -> None:
        first = self.ids_of(self.send(tasks, *self.THREE))
        for other in (self.THREE[::-1], self.THREE[:2], [*self.THREE, {}]):
            assert refused(self.send(tasks, *other)) == (422, "idempotency_key_reused")
        assert ids(tasks) == set(first)

    def test_of_one_task_is_not_that_task(self, tasks: TaskClient) -> None:
        created(send(tasks))
        assert refused(self.send(tasks, {})) == (422, "idempotency_key_reused")

    def test_of_which_a_task_was_deleted_is_not_created_again(self, tasks: TaskClient) -> None:
        first = self.ids_of(self.send(tasks, *self.THREE))
        assert tasks.delete(first[2], force=True).status_code == 204
        assert refused(self.send(tasks, *self.THREE)) == (409, "idempotent_task_deleted")
        assert ids(tasks) == set(first[:2])

    def test_that_is_refused_leaves_the_key_free(self, tasks: TaskClient) -> None:
        assert self.send(tasks, {}, {"celery_task_name": "no such"}).status_code == 422
        assert len(self.ids_of(self.send(tasks, *self.THREE))) == len(self.THREE)

    @pytest.mark.skipif(ENGINE == "sqlite", reason=ONE_WRITER)
    def test_that_another_request_holds_is_in_flight(self, tasks: TaskClient) -> None:
        wanted = [TaskCreate.model_validate(BODY)] * 2
        user = UUID(tasks.user["id"])
        with engine().connect() as connection, connection.begin() as outer:
            with SessionLocal(bind=connection, join_transaction_mode="create_savepoint") as db:
                rows = new_rows.rows_of(wanted, user)
                create_once(db, rows, KEY, is_batch=True)
            assert refused(self.send(tasks, {}, {})) == (409, "idempotency_key_in_flight")
            outer.rollback()
        assert len(self.ids_of(self.send(tasks, {}, {}))) == 2


@pytest.mark.every_engine("idempotency under race")
class TestRaces:
    """Many requests under one key at once, against two real API processes."""

    @pytest.fixture(scope="class")
    @classmethod
    def stack(cls, services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
        with Stack(services, tmp_path_factory.mktemp("races")) as started:
            started.server(options=["--workers", "2"])
            yield started

    @pytest.mark.parametrize("distinct", [False, True], ids=["of the same body", "of different bodies"])
    def test_make_one_task(self, stack: Stack, distinct: bool) -> None:
        name = "one of several" if distinct else BODY["name"]
        bodies = [BODY | {"name": name, "tags": [str(number)] if distinct else []} for number in range(AT_ONCE)]
        lost = {(409, "idempotency_key_in_flight")} | ({(422, "idempotency_key_reused")} if distinct else set())
        for number in range(ROUNDS):
            together = self._at_once(stack, bodies, f"{distinct} {number}")
            winners = [answer for answer in together if answer.status_code == 201]
            assert len({created(each) for each in winners if "Idempotency-Replayed" not in each.headers}) == 1
            assert len({answer.json()["id"] for answer in winners}) == 1
            assert len(winners) == 1 or not distinct
            assert {refused(answer) for answer in together if answer.status_code != 201} <= lost
        assert stack.sql("SELECT count(*) FROM tasks WHERE name = :name", name=name)[0][0] == ROUNDS

    @staticmethod
    def _at_once(stack: Stack, bodies: list[dict[str, Any]], key: str) -> list[httpx.Response]:
        http, ready = stack.api(), Barrier(len(bodies))

        def post(body: dict[str, Any]) -> httpx.Response:
            ready.wait(30)
            return http.post(TASKS, json=body, headers={"Idempotency-Key": key})

        with ThreadPoolExecutor(len(bodies)) as clients:
            return list(clients.map(post, bodies))


class TestAKilledApi:
    @pytest.mark.parametrize(
        ("at", "committed"),
        [("app.services.tasks.task_creation:accept", False), ("app.messaging.wakeups:publish", True)],
        ids=["before the commit", "between commit and answer"],
    )
    def test_leaves_both_key_and_task_or_neither(self, stack: Stack, tmp_path: Path, at: str, committed: bool) -> None:
        died = tmp_path / "died"
        point = {"at": at, "do": "kill", "when": "after" if not committed else "before", "once_file": str(died)}
        api = stack.server(env=failpoints(point))
        token = stack.make_user()[1]
        headers = {**bearer(token), "Idempotency-Key": KEY}
        with pytest.raises(httpx.TransportError):
            stack.api(token).post(TASKS, json=BODY, headers=headers)
        assert died.exists()
        api.process.wait(10)
        again = stack.api(token).post(TASKS, json=BODY, headers=headers)  # on an API that was started anew
        task_id = replayed(again) if committed else created(again)
        assert [str(id_of(row[0])) for row in stack.sql("SELECT id FROM tasks")] == [task_id]
        assert [json.loads(row[0]) for row in stack.sql("SELECT task_ids FROM idempotency_keys")] == [[task_id]]
