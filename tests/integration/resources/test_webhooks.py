"""Webhooks over HTTP: who may do what, what is shown, and a delivery by real processes."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select
from standardwebhooks.webhooks import Webhook
from starlette.testclient import TestClient

from app.core.config import get_settings
from app.core.signatures import encode_secret
from app.db.session import SessionLocal
from app.models import Task
from app.models.audit import AuditRecord
from app.models.webhook import WebhookDelivery
from app.services.webhooks.new_deliveries import BIT_OF_KIND
from tests.support.accounts import bearer
from tests.support.running import Running
from tests.support.settings import settings, sql
from tests.support.shared import module_running
from tests.support.task_client import BODY, module_client
from tests.support.tasks import new_login
from tests.support.waiting import wait_for
from tests.support.webhooks import work_off
from tests.unit.outbound.web_server import Web, reply, web_server

shared = module_client()
HOOKS, TASKS = "/api/v1/webhooks/", "/api/v1/tasks/"
SECRET = encode_secret(bytes(range(32)))
WANTED = {"url": "https://billing.example.com/hooks", "events": ["task.succeeded", "task.failed"]}

running = module_running(worker=1, OUTBOUND_ALLOW='["127.0.0.0/8"]', WEBHOOK_SECRET=SECRET)


class Caller:
    def __init__(self, client: TestClient, token: str) -> None:
        self._client, self.headers = client, bearer(token)

    def __call__(self, method: str, path: str, body: Any = None, key: str | None = None) -> httpx.Response:
        headers = self.headers if key is None else bearer(key)
        return self._client.request(method, path, json=body, headers=headers)

    def key(self, *scopes: str) -> str:
        return str(self("POST", "/api/v1/auth/api-keys", {"name": "k", "scopes": list(scopes)}).json()["key"])

    def create(self, **fields: Any) -> dict[str, Any]:
        answer = self("POST", HOOKS, WANTED | fields)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())


def new_token(role: str = "user") -> str:
    with SessionLocal() as db:
        return new_login(db, role)


@pytest.fixture
def ask(shared: TestClient) -> Caller:
    return Caller(shared, new_token())


class TestAnEndpoint:
    def test_is_created_read_changed_and_deleted(self, ask: Caller) -> None:
        made = ask.create(filter={"tag": "nightly"}, description="Billing")
        assert made.pop("secret").startswith("whsec_")
        assert ask("GET", HOOKS + made["id"]).json() == made
        assert ask("GET", HOOKS).json() == [made]
        assert (made["enabled"], made["filter"]["tag"], made["disabled_at"]) == (True, "nightly", None)
        changed = ask("PATCH", HOOKS + made["id"], {"enabled": False, "events": ["task.failed"], "description": None})
        assert (changed.json()["enabled"], changed.json()["events"]) == (False, ["task.failed"])
        assert changed.json()["disabled_at"] is not None
        assert (changed.json()["disabled_reason"], changed.json()["description"]) == (None, None)
        assert ask("DELETE", HOOKS + made["id"]).status_code == 204
        gone = ask("GET", HOOKS + made["id"])
        assert (gone.status_code, gone.json()["code"]) == (404, "webhook_not_found")

    def test_of_another_user_is_not_there_and_administrators_read_it(self, ask: Caller, shared: TestClient) -> None:
        made = ask.create()
        one = HOOKS + made["id"]
        for role in ("user", "admin"):
            other = Caller(shared, new_token(role))
            reads = [other("GET", path).status_code for path in (one, f"{one}/deliveries")]
            assert reads == [200 if role == "admin" else 404] * 2
            for method, path, body in (
                ("DELETE", one, None),
                ("PATCH", one, {"enabled": False}),
                ("POST", f"{one}/test", None),
                ("POST", f"{one}/rotate", None),
                ("POST", f"{one}/recover", {"since": "2020-01-01T00:00:00Z"}),
            ):
                assert other(method, path, body).status_code == 404
            assert other("GET", HOOKS).json() == []
            assert other("GET", one, key=other.key("tasks:read")).status_code == 404

    def test_may_share_its_url_and_a_user_has_twenty(self, ask: Caller) -> None:
        for _ in range(20):
            ask.create()
        answer = ask("POST", HOOKS, WANTED)
        assert (answer.status_code, answer.json()["code"]) == (409, "webhook_limit")

    @pytest.mark.parametrize(
        ("fields", "place"),
        [
            ({"url": "http://10.0.0.1/hooks"}, "url"),
            ({"url": "http://user:password@example.com/"}, "url"),
            ({"events": ["task.started"]}, "events"),
            ({"events": []}, "events"),
            ({"filter": {"name": "x"}}, "filter"),
            ({"enabled": 0}, "enabled"),
            ({"surprise": 1}, "surprise"),
        ],
    )
    def test_that_is_not_valid_is_refused(self, ask: Caller, fields: dict[str, Any], place: str) -> None:
        answer = ask("POST", HOOKS, WANTED | fields)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"][:2] == ["body", place]

    def test_takes_every_event_of_the_contract(self, ask: Caller) -> None:
        events = [f"{of}.{how}" for of in ("task", "workflow") for how in ("succeeded", "failed", "revoked")]
        assert ask.create(events=[*events, "schedule.skipped"])["events"] == [*events, "schedule.skipped"]


class TestRights:
    def test_a_key_reads_and_changes_by_its_scopes_and_needs_a_login_for_secrets_and_urls(self, ask: Caller) -> None:
        made = ask.create()
        reader, writer = ask.key("tasks:read"), ask.key("tasks:write")
        one = HOOKS + made["id"]
        assert ask("GET", one, key=reader).status_code == 200
        assert ask("PATCH", one, {"enabled": True}, key=reader).json()["code"] == "insufficient_scope"
        assert ask("PATCH", one, {"enabled": True}, key=writer).status_code == 200
        for method, path, body in (
            ("POST", HOOKS, WANTED),
            ("POST", f"{one}/rotate", None),
            ("PATCH", one, {"url": "https://example.com/"}),
        ):
            answer = ask(method, path, body, key=writer)
            assert (answer.status_code, answer.json()["code"]) == (403, "login_only")

    def test_only_those_of_outbound_users_have_requests_sent(self, ask: Caller) -> None:
        with settings({"OUTBOUND_USERS": '["role:admin"]', "WEBHOOK_SECRET": SECRET}):
            for path, body in ((HOOKS, WANTED), (TASKS, BODY | {"webhook_url": WANTED["url"]})):
                answer = ask("POST", path, body)
                assert (answer.status_code, answer.json()["code"]) == (403, "task_not_allowed")

    def test_what_is_done_to_endpoints_is_audited(self, ask: Caller) -> None:
        made = ask.create()
        one = HOOKS + made["id"]
        ask("POST", f"{one}/rotate", {"grace_seconds": 60})
        ask("PATCH", one, {"url": "https://example.com/?token=abc"})
        ask("DELETE", one)
        found = select(AuditRecord.event, AuditRecord.detail).where(AuditRecord.object_id == made["id"])
        with SessionLocal() as db:
            rows = db.execute(found.order_by(AuditRecord.id)).all()
        done = ["created", "secret_rotated", "changed", "deleted"]
        assert [row[0] for row in rows] == [f"webhook.{each}" for each in done]
        assert "token" not in str(rows)


class TestATask:
    def test_of_a_user_with_an_endpoint_is_followed_however_it_is_submitted(self, ask: Caller) -> None:
        ask.create()
        key = ask.key("tasks:write")
        ids = [
            ask("POST", TASKS, BODY).json()["id"],
            ask("POST", TASKS, BODY, key=key).json()["id"],
            ask("POST", TASKS, BODY | {"unique_key": "k"}).json()["id"],
            *(each["id"] for each in ask("POST", f"{TASKS}batch", {"tasks": [BODY, BODY]}).json()["tasks"]),
        ]
        with SessionLocal() as db:
            followers = db.scalars(select(Task.followers).where(Task.id.in_(map(UUID, ids)))).all()
        assert followers == [sum(BIT_OF_KIND[kind] for kind in WANTED["events"])] * 5

    def test_shows_its_url_and_keeps_it_in_a_retry_with_changes(self, ask: Caller) -> None:
        with settings({"WEBHOOK_SECRET": SECRET}):
            made = ask("POST", TASKS, BODY | {"webhook_url": "https://example.com/hooks?token=abc"}).json()
            assert made["webhook_url"] == "https://example.com/hooks?token=***"
            ask("POST", f"{TASKS}{made['id']}/cancel")
            again = ask("POST", f"{TASKS}{made['id']}/retry", {"tags": ["again"]}).json()
            rows = sql("SELECT webhook_url FROM tasks WHERE id = :id", id=again["id"])
            assert rows[0][0] == "https://example.com/hooks?token=abc"
            same = ask("POST", f"{TASKS}{made['id']}/retry", {"webhook_url": made["webhook_url"]}).json()
            assert sql("SELECT webhook_url FROM tasks WHERE id = :id", id=same["id"]) == rows
            without = ask("POST", f"{TASKS}{made['id']}/retry", {"webhook_url": None}).json()
            assert without["webhook_url"] is None

    def test_with_a_url_is_refused_without_webhook_secret_or_to_a_private_address(self, ask: Caller) -> None:
        answer = ask("POST", TASKS, BODY | {"webhook_url": "https://example.com/"})
        assert (answer.status_code, answer.json()["code"]) == (409, "webhooks_off")
        with settings({"WEBHOOK_SECRET": SECRET}):
            answer = ask("POST", TASKS, BODY | {"webhook_url": "http://169.254.169.254/"})
            assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["body", "webhook_url"])


class TestDeliveries:
    def test_of_a_test_are_listed_repeated_and_recovered(self, ask: Caller) -> None:
        made = ask.create()
        one = HOOKS + made["id"]
        sent = [ask("POST", f"{one}/test") for _ in range(3)]
        assert [each.status_code for each in sent] == [202] * 3
        page = ask("GET", f"{one}/deliveries?limit=2")
        assert [each["id"] for each in page.json()] == [each.json()["id"] for each in reversed(sent[1:])]
        rest = ask("GET", page.links["next"]["url"])
        assert [each["id"] for each in rest.json()] == [sent[0].json()["id"]]
        assert rest.json()[0] | {"type": "webhook.test", "state": "pending", "attempts": []} == rest.json()[0]
        ask("PATCH", one, {"enabled": False})
        for path, body in (("test", None), ("recover", {"since": "2020-01-01T00:00:00Z"})):
            answer = ask("POST", f"{one}/{path}", body)
            assert (answer.status_code, answer.json()["code"]) == (409, "webhook_disabled")
        ask("PATCH", one, {"enabled": True})
        with SessionLocal() as db:
            work_off(db)
        assert {each["state"] for each in ask("GET", f"{one}/deliveries").json()} == {"dropped"}
        again = ask("POST", f"{one}/deliveries/{sent[0].json()['id']}/redeliver")
        assert (again.status_code, again.json()["state"]) == (202, "pending")
        answer = ask("POST", f"{one}/recover", {"since": "0001-01-01T00:00:00Z"})
        assert (answer.status_code, answer.json()) == (202, {"count": 2})
        nowhere = ask("POST", f"{one}/deliveries/{uuid4()}/redeliver")
        assert (nowhere.status_code, nowhere.json()["code"]) == (404, "delivery_not_found")

    def test_of_another_users_task_are_not_there(self, ask: Caller, shared: TestClient) -> None:
        task = ask("POST", TASKS, BODY).json()
        assert ask("GET", f"{TASKS}{task['id']}/deliveries").json() == []
        answer = Caller(shared, new_token())("GET", f"{TASKS}{task['id']}/deliveries")
        assert (answer.status_code, answer.json()["code"]) == (404, "task_not_found")

    def test_count_in_the_quota_of_bytes(self, ask: Caller) -> None:
        made = ask.create()
        ask("POST", f"{HOOKS}{made['id']}/test")
        with SessionLocal.begin() as db:
            db.query(WebhookDelivery).filter(WebhookDelivery.endpoint_id == made["id"]).update({"bytes": 10**9})
        with settings({"QUOTA_STORED_BYTES": str(10**9)}):
            answer = ask("POST", TASKS, BODY)
            assert (answer.status_code, answer.json()["code"]) == (429, "stored_bytes_quota")
        assert get_settings().quota_stored_bytes != 10**9


class TestByRealProcesses:
    @pytest.fixture
    def web(self) -> Iterator[Web]:
        with web_server() as started:
            started.answer |= {"/all": reply(204), "/one": reply(200, b"thanks")}
            yield started

    def test_the_end_of_a_task_reaches_its_endpoint_and_its_url(self, running: Running, web: Web) -> None:
        wanted = {"url": web.url("/all"), "events": ["task.succeeded"]}
        made = running.http.post(HOOKS, headers=bearer(running.token), json=wanted).json()
        task = running.run("app.tasks.common_tasks.long_running_task", 0, webhook_url=web.url("/one"))
        wait_for(lambda: len(web.seen) == 2, 30, "both deliveries")
        by_path = {seen.path: seen for seen in web.seen}
        body = Webhook(made["secret"]).verify(by_path["/all"].body, by_path["/all"].headers)
        assert (body["type"], body["data"]) == ("task.succeeded", task)
        assert by_path["/all"].headers["webhook-id"] == by_path["/one"].headers["webhook-id"]
        assert json.loads(by_path["/one"].body) == body
        wait_for(lambda: _states(running, task["id"]) == ["delivered"] * 2, 10, "both outcomes")


def _states(running: Running, task_id: str) -> list[str]:
    found = running.http.get(f"{TASKS}{task_id}/deliveries", headers=bearer(running.token)).json()
    return [each["state"] for each in found]
