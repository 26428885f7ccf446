"""Tasks that act on the outside: who may create them, whom they may reach, and how often in a day."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.db.session import SessionLocal
from app.models import DailyCount
from app.services.execution import daily_limits
from app.services.task_service import task_service
from tests.support.accounts import MakeUser
from tests.support.retention import forget
from tests.support.running import Running, example_stack
from tests.support.services import Services
from tests.support.settings import settings
from tests.support.task_client import TaskClient, module_client, task_client
from tests.unit.outbound.web_server import Web, reply, web_server
from tests.unit.tasks.smtp_server import Mailbox, smtp_server

MAIL = "app.tasks.high_priority_tasks.send_email"
FETCH = "app.tasks.common_tasks.fetch_url"
WEBHOOK = "app.tasks.high_priority_tasks.send_webhook"
CONFIGURED = {"SMTP_HOST": "127.0.0.1", "MAIL_DOMAINS": "example.org,*.example.net"}
A_DAY = 3

client = module_client()


def mail(to: Any = "ann@example.org") -> dict[str, Any]:
    return {"celery_task_name": MAIL, "args": [], "kwargs": {"to": to, "subject": "Hi", "body": "text"}}


def names(tasks: TaskClient) -> set[str]:
    return {kind["celery_task_name"] for kind in tasks.get("types").json()}


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def create(tasks: TaskClient, **fields: Any) -> httpx.Response:
    return tasks.post(body={"name": "x", "task_type": "x", **fields})


@pytest.fixture
def boss(client: httpx.Client, make_user: MakeUser) -> TaskClient:
    return task_client(client, make_user, "admin")


class TestMails:
    @pytest.mark.parametrize(
        "missing", [{}, {"SMTP_HOST": "127.0.0.1"}, {"MAIL_DOMAINS": "*"}], ids=["both", "domains", "host"]
    )
    def test_cannot_be_created_before_host_and_domains_are_set(self, boss: TaskClient, missing: dict[str, str]) -> None:
        with settings(missing):
            assert MAIL not in names(boss)
            assert refused(create(boss, **mail())) == (422, "unknown_task")
            batch = boss.post("batch", {"tasks": [{"name": "x", "task_type": "x", **mail()}]})
            assert batch.json()["errors"][0]["loc"] == ["body", "tasks", 0, "celery_task_name"]

    def test_are_the_administrators_unless_the_setting_names_others(self, tasks: TaskClient, boss: TaskClient) -> None:
        with settings(CONFIGURED):
            assert (MAIL in names(boss), MAIL in names(tasks)) == (True, False)
            assert create(boss, **mail()).status_code == 201
            assert refused(create(tasks, **mail())) == (403, "task_not_allowed")
        for users, allowed in [(tasks.user["id"], True), ("role:user", True), ("*", True), (boss.user["id"], False)]:
            with settings({**CONFIGURED, "MAIL_USERS": users}):
                assert (create(tasks, **mail()).status_code == 201, MAIL in names(tasks)) == (allowed, allowed)

    def test_are_refused_on_every_way_to_a_task(self, tasks: TaskClient) -> None:
        with settings(CONFIGURED):
            fields = {"name": "x", "task_type": "x", **mail()}
            ways = [
                tasks.post(body=fields),  # the fast path
                tasks.post(body=fields, headers={"Idempotency-Key": "a"}),
                tasks.post("batch", {"tasks": [fields]}),
            ]
            with SessionLocal() as db:  # trusted code made it; its owner may not run it again
                task, _ = task_service.create_task(
                    db, name="x", task_type="x", celery_task_name=MAIL, kwargs=mail()["kwargs"],
                    user_id=tasks.user["id"],
                )  # fmt: skip
            tasks.post(f"{task.id}/cancel")
            ways.append(tasks.post(f"{task.id}/retry"))
            assert {refused(answer) for answer in ways} == {(403, "task_not_allowed")}

    @pytest.mark.parametrize(
        ("to", "accepted"),
        [
            ("ann@example.org", True),
            ("ann@EXAMPLE.org", True),
            ("ann@mail.example.net", True),
            ("ann@example.net", False),
            ("ann@example.org.evil.example", False),
            ("ann@sub.example.org", False),
            (["ann@example.org", "eve@elsewhere.example"], False),
            ("ann", False),
        ],
    )
    def test_reach_only_the_named_domains(self, boss: TaskClient, to: Any, accepted: bool) -> None:
        with settings(CONFIGURED):
            answer = create(boss, **mail(to))
        if accepted:
            assert answer.status_code == 201, answer.text
        else:
            assert refused(answer) == (422, "invalid_arguments")
            assert answer.json()["errors"][0]["loc"] == ["body", "kwargs", "to"]
            assert "elsewhere" not in answer.text


class TestRequests:
    @pytest.mark.parametrize(
        "fields",
        [
            {"celery_task_name": FETCH, "args": ["https://example.com/"]},
            {"celery_task_name": WEBHOOK, "args": ["https://example.com/", "a.b", {}]},
        ],
        ids=["fetch_url", "send_webhook"],
    )
    def test_may_be_kept_for_some_users(self, tasks: TaskClient, boss: TaskClient, fields: dict[str, Any]) -> None:
        assert create(tasks, **fields).status_code == 201
        with settings({"OUTBOUND_USERS": "role:admin"}):
            assert refused(create(tasks, **fields)) == (403, "task_not_allowed")
            assert create(boss, **fields).status_code == 201


class TestADay:
    """What a user's tasks have done today is counted in the database; each attempt counts."""

    @pytest.fixture(scope="class")
    @classmethod
    def mailbox(cls) -> Iterator[Mailbox]:
        box = Mailbox()
        with smtp_server(box):
            yield box

    @pytest.fixture(scope="class")
    @classmethod
    def running(
        cls, services: Services, tmp_path_factory: pytest.TempPathFactory, mailbox: Mailbox
    ) -> Iterator[Running]:
        variables = {
            "SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(mailbox.port), "MAIL_DOMAINS": "*", "MAIL_USERS": "*",
            "MAIL_RECIPIENTS_PER_DAY": str(A_DAY), "OUTBOUND_REQUESTS_PER_DAY": str(A_DAY),
            "OUTBOUND_ALLOW": "127.0.0.0/8",
        }  # fmt: skip
        with example_stack(services, tmp_path_factory.mktemp("outside"), **variables) as started:
            started.stack.server()
            started.stack.worker()
            yield started

    def test_more_recipients_than_the_limit_get_no_mail(self, running: Running, mailbox: Mailbox) -> None:
        ended = [running.run(MAIL, to, "Hi", "text") for to in (["a@b.example", "b@b.example"], "c@b.example")]
        assert [task["status"] for task in ended] == ["succeeded"] * 2
        late = running.run(MAIL, "d@b.example", "Hi", "text", max_attempts=5, retry_backoff_seconds=0)
        assert (late["status"], late["error"]["type"], late["attempt"]) == ("failed", "app.errors.DailyLimitReached", 1)
        assert "3 recipients of mails a day" in late["error"]["message"]
        assert len(mailbox.envelopes) == len(ended)

    def test_each_attempt_of_a_request_counts(self, running: Running) -> None:
        with web_server() as web:
            web.answer["/"] = reply(503)
            failed = running.run(FETCH, web.url(), max_attempts=9, retry_backoff_seconds=0)
            assert failed["error"]["type"] == "app.errors.DailyLimitReached"
            assert (failed["attempt"], len(web.seen)) == (A_DAY + 1, A_DAY)
            self._others_go_on(running, web)

    @staticmethod
    def _others_go_on(running: Running, web: Web) -> None:
        web.answer["/"] = reply(body=b"yes")
        other = running.stack.api(running.stack.make_user()[1])
        body = {"name": "x", "task_type": "x", "celery_task_name": FETCH, "args": [web.url()]}
        task_id = other.post("/api/v1/tasks/", json=body).json()["id"]
        assert other.get(f"/api/v1/tasks/{task_id}", params={"wait": 30}).json()["status"] == "succeeded"

    def test_the_next_day_begins_anew_and_old_counts_are_deleted(self, tasks: TaskClient) -> None:
        task_id = tasks.create()["id"]
        with SessionLocal() as db:
            daily_limits.count(db, task_id, "tests", A_DAY, A_DAY)
            db.execute(text("UPDATE daily_counts SET day = day - 1"))
            daily_limits.count(db, task_id, "tests", A_DAY, A_DAY)
            db.commit()
            assert forget(db, "daily_counts") == 1
            assert [each.used for each in db.query(DailyCount)] == [A_DAY]
