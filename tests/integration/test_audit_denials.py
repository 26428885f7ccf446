"""Every 403 is recorded, so many of a flood, and never at the expense of its answer."""

import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from uuid import uuid4

import httpx
import pytest

from app.api.http import denials
from app.core.config import get_settings
from app.core.metrics import exposition
from app.services.tasks.bounds import RateLimit
from tests.support.accounts import API, MakeUser, bearer, sign_up
from tests.support.audit import recorded
from tests.support.services import Services
from tests.support.settings import sql
from tests.support.task_client import TaskClient


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Of bounds that are new for each test; it stands still."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(denials, "bounds", RateLimit(denials.PER_CALLER, denials.PER_PROCESS, lambda: clock.now))
    return clock


def unrecorded(why: str) -> float:
    name = f'audit_denials_unrecorded_total{{why="{why}"}} '
    lines = [line for line in exposition(list).decode().splitlines() if line.startswith(name)]
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

    def test_without_a_login_they_name_the_address(self, client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(get_settings(), "allow_registration", False)
        assert sign_up(client, "anna").status_code == 403
        (record,) = recorded("access.denied")
        assert (record.actor_id, record.address) == (None, "testclient")
        assert record.detail == {"code": "registration_closed"}

    def test_other_refusals_are_none(self, client: httpx.Client, tasks: TaskClient) -> None:
        assert client.get(f"{API}/users/me").status_code == 401
        assert tasks.get(uuid4()).status_code == 404
        assert tasks.post(body={}).status_code == 422
        assert recorded("access.denied") == []


class TestFlood:
    def test_of_one_caller_makes_so_many_records(
        self, client: httpx.Client, make_user: MakeUser, clock: SimpleNamespace
    ) -> None:
        (first, token), (second, other) = make_user(), make_user()
        before = unrecorded("flood")
        with ThreadPoolExecutor(4) as pool:
            answers = list(
                pool.map(lambda _: client.get(f"{API}/users/", headers=bearer(token)).status_code, range(40))
            )
        assert answers == [403] * 40
        assert client.get(f"{API}/users/", headers=bearer(other)).status_code == 403
        assert len(recorded("access.denied", actor_id=first["id"])) == denials.PER_CALLER
        assert len(recorded("access.denied", actor_id=second["id"])) == 1
        assert unrecorded("flood") - before == 40 - denials.PER_CALLER
        clock.now = 60.0
        client.get(f"{API}/users/", headers=bearer(token))
        assert recorded("access.denied")[-1].detail["left_out"] == 40 - denials.PER_CALLER


class TestWithoutTheDatabase:
    """The table is gone, or the server: a 403 stays one, and a counter and a line of the log tell."""

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

    def test_a_server_that_is_away_leaves_it_at_once(
        self, services: Services, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Closed registration needs no database: nothing but the record asks for one."""
        monkeypatch.setattr(get_settings(), "allow_registration", False)
        before, began = unrecorded("database"), time.monotonic()
        with services.refusing(sql("SELECT current_database()")[0][0]):
            answers = [sign_up(client, "anna") for _ in range(3)]
        assert [(each.status_code, each.json()["code"]) for each in answers] == [(403, "registration_closed")] * 3
        assert unrecorded("database") - before == 3
        assert time.monotonic() - began < 20
