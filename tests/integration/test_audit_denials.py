"""Every 403 is recorded, and never at the expense of its answer; what exceeds a limit is refused, and none left out."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from uuid import uuid4

import httpx
import pytest

from app.core.config import get_settings
from app.core.metrics import TaskNumbers, exposition
from app.services import audit
from tests.support.accounts import API, MakeUser, bearer, sign_up
from tests.support.audit import recorded
from tests.support.settings import sql
from tests.support.task_client import BODY, TaskClient
from tests.support.throttle import forget_deeds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Of limits that are new for each test; it stands still."""
    clock = SimpleNamespace(now=0.0)
    forget_deeds(monkeypatch, lambda: clock.now)
    return clock


@pytest.fixture
def limit(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`limit(10)`: so many recorded deeds a minute."""
    return lambda number: monkeypatch.setattr(audit, "DEEDS_PER_MINUTE", number)


def unrecorded(why: str) -> float:
    name = f'audit_denials_unrecorded_total{{why="{why}"}} '
    lines = [line for line in exposition(TaskNumbers, list).decode().splitlines() if line.startswith(name)]
    return float(lines[0].removeprefix(name)) if lines else 0.0


class TestDenials:
    def test_tell_who_wanted_what(self, client: httpx.Client, make_user: MakeUser) -> None:
        user, token = make_user()
        other = str(uuid4())
        answer = client.patch(f"{API}/users/{other}", json={"role": "admin"}, headers=bearer(token))
        assert answer.status_code == 403
        (record,) = recorded("access.denied")
        assert (str(record.actor_id), record.actor_name) == (user["id"], user["username"])
        assert (record.object_kind, record.object_id) == ("route", "PATCH /api/v1/users/{user_id}")
        assert record.detail == {"code": "admin_only", "user_id": other}
        assert record.request_id == answer.headers["x-request-id"]
        assert record.address == "testclient"

    def test_of_a_path_only_ids_are_kept(self, client: httpx.Client, make_user: MakeUser) -> None:
        _, token = make_user()
        assert client.get(f"{API}/users/my-secret", headers=bearer(token)).status_code == 403
        assert recorded("access.denied")[0].detail == {"code": "admin_only"}

    def test_what_a_service_refuses_counts_as_well(self, tasks: TaskClient) -> None:
        task_id = tasks.create()["id"]
        assert tasks.patch(task_id, {"status": "revoked"}).status_code == 403
        assert tasks.get(user_id="all").status_code == 403
        assert [record.object_id for record in recorded("access.denied")] == [
            "PATCH /api/v1/tasks/{task_id}",
            "GET /api/v1/tasks/",
        ]

    def test_of_the_short_way_tell_who_it_was(self, tasks: TaskClient) -> None:
        """There a login is known in the group of submits alone."""
        sql("UPDATE users SET max_priority = 'low' WHERE username = :name", name=tasks.user["username"])
        assert tasks.post(body={**BODY, "priority": "high"}).status_code == 403
        (record,) = recorded("access.denied")
        assert (str(record.actor_id), record.detail) == (tasks.user["id"], {"code": "priority_not_allowed"})

    def test_other_refusals_are_none(self, client: httpx.Client, tasks: TaskClient) -> None:
        assert client.get(f"{API}/users/me").status_code == 401
        assert tasks.get(uuid4()).status_code == 404
        assert tasks.post(body={}).status_code == 422
        assert recorded("access.denied") == []


class TestFlood:
    def test_of_denials_is_refused_beyond_the_limit_and_every_denial_is_recorded(
        self, client: httpx.Client, make_user: MakeUser, clock: SimpleNamespace, limit: Callable[[int], None]
    ) -> None:
        (first, token), (second, other) = make_user(), make_user()
        limit(10)
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: client.get(f"{API}/users/", headers=bearer(token)), range(40)))
        assert Counter(answer.status_code for answer in answers) == {403: 10, 429: 30}
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert (refused.json()["code"], refused.headers["retry-after"]) == ("too_many_recorded_actions", "60")
        assert client.get(f"{API}/users/", headers=bearer(other)).status_code == 403
        assert len(recorded("access.denied", actor_id=first["id"])) == 10
        assert len(recorded("access.denied", actor_id=second["id"])) == 1
        (throttle,) = recorded("deeds.throttled")
        assert (str(throttle.actor_id), throttle.object_id, throttle.detail) == (
            first["id"],
            first["id"],
            {"deeds": 10},
        )
        clock.now = 60.0
        assert client.get(f"{API}/users/", headers=bearer(token)).status_code == 403
        assert len(recorded("access.denied", actor_id=first["id"])) == 11

    def test_of_deeds_is_refused_and_what_is_refused_is_not_done(
        self, tasks: TaskClient, clock: SimpleNamespace, limit: Callable[[int], None]
    ) -> None:
        limit(3)
        ids = [tasks.create()["id"] for _ in range(5)]
        answers = [tasks.post(f"{task_id}/cancel").status_code for task_id in ids]
        assert answers == [200, 200, 200, 429, 429]
        assert [tasks.get(task_id).json()["status"] for task_id in ids[2:]] == ["revoked", "pending", "pending"]
        assert tasks.delete(ids[0]).status_code == tasks.post(f"{ids[0]}/retry").status_code == 429
        assert len(recorded("task.cancelled")) == 3
        assert len(recorded("deeds.throttled")) == 1
        assert tasks.create()["status"] == "pending"  # what is not recorded goes on
        clock.now = 60.0
        assert tasks.post(f"{ids[3]}/cancel").status_code == 200
        assert tasks.delete(ids[0]).status_code == 204

    def test_of_renaming_oneself_is_refused(
        self, client: httpx.Client, make_user: MakeUser, limit: Callable[[int], None]
    ) -> None:
        user, token = make_user()
        limit(4)
        answers = [
            client.patch(f"{API}/users/me", json={"username": f"{user['username']}-{n}"}, headers=bearer(token))
            for n in range(8)
        ]
        assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 4
        me = client.get(f"{API}/users/me", headers=bearer(token)).json()
        assert me["username"] == f"{user['username']}-3"
        assert len(recorded("user.profile_changed")) == 4

    def test_does_not_keep_anybody_from_logging_out(
        self, client: httpx.Client, make_user: MakeUser, limit: Callable[[int], None]
    ) -> None:
        _, token = make_user()
        limit(1)
        assert [client.get(f"{API}/users/", headers=bearer(token)).status_code for _ in range(2)] == [403, 429]
        assert client.post(f"{API}/auth/logout", headers=bearer(token)).status_code == 204

    def test_of_strangers_is_refused_and_leaves_no_record(
        self, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Anybody could fill the audit, and hide what others are denied."""
        monkeypatch.setattr(get_settings(), "allow_registration", False)
        monkeypatch.setattr("app.services.audit.ANONYMOUS_PER_MINUTE", 3)
        before = unrecorded("anonymous")
        assert [sign_up(client, "anna").status_code for _ in range(5)] == [403] * 3 + [429] * 2
        assert unrecorded("anonymous") - before == 3
        assert recorded("access.denied") == recorded("deeds.throttled") == []


class TestWithoutTheDatabase:
    """The table is gone: a 403 stays one, and a counter and a line of the log tell."""

    def test_a_record_that_is_refused_leaves_the_403(
        self, client: httpx.Client, make_user: MakeUser, caplog: pytest.LogCaptureFixture
    ) -> None:
        _, token = make_user()
        sql("ALTER TABLE audit_events RENAME TO elsewhere")
        before = unrecorded("database")
        answer = client.get(f"{API}/users/", headers=bearer(token))
        assert (answer.status_code, answer.json()["code"]) == (403, "admin_only")
        assert unrecorded("database") - before == 1
        assert "denial of GET /api/v1/users/" in caplog.text
