"""Groups: what was submitted together is committed together, and each caller answers for its own row, quota and token."""

import json
from datetime import UTC, datetime, timedelta
from operator import methodcaller
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError, OperationalError

from app.core.config import get_settings
from app.core.security import access_token_life, create_access_token, new_api_key, read_access_token
from app.db.session import SessionLocal
from app.db.sql import new_tasks
from app.errors import InvalidToken, TooManyTasksQueued, UnknownTask
from app.models.task import Task
from app.schemas.task import TaskCreate
from app.services.accounts.auth_service import Principal
from app.services.batched.authenticator import Authenticator, proof_of
from app.services.batched.submitter import Submitter
from app.services.tasks import new_rows
from app.services.tasks.idempotency import Accepted
from tests.support.accounts import API, MakeUser, bearer
from tests.support.groups import together
from tests.support.task_client import BODY, TaskClient, module_client
from tests.support.tasks import new_user

client = module_client()
WANTED = TaskCreate.model_validate(BODY)
FULL: dict[str, Any] = {
    "priority": "critical",
    "kwargs": {"steps": 3, "password": "hunter2", "of": {"1": [1e22, -0.0, "\x00", "数据"]}},
    "run_at": "2090-01-01T08:00:00.123456+08:00",
    "expires_at": "2091-01-01T00:00:00Z",
    "timeout_seconds": 1.5,
    "max_attempts": 7,
    "retry_backoff_seconds": 0.25,
    "tags": ["a b", 'quote"', "{,}", "数据"],
    "metadata": {"big": 1e22, "token": "x", "order": [17, None, True]},
}


@pytest.fixture
def user(client: httpx.Client) -> UUID:
    with SessionLocal() as db:
        return new_user(db)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The queues in which slots were to be woken, once for each row."""
    kept: list[str] = []
    monkeypatch.setattr("app.messaging.wakeups.publish", kept.extend)
    return kept


def logged_in(user: UUID) -> Principal:
    return Principal(user, "ada", "user", "critical")


def submitted(*users: UUID) -> list[Any]:
    """The outcomes of a task of each of these users, all in one group."""
    return together(Submitter, *(methodcaller("submit", WANTED, logged_in(user)) for user in users))


def stored(user_id: UUID) -> int:
    with SessionLocal() as db:
        return db.scalars(select(func.count()).select_from(Task).where(Task.user_id == user_id)).one()


def in_order_of_turns(user_id: str) -> list[str]:
    statement = select(Task.id).where(Task.user_id == UUID(user_id)).order_by(Task.turn)
    with SessionLocal() as db:
        return [str(task_id) for task_id in db.scalars(statement)]


def away(*_: Any, **__: Any) -> Any:
    raise OperationalError("INSERT", {}, Exception("the server closed the connection unexpectedly"))


class TestTheAnswer:
    @pytest.mark.parametrize("fields", [{}, FULL, {"delay_seconds": 30}], ids=["plain", "full", "delayed"])
    def test_is_what_the_row_says(self, tasks: TaskClient, fields: dict[str, Any]) -> None:
        """It is put together from what was inserted, without reading the row again."""
        answer = tasks.post(body=BODY | {"delay_seconds": 3600} | fields if not fields else BODY | fields)
        assert answer.status_code == 201, answer.text
        assert tasks.get(answer.json()["id"]).text == answer.text

    def test_of_a_batch_is_too(self, tasks: TaskClient) -> None:
        created = tasks.post("batch", {"tasks": [BODY | FULL, BODY | {"delay_seconds": 30}]}).json()["tasks"]
        assert [tasks.get(each["id"]).json() for each in created] == created


class TestNeighbours:
    def test_a_row_that_cannot_be_inserted_fails_alone(self, user: UUID, sent: list[str]) -> None:
        unknown = uuid4()
        assert [type(each) for each in submitted(user, unknown, user)] == [Accepted, IntegrityError, Accepted]
        assert (stored(user), stored(unknown)) == (2, 0)
        assert sent == ["default"] * 2

    def test_one_over_its_quota_is_refused_alone(
        self, user: UUID, sent: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(get_settings(), "quota_queued_tasks", 2)
        with SessionLocal() as db:
            other = new_user(db)
        outcomes = submitted(user, user, user, other)
        assert [type(each) for each in outcomes] == [Accepted, Accepted, TooManyTasksQueued, Accepted]
        assert (stored(user), stored(other), len(sent)) == (2, 1, 3)

    def test_what_failed_gives_its_room_back(
        self, user: UUID, sent: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(get_settings(), "quota_queued_tasks", 1)
        unknown = uuid4()
        assert [type(each) for each in submitted(user, unknown)] == [Accepted, IntegrityError]
        assert [type(each) for each in submitted(user, unknown)] == [TooManyTasksQueued, IntegrityError]
        assert len(sent) == 1


class TestAnOutage:
    def test_is_told_to_all_and_accepts_none(
        self, user: UUID, sent: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(get_settings(), "quota_queued_tasks", 2)
        with monkeypatch.context() as outage:
            outage.setattr(new_tasks, "insert_rows", away)
            assert [type(each) for each in submitted(user, user)] == [OperationalError] * 2
            assert (stored(user), sent) == (0, [])
        assert [type(each) for each in submitted(user, user, user)] == [Accepted, Accepted, TooManyTasksQueued]

    def test_that_takes_the_commits_reply_is_no_acceptance(
        self, user: UUID, sent: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        insert = new_tasks.insert_rows

        def lose(*arguments: Any, **options: Any) -> Any:
            insert(*arguments, **options)
            away()

        monkeypatch.setattr(new_tasks, "insert_rows", lose)
        assert [type(each) for each in submitted(user)] == [OperationalError]
        assert (stored(user), sent) == (1, [])  # the row is there, and ready: maintenance wakes a slot

    def test_in_the_midst_of_parts_is_told_to_those_that_it_hits(
        self, user: UUID, sent: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        insert = new_tasks.insert_rows
        calls = iter([insert] * 4 + [away])  # of all three, of two, of each of these, and of the third

        def fail_late(*arguments: Any, **options: Any) -> Any:
            return next(calls)(*arguments, **options)

        monkeypatch.setattr(new_tasks, "insert_rows", fail_late)
        outcomes = submitted(user, uuid4(), user)
        assert [type(each) for each in outcomes] == [Accepted, IntegrityError, OperationalError]
        assert (stored(user), len(sent)) == (1, 1)

    def test_is_a_503_with_a_time_to_wait(self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(new_tasks, "insert_rows", away)
        answer = tasks.post(body=BODY)
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("group", ["authenticator", "submitter", "task_lists", "task_lookup"])
def test_too_many_at_once_are_turned_away(tasks: TaskClient, monkeypatch: pytest.MonkeyPatch, group: str) -> None:
    task = tasks.create()
    batcher = tasks.http.app_state[group].batcher  # type: ignore[attr-defined]  # (starlette's TestClient)
    monkeypatch.setattr(batcher, "max_waiting", 0)
    ask = {"authenticator": "types", "task_lists": "count", "task_lookup": task["id"]}
    answer = tasks.post(body=BODY) if group == "submitter" else tasks.get(ask[group])
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "overloaded", "1")
    monkeypatch.undo()
    assert len(tasks.get().json()) == 1


class TestTokens:
    def test_each_is_looked_at_for_itself(self, client: httpx.Client, make_user: MakeUser) -> None:
        (first, mine), (second, theirs), (_, over) = make_user(), make_user(), make_user()
        body = {"name": "machine", "scopes": ["tasks:read"]}
        key = client.post(f"{API}/auth/api-keys", headers=bearer(mine), json=body).json()["key"]
        assert client.post(f"{API}/auth/logout", headers=bearer(over)).status_code == 204
        one, two = read_access_token(mine), read_access_token(theirs)
        now = datetime.now(UTC)
        anothers_session = create_access_token(one.user_id, two.session_id, now)
        # Within the leeway of the hosts' clocks its signature still passes; the database's clock says that it has ended.
        ended = create_access_token(one.user_id, one.session_id, now - access_token_life() - timedelta(seconds=5))
        assert read_access_token(ended).session_id == one.session_id
        tokens = [mine, over, anothers_session, key, new_api_key(), ended, theirs, mine]
        found = together(
            Authenticator, *(methodcaller("authenticate", proof_of(token), "127.0.0.1") for token in tokens)
        )
        refused = [None if isinstance(each, InvalidToken) else str(each.id) for each in found]
        assert refused == [first["id"], None, None, first["id"], None, None, second["id"], first["id"]]


class TestLogins:
    """Looked up in the group that inserts what they ask for."""

    def test_none_answers_for_anothers_token_or_mistake(
        self, client: httpx.Client, make_user: MakeUser, sent: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (first, mine), (_, over), (second, theirs) = make_user(), make_user(), make_user()
        assert client.post(f"{API}/auth/logout", headers=bearer(over)).status_code == 204
        odd, unknown = (WANTED.model_copy(update=each) for each in ({"name": "odd"}, {"celery_task_name": "unknown"}))
        rows_of = new_rows.rows_of

        def fail_at_odd(tasks: list[TaskCreate], user_id: UUID, *others: Any) -> Any:
            if tasks[0].name == "odd":
                raise RuntimeError("on purpose")
            return rows_of(tasks, user_id, *others)

        monkeypatch.setattr(new_rows, "rows_of", fail_at_odd)
        asked = [(WANTED, mine), (WANTED, over), (unknown, mine), (odd, mine), (WANTED, theirs)]
        outcomes = together(
            Submitter,
            methodcaller("submit", WANTED, logged_in(UUID(first["id"]))),
            *(methodcaller("submit_of_login", task, read_access_token(token)) for task, token in asked),
        )
        kinds = [Accepted, Accepted, InvalidToken, UnknownTask, RuntimeError, Accepted]
        assert [type(each) for each in outcomes] == kinds
        assert (stored(UUID(first["id"])), stored(UUID(second["id"])), len(sent)) == (2, 1, 3)


class TestBatch:
    def test_keeps_the_order_and_sends_all(self, tasks: TaskClient, sent: list[str]) -> None:
        names = [f"task {number}" for number in range(1000)]
        answer = tasks.post("batch", {"tasks": [BODY | {"name": name} for name in names]})
        assert answer.status_code == 201, answer.text
        created = answer.json()["tasks"]
        assert [each["name"] for each in created] == names
        assert sent == ["default"] * 1000
        assert in_order_of_turns(tasks.user["id"]) == [each["id"] for each in created]
        assert tasks.get("count").json()["pending"] == 1000

    @pytest.mark.parametrize(
        ("wrong", "loc"),
        [
            ({"celery_task_name": "nobody's"}, ["celery_task_name"]),
            ({"args": ["sixty"]}, ["args", "duration"]),
            ({"priority": "soon"}, ["priority"]),
            ({"unknown": 1}, ["unknown"]),
        ],
        ids=["task", "argument", "field", "extra"],
    )
    def test_is_all_or_nothing_and_names_the_item(
        self, tasks: TaskClient, wrong: dict[str, Any], loc: list[str]
    ) -> None:
        answer = tasks.post("batch", {"tasks": [BODY, BODY, BODY | wrong]})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"] == ["body", "tasks", 2, *loc]
        assert tasks.get("count").json()["total"] == 0

    @pytest.mark.parametrize("number", [0, 1001])
    def test_has_a_size(self, tasks: TaskClient, number: int) -> None:
        answer = tasks.post("batch", {"tasks": [BODY] * number})
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["body", "tasks"])

    def test_over_a_quota_creates_none(self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(get_settings(), "quota_queued_tasks", 5)
        answer = tasks.post("batch", {"tasks": [BODY] * 6})
        assert (answer.status_code, answer.json()["code"]) == (429, "queued_tasks_quota")
        assert tasks.get("count").json()["total"] == 0
        assert tasks.post("batch", {"tasks": [BODY] * 5}).status_code == 201

    def test_is_bound_by_the_size_of_a_body(self, tasks: TaskClient) -> None:
        body = json.dumps({"tasks": [BODY | {"metadata": {"x": "x" * 60_000}}] * 40})
        answer = tasks.request("POST", "batch", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
