"""Secrets on real processes: whatever a body does with them, they stand in the database and nowhere else."""

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import text

from tests.support.databases import ENGINE
from tests.support.running import Running, fresh_connections, started
from tests.support.services import Services
from tests.support.settings import settings
from tests.support.stack import Stack
from tests.support.tasks import LONG_RUNNING
from tests.support.waiting import wait_for

SECRET = "gx7!Kq'vé\"2026-hunter2"
OTHER = "zebra-9931-in-the-config"
TASKS = "/api/v1/tasks/"
FORMS = (SECRET, OTHER, "hunter2", "zebra-9931", json.dumps(SECRET)[1:-1], repr(SECRET)[1:-1])


def leaks(text: str) -> list[str]:
    return [form for form in FORMS if form in text]


@pytest.fixture(scope="module", params=["text", "json"])
def running(request: pytest.FixtureRequest, services: Services, tmp_path_factory: Any) -> Iterator[Running]:
    """API, worker (with events) and beat, their logs in one of the two forms."""
    modules = '["tests.support.leaky_tasks"]'
    directory = tmp_path_factory.mktemp(f"leaks-{request.param}")
    with Stack(services, directory, TASK_MODULES=modules, LOG_FORMAT=request.param) as stack:
        stack.worker(concurrency=1, options=["-E"])
        stack.beat()
        yield Running(stack)


@pytest.fixture
def failed(running: Running, ledger: Path) -> dict[str, Any]:
    task_id = running.create(
        "tell",
        SECRET,
        str(ledger),
        kwargs={"config": {"db": {"apiKey": OTHER}}, "auth_token": OTHER, "max_tokens": 512},
        metadata={"password": OTHER, "order": 17},
    )
    return running.ended(task_id)


def read_logs(stack: Stack) -> dict[str, str]:
    """Of the parts, and of the servers that they use."""
    running = (stack.services.postgres, stack.services.valkey) if ENGINE == "postgresql" else (stack.services.valkey,)
    servers = {each.program: each.log.read_text(encoding="utf-8") for each in running}
    return {part.name: part.output() for part in stack.parts} | servers


@pytest.mark.postgresql("another driver, another log")
class TestAStoppedStatement:
    """psycopg2 puts the values into the statement, which PostgreSQL would log with its error."""

    def test_of_a_new_task_leaves_no_value_in_a_log(self, services: Services, tmp_path: Path) -> None:
        with Stack(services, tmp_path, DATABASE_STATEMENT_TIMEOUT_SECONDS="3") as stack:
            running = Running(stack)
            assert running.http.get(TASKS).status_code == 200
            body = {"name": "n", "task_type": "t", "celery_task_name": LONG_RUNNING, "args": [0]}
            with stack.engine.begin() as holder:
                holder.execute(text("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE"))
                answer = running.http.post(TASKS, json=body | {"kwargs": {"password": SECRET, "api_key": OTHER}})
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            assert "canceling statement due to statement timeout" in stack.server().output()
            assert "the database's log may hold" not in stack.server().output()
            for name, log in read_logs(stack).items():
                assert leaks(log) == [], name


class TestAFailedTask:
    def test_its_body_ran_with_the_real_values_and_the_row_keeps_them(
        self, running: Running, failed: dict[str, Any], ledger: Path
    ) -> None:
        assert ledger.read_text() == f"{SECRET}\n"
        ((args, kwargs, metadata),) = running.stack.sql(
            "SELECT args, kwargs, metadata FROM tasks WHERE id = :id", id=failed["id"]
        )
        assert json.loads(args)[0] == SECRET
        assert json.loads(kwargs)["auth_token"] == OTHER
        assert (json.loads(metadata) if isinstance(metadata, str) else metadata) == {"password": OTHER, "order": 17}

    def test_every_answer_hides_them(self, running: Running, failed: dict[str, Any]) -> None:
        one = TASKS + failed["id"]
        http = running.http
        answers = [
            http.get(one),
            http.get(TASKS),
            http.patch(one, json={"name": "another"}),
            http.get(f"{one}/attempts"),
            http.post(f"{one}/cancel"),
            http.post(f"{one}/retry"),
            running.stack.api(role="admin").get(TASKS, params={"user_id": "all"}),
        ]
        running.ended(failed["id"])
        for answer in answers:
            assert leaks(answer.text) == [], answer.request.url
        shown = answers[0].json()
        assert shown["args"][0] == "***"
        assert shown["kwargs"] == {"config": {"db": {"apiKey": "***"}}, "auth_token": "***", "max_tokens": 512}
        assert shown["metadata"] == {"password": "***", "order": 17}
        assert shown["error"]["message"].startswith("cannot log in with ***")
        assert "ValueError: cannot log in with ***" in answers[3].json()[0]["traceback"]

    def test_no_log_holds_them(self, running: Running, failed: dict[str, Any]) -> None:
        running.http.get(TASKS, params={"access_token": SECRET, "tag": "plain"})
        worker, server = running.stack.parts[0], running.stack.server()
        wait_for(lambda: "access_token=***" in server.output(), 20, "the access line, which follows the answer")
        wait_for(lambda: failed["celery_id"] + "] raised unexpected" in worker.output(), 20, "Celery's own report")
        for name, log in read_logs(running.stack).items():
            assert leaks(log) == [], name
        assert "printed ***" in worker.output()
        assert "from a thread: '***'" in worker.output()

    @pytest.mark.postgresql("no other quotes a row that it refuses")
    def test_a_refused_row_is_not_quoted(self, running: Running) -> None:
        ended = running.run("refused_by_the_database", SECRET)
        attempt = running.attempts(ended["id"])[0]
        assert "ck_tasks_progress" in attempt["error_message"]
        assert leaks(json.dumps([ended, attempt])) == []
        assert "Failing row contains (***)" in attempt["error_message"]
        assert leaks(running.stack.parts[0].output()) == []


class TestLines:
    def test_none_is_forged(self, running: Running, failed: dict[str, Any]) -> None:
        for name, log in read_logs(running.stack).items():
            assert "\x1b[31m" not in log, name
            assert "\u2028" not in log, name
            assert not [line for line in log.splitlines() if line.startswith(("[2026-01-01", "forged"))], name

    def test_are_json_objects_where_that_is_wanted(self, running: Running, failed: dict[str, Any]) -> None:
        if running.stack.settings["LOG_FORMAT"] != "json":
            pytest.skip("the other form")
        worker = running.stack.parts[0]
        wait_for(lambda: failed["celery_id"] + "] raised unexpected" in worker.output(), 20, "Celery's own report")
        events = {part.name: _events(part.name, part.output()) for part in running.stack.parts}
        for name, found in events.items():
            assert found, name
            for event in found:
                assert event.keys() >= {"timestamp", "level", "logger", "message", "pid"}, name
                assert event["timestamp"].endswith("Z")
        lines = [each for name, found in events.items() if name.startswith("worker") for each in found]
        mine = [each for each in lines if each.get("task_id") == failed["id"]]
        assert {"tests.support.leaky_tasks", "celery.redirected", "celery.app.trace"} <= {e["logger"] for e in mine}
        (report,) = [each for each in mine if each["logger"] == "celery.app.trace" and each["attempt"] == 1]
        assert "Traceback" in report["exception"]
        api = [each for name, found in events.items() if name.startswith("api") for each in found]
        assert {"uvicorn.error", "uvicorn.access"} <= {each["logger"] for each in api}
        assert all(each["request_id"] for each in api if each["logger"] == "uvicorn.access")


def _events(name: str, log: str) -> list[dict[str, Any]]:
    lines = log.splitlines()
    if name.startswith("beat"):  # its greeting comes before the logging is set up
        lines = [line for line in lines if line.startswith("{")]
    assert [line for line in lines if not line.startswith("{")] == [], name
    return [json.loads(line) for line in lines]


class TestCelery:
    def test_a_result_is_hidden_in_answers_and_lines(self, running: Running, ledger: Path) -> None:
        ended = running.run("answer_secrets", str(ledger), kwargs={"token": SECRET})
        assert ended["result"] == {
            "token": "***", "list": [{"name": "Authorization", "value": "***"}], "max_tokens": 512
        }  # fmt: skip
        ((result,),) = running.stack.sql("SELECT result FROM tasks WHERE id = :id", id=ended["id"])
        assert json.loads(result)["token"] == SECRET
        worker = running.stack.parts[0]
        wait_for(lambda: ended["celery_id"] + "] succeeded" in worker.output(), 20, "Celery's own report")
        assert leaks(worker.output()) == []

    def test_events_and_inspection_show_no_argument_of_a_plain_call(
        self, running: Running, ledger: Path, gate: Path
    ) -> None:
        with settings(running.stack.settings), fresh_connections():
            from app.celery_app import celery_app
            from tests.support.leaky_tasks import hold_secret, tell

            seen: list[dict[str, Any]] = []
            with celery_app.connection_for_read() as connection:
                receiver = celery_app.events.Receiver(connection, handlers={"*": seen.append})
                over = threading.Event()
                listening = threading.Thread(target=_capture, args=(receiver, over))
                with redis.Redis.from_url(running.stack.broker_url) as broker:
                    before = broker.pubsub_numpat()
                    listening.start()
                    wait_for(lambda: broker.pubsub_numpat() > before, 20, "the subscription")
                hold_secret.delay(str(gate), str(ledger), password=SECRET)
                tell.delay(SECRET, str(ledger), auth_token=OTHER)
                started(ledger)
                told = celery_app.control.inspect(timeout=5, limit=1)
                active, reserved = told.active(), told.reserved()
                gate.touch()
                started(ledger, 2)
                ends = {"task-succeeded", "task-failed"}
                wait_for(lambda: ends <= {each["type"] for each in seen}, 40, "the last events")
                over.set()
                listening.join(20)
        assert active
        assert "'password': '***'" in str(active)
        assert leaks(str(active) + str(reserved)) == []
        types = {each["type"] for each in seen}
        assert {"task-received", "task-started", "task-succeeded", "task-failed"} <= types
        assert [f"{name}: {value}" for each in seen for name, value in each.items() if leaks(str(value))] == []
        assert leaks(running.stack.parts[0].output()) == []


def _capture(receiver: Any, over: threading.Event) -> None:
    while not over.is_set():
        with contextlib.suppress(TimeoutError):
            receiver.capture(limit=None, timeout=1, wakeup=False)
