"""Each deed is recorded once, with who did it to what, in the transaction that did it; and no secret with it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from app.db.session import SessionLocal
from app.errors import InvalidTransition, UserExists
from app.models.audit import AuditRecord
from app.models.task import TaskStatus
from app.services.accounts import login_throttle
from app.services.execution.attempts import CurrentAttempt, current_attempt
from app.services.task_service import task_service
from app.services.user_service import user_service
from tests.support.accounts import API, PASSWORD, MakeUser, bearer, login, register
from tests.support.audit import recorded
from tests.support.databases import DIALECT
from tests.support.settings import sql
from tests.support.task_client import TaskClient, module_client
from tests.support.tasks import new_task, new_user, task_in
from tests.support.throttle import end_waits, end_windows, lengthen_first_wait

client = module_client()
WRONG = "hunter2-hunter2-hunter2"
# Statements after which no record can be written, and after which it can.
_TRIGGER = "CREATE TRIGGER none BEFORE INSERT ON audit_events FOR EACH ROW"
REFUSE_RECORDS = {
    "postgresql": (
        "ALTER TABLE audit_events ADD CONSTRAINT none CHECK (false) NOT VALID",
        "ALTER TABLE audit_events DROP CONSTRAINT none",
    ),
    "mysql": (f"{_TRIGGER} SIGNAL SQLSTATE '23000' SET MYSQL_ERRNO = 4025", "DROP TRIGGER none"),
    "sqlite": (f"{_TRIGGER} BEGIN SELECT RAISE(ABORT, 'none'); END", "DROP TRIGGER none"),
}


@pytest.fixture
def make_user(register_user: Any) -> Any:
    return register_user


def one(event: str, **columns: Any) -> AuditRecord:
    """The only record of this event with these columns."""
    found = recorded(event, **columns)
    assert len(found) == 1, [(each.event, each.object_id, each.detail) for each in found]
    return found[0]


def call(client: httpx.Client, method: str, path: str, token: str, **options: Any) -> httpx.Response:
    return client.request(method, f"{API}{path}", headers=bearer(token), **options)


class TestLogins:
    def test_registration_and_login_name_the_user(self, client: httpx.Client) -> None:
        user = register(client)
        answer = client.post(f"{API}/auth/login", data={"username": user["email"], "password": PASSWORD})
        for event in ("user.registered", "login.succeeded"):
            record = one(event, object_id=user["id"])
            assert (str(record.actor_id), record.actor_name) == (user["id"], user["username"])
            assert (record.origin, record.object_kind, record.address) == ("http", "user", "testclient")
        assert one("login.succeeded", object_id=user["id"]).request_id == answer.headers["x-request-id"]

    @pytest.mark.parametrize("why", ["wrong password", "inactive"])
    def test_a_failed_one_names_the_account_and_no_actor(self, client: httpx.Client, why: str) -> None:
        user = register(client)
        if why == "inactive":
            sql("UPDATE users SET is_active = false WHERE id = :id", id=user["id"])
        password = PASSWORD if why == "inactive" else WRONG
        answer = client.post(f"{API}/auth/login", data={"username": user["username"], "password": password})
        assert answer.status_code == 401
        record = one("login.failed", object_id=user["id"])
        assert (record.actor_id, record.actor_name, record.detail) == (None, None, {"why": why})

    def test_an_unknown_name_is_not_told(self, client: httpx.Client) -> None:
        for typed in ("my-secret-password", "MY-secret-password"):
            client.post(f"{API}/auth/login", data={"username": typed, "password": WRONG})
        records = recorded("login.failed", object_kind="login")[-2:]
        assert [record.detail for record in records] == [{"why": "unknown name"}] * 2
        assert records[0].object_id == records[1].object_id
        assert len(records[0].object_id) == 32

    def test_throttling_is_recorded_once_until_it_is_over_however_many_are_refused(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lengthen_first_wait(monkeypatch)
        user = register(client)
        data = {"username": user["username"], "password": WRONG}
        answers = [client.post(f"{API}/auth/login", data=data).status_code for _ in range(15)]
        assert answers == [401] * 10 + [429] * 5
        assert len(recorded("login.failed", object_id=user["id"])) == 10
        record = one("login.throttled", object_id=user["id"])
        assert record.detail == {"failures": 10, "longest_wait_seconds": 900}
        end_waits(client)
        assert client.post(f"{API}/auth/login", data=data).status_code == 401
        assert len(recorded("login.throttled", object_id=user["id"])) == 1
        end_windows(client, 2 * 86_400)
        for _ in range(11):
            client.post(f"{API}/auth/login", data=data)
        assert len(recorded("login.throttled", object_id=user["id"])) == 2

    def test_an_address_is_recorded_as_throttled_once_too(
        self, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sql("DELETE FROM login_failures")
        monkeypatch.setattr(login_throttle, "FAILURES_PER_ADDRESS", 3)
        for number in range(6):
            client.post(f"{API}/auth/login", data={"username": f"nobody{number}", "password": WRONG})
        assert one("login.throttled", object_kind="address").object_id == "testclient"
        sql("DELETE FROM login_failures")

    def test_a_replayed_token_is_recorded_once(self, client: httpx.Client) -> None:
        user = register(client)
        first = login(client, user["username"])["refresh_token"]
        answers = [client.post(f"{API}/auth/refresh", json={"refresh_token": first}).status_code for _ in range(5)]
        assert answers == [200] + [401] * 4
        record = one("token.replayed", object_id=user["id"])
        assert record.actor_id is None

    def test_a_logout_is_recorded_once_though_sent_at_once(self, client: httpx.Client, make_user: MakeUser) -> None:
        user, token = make_user()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: call(client, "POST", "/auth/logout", token), range(4)))
        record = one("logout", object_id=user["id"])
        assert (str(record.actor_id), record.actor_name) == (user["id"], user["username"])

    def test_a_password_change_and_the_refused_one_before_it(self, client: httpx.Client, make_user: MakeUser) -> None:
        user, token = make_user()
        for current, status in ((WRONG, 403), (PASSWORD, 204)):
            body = {"current_password": current, "new_password": f"{PASSWORD}, another"}
            assert call(client, "PUT", "/users/me/password", token, json=body).status_code == status
        refused = one("login.failed", object_id=user["id"])
        assert str(refused.actor_id) == user["id"]
        assert refused.detail == {"why": "wrong password at its change"}
        assert str(one("password.changed", object_id=user["id"]).actor_id) == user["id"]
        assert recorded("access.denied", actor_id=user["id"]) == []


class TestUsers:
    def test_an_administrators_deeds_name_both(self, client: httpx.Client, admin: TaskClient) -> None:
        body = {"username": "carol", "email": "carol@example.com", "password": PASSWORD}
        carol = call(client, "POST", "/users/", admin.token, json=body).json()
        path = f"/users/{carol['id']}"
        for changes in (
            {"role": "admin", "username": "carola"},
            {"is_active": False},
            {"is_active": True, "role": "admin"},  # the role is no change
            {"username": "carola"},  # nor is this
            {"max_priority": "high"},
            {"max_priority": "high"},
            {"weight": 7},
            {"weight": 7},
            {},
        ):
            assert call(client, "PATCH", path, admin.token, json=changes).status_code == 200
        assert call(client, "DELETE", path, admin.token).status_code == 204
        records = recorded(object_id=carol["id"])
        assert [(record.event, record.detail) for record in records] == [
            (
                "user.created",
                {"username": "carol", "role": "user", "is_active": True, "max_priority": "critical", "weight": 1},
            ),
            ("user.role_changed", {"before": "user", "after": "admin"}),
            ("user.profile_changed", {"fields": ["username"]}),
            ("user.deactivated", {}),
            ("user.activated", {}),
            ("user.max_priority_changed", {"before": "critical", "after": "high"}),
            ("user.weight_changed", {"before": 1, "after": 7}),
            ("user.deleted", {"username": "carola", "role": "admin"}),
        ]
        assert {(str(record.actor_id), record.actor_name) for record in records} == {
            (admin.user["id"], admin.user["username"])
        }

    def test_what_is_refused_leaves_no_record(self, client: httpx.Client, admin: TaskClient, tasks: TaskClient) -> None:
        taken = {"username": admin.user["username"], "role": "admin"}
        path = f"/users/{tasks.user['id']}"
        assert call(client, "PATCH", path, admin.token, json=taken).status_code == 409
        tasks.create()
        assert call(client, "DELETE", path, admin.token).status_code == 409
        assert [record.event for record in recorded(object_id=tasks.user["id"])] == [
            "user.registered",
            "login.succeeded",
        ]

    def test_records_stay_when_the_account_goes(
        self, client: httpx.Client, admin: TaskClient, tasks: TaskClient
    ) -> None:
        assert call(client, "DELETE", f"/users/{tasks.user['id']}", admin.token).status_code == 204
        assert len(recorded(actor_id=tasks.user["id"], actor_name=tasks.user["username"])) == 2

    def test_outside_of_http_there_is_an_origin_and_no_actor(self, client: httpx.Client) -> None:
        with SessionLocal() as db:
            user_service.ensure_first_admin(db, "chief", PASSWORD)
            assert not user_service.ensure_first_admin(db, "chief", PASSWORD)
        (record,) = [each for each in recorded("user.created") if each.detail["username"] == "chief"]
        assert (record.origin, record.actor_id, record.address, record.request_id) == ("python", None, None, None)


class TestTasks:
    def test_creating_and_reading_are_not_recorded(self, tasks: TaskClient) -> None:
        before = len(recorded())
        task_id = tasks.create()["id"]
        assert tasks.get(task_id).status_code == tasks.get().status_code == 200
        assert len(recorded()) == before

    @pytest.mark.parametrize("status", ["pending", "running"])
    def test_cancelling_twice_is_recorded_once(self, tasks: TaskClient, status: str) -> None:
        task_id = tasks.task_in(status)
        assert {tasks.post(f"{task_id}/cancel").status_code for _ in range(2)} <= {200, 202}
        record = one("task.cancelled", object_id=task_id, origin="http")
        assert str(record.actor_id) == tasks.user["id"]
        assert record.detail["was"] == status
        assert record.detail["owner"] == tasks.user["id"]

    def test_a_retry_and_a_deletion(self, tasks: TaskClient) -> None:
        task_id = tasks.task_in("failed")
        assert tasks.post(f"{task_id}/retry").status_code == 202
        assert tasks.delete(task_id).status_code == 409
        assert tasks.delete(task_id, force=True).status_code == 204
        assert tasks.delete(task_id, force=True).status_code == 404
        assert [(record.event, record.detail.get("was")) for record in recorded(object_id=task_id)] == [
            ("task.retried", None),
            ("task.deleted", "pending"),
        ]

    def test_deleting_a_running_one_twice_is_recorded_once(self, tasks: TaskClient) -> None:
        task_id = tasks.task_in("running")
        assert [tasks.delete(task_id, force=True).status_code for _ in range(3)] == [202] * 3
        (record,) = recorded(object_id=task_id)
        assert (record.event, record.detail["was"]) == ("task.deleted", "running")

    def test_ten_at_once_that_cancel_make_one_record(self, tasks: TaskClient) -> None:
        task_id = tasks.create()["id"]
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda _: tasks.post(f"{task_id}/cancel").status_code, range(10)))
        assert set(answers) == {200}
        assert len(recorded(object_id=task_id)) == 1

    def test_an_administrators_patch_of_the_state(self, admin: TaskClient, tasks: TaskClient) -> None:
        task_id = tasks.task_in("running")
        assert admin.patch(task_id, {"status": "succeeded", "result": {"secret": "s3cret"}}).status_code == 200
        assert admin.patch(task_id, {"status": "failed"}).status_code == 409
        (record,) = recorded(object_id=task_id)
        assert (record.event, str(record.actor_id)) == ("task.state_set", admin.user["id"])
        assert record.detail["fields"] == ["result", "status"]
        assert record.detail["status"] == "succeeded"
        assert "s3cret" not in str(record.detail)

    def test_a_change_and_a_retry_with_changes_name_the_fields(self, tasks: TaskClient) -> None:
        task_id = tasks.create(delay_seconds=3600)["id"]
        assert tasks.patch(task_id, {"tags": ["s3cret"], "name": "s3cret"}).status_code == 200
        assert tasks.patch(task_id, {}).status_code == 200
        tasks.post(f"{task_id}/cancel")
        assert tasks.post(f"{task_id}/retry", {"kwargs": {"password": "s3cret"}}).status_code == 201
        found = recorded(object_id=task_id)
        assert [(record.event, record.detail.get("fields")) for record in found] == [
            ("task.changed", ["name", "tags"]),
            ("task.cancelled", None),
            ("task.retried", ["kwargs"]),
        ]
        assert "s3cret" not in str([record.detail for record in found])

    def test_the_python_api_records_its_origin(self, client: httpx.Client) -> None:
        with SessionLocal() as db:
            task = new_task(db)
            other = new_task(db)
            body = CurrentAttempt(other.id, 1)
            token = current_attempt.set(body)
            try:
                assert task_service.cancel_task(db, task.id)
            finally:
                current_attempt.reset(token)
            assert task_service.cancel_task(db, other.id)
        inside, outside = one("task.cancelled", object_id=str(task.id)), one("task.cancelled", object_id=str(other.id))
        assert (inside.origin, inside.actor_id, inside.detail["by_task"]) == ("worker", None, str(other.id))
        assert (outside.origin, outside.actor_id) == ("python", None)
        assert "by_task" not in outside.detail


class TestTransactions:
    def test_a_deed_that_is_rolled_back_leaves_no_record(self, client: httpx.Client) -> None:
        with SessionLocal() as db:
            task = new_task(db)
            ended = task_in(db, TaskStatus.SUCCEEDED)
            user_id = new_user(db)
            before = len(recorded())
            task_service.cancel(db, task.id, commit=False)
            task_service.delete(db, ended.id, commit=False)
            user_service.update_user(db, user_id, {"role": "admin"}, commit=False)
            assert len(recorded()) == before  # no other transaction sees it before the commit
            db.rollback()
        assert len(recorded()) == before

    def test_a_record_that_cannot_be_written_undoes_the_deed(self, tasks: TaskClient) -> None:
        task_id = tasks.create()["id"]
        refuse, allow = REFUSE_RECORDS[DIALECT]
        sql(refuse)
        try:
            assert tasks.post(f"{task_id}/cancel").status_code == 500
        finally:
            sql(allow)
        assert tasks.get(task_id).json()["status"] == "pending"
        assert recorded(object_id=task_id) == []

    def test_a_refused_move_leaves_none(self, client: httpx.Client) -> None:
        with SessionLocal() as db:
            task_id = task_in(db, TaskStatus.SUCCEEDED).id
            with pytest.raises(InvalidTransition):
                task_service.update_task_status(db, task_id, "failed")
            with pytest.raises(InvalidTransition):
                task_service.retry_task(db, task_id)
            assert not task_service.cancel_task(db, task_id)
        assert recorded(object_id=str(task_id)) == []

    def test_a_name_that_is_taken_leaves_none(self, client: httpx.Client) -> None:
        user = register(client)
        before = len(recorded())
        with SessionLocal() as db, pytest.raises(UserExists):
            user_service.create_user(db, user["username"], "other@example.com", PASSWORD)
        assert len(recorded()) == before


class TestSecrets:
    def test_nothing_that_was_typed_as_a_secret_is_in_any_record(
        self, client: httpx.Client, make_user: MakeUser
    ) -> None:
        """After all of the above, and a life of its own: no password, no token, no wrong name."""
        user, token = make_user()
        tokens = login(client, user["username"])
        typed = "typed-a-password-as-the-name"
        for name in (user["username"], typed):
            client.post(f"{API}/auth/login", data={"username": name, "password": WRONG})
        client.post(f"{API}/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
        client.post(f"{API}/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
        call(client, "GET", f"/users/{typed}", token)
        columns = AuditRecord.__table__.columns.keys()
        told = "\n".join(str([getattr(record, name) for name in columns]) for record in recorded())
        assert user["id"] in told
        for secret in (PASSWORD, WRONG, typed, token, tokens["refresh_token"], tokens["access_token"], "argon2"):
            assert secret not in told
