"""What bodies log, through real processes: lines by attempt, live, redacted, within bounds."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from app.launcher.postgres import EmbeddedPostgres
from app.live import watcher
from tests.support.bounds import bounded
from tests.support.databases import ENGINE
from tests.support.event_reader import EventReader
from tests.support.running import TASKS, Running, example_stack
from tests.support.services import Services
from tests.support.shared import LATER, Person, module_running
from tests.support.waiting import wait_for

QUICK = bounded({watcher: {"POLL_SECONDS": 1}})
MODULES = '["tests.support.logging_tasks"]'
LOG_BYTES = 64 * 1024
TEXT = "::text" if ENGINE == "postgresql" else ""  # as which the others store lists and objects
running = module_running(TASK_MODULES=MODULES, TASK_LOG_BYTES=str(LOG_BYTES), **QUICK)


def lines(running: Running, task_id: str, **query: Any) -> list[dict[str, Any]]:
    answer = running.http.get(f"{TASKS}{task_id}/logs", params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json())


def messages(running: Running, task_id: str, **query: Any) -> list[str]:
    return [line["message"] for line in lines(running, task_id, **query)]


def follow(running: Running, task_id: str, last_id: str | None = None, query: str = "") -> EventReader:
    return EventReader(running.stack.url, f"{TASKS}{task_id}/logs?follow=true{query}", running.token, last_id)


def counts_exactly(running: Running, task_id: str) -> bool:
    """The bytes of the lines are those that quotas and retention count with the task."""
    ((attached, others, of_lines),) = running.stack.sql(
        f"""
        SELECT attached_bytes, octet_length(name) + octet_length(tags{TEXT}) + octet_length(metadata{TEXT}),
            (SELECT coalesce(sum(128 + octet_length(logger) + octet_length(message) + octet_length(fields)), 0)
             FROM task_logs WHERE task_id = tasks.id)
        FROM tasks WHERE id = :id
        """,
        id=task_id,
    )
    assert of_lines
    return bool(0 <= attached - of_lines <= others)


class TestWhatIsKept:
    def test_is_what_was_logged_by_any_library_or_printed(self, running: Running) -> None:
        task = running.run("log_everything", kwargs={"password": "hunter2hunter2"})
        found = lines(running, task["id"])
        me = "tests.support.logging_tasks"
        assert [(line["logger"], line["level"], line["message"].partition("\n")[0]) for line in found] == [
            (me, "INFO", "rows: 100"),
            (me, "INFO", "from celery's logger"),
            ("tests.alone", "WARNING", "from a logger alone, ***"),
            ("stdout", "INFO", "printed in parts"),
            ("stderr", "WARNING", "to stderr"),
            ("stdout", "INFO", "two"),
            (me, "ERROR", "failed"),
            ("stdout", "INFO", "lines and no end"),
        ]
        assert found[0]["fields"] == {"rows": 100, "password": "***"}
        assert all(line["fields"] == {} for line in found[1:])
        assert found[6]["message"].endswith("ValueError: caught")
        assert [line["seq"] for line in found] == sorted(line["seq"] for line in found)
        assert {line["attempt"] for line in found} == {1}
        assert counts_exactly(running, task["id"])
        # The worker's log has each line once, whatever the pieces were that it was printed in.
        log = running.worker.output()
        for text in (" printed in parts [task", " two [task", " lines and no end [task", ": rows: 100 [task"):
            assert log.count(f"{text} {task['id']}]") == 1

    def test_in_threads_is_the_bodys_too(self, running: Running) -> None:
        task = running.run("log_in_threads")
        assert sorted(messages(running, task["id"])) == ["executor", "task 1", "task 2", "thread", "to_thread"]

    def test_is_kept_by_attempt_with_the_last_line_before_the_failure(self, running: Running) -> None:
        task = running.run("log_and_fail")
        assert task["status"] == "failed"
        assert messages(running, task["id"]) == ["failure 0", "failure 1"]
        assert [line["attempt"] for line in lines(running, task["id"])] == [1, 2]
        assert messages(running, task["id"], attempt=2) == ["failure 1"]
        running.post(task["id"], "retry")
        wait_for(lambda: messages(running, task["id"], attempt=4), 30, "the lines of the retry")
        assert messages(running, task["id"]) == ["failure 0", "failure 1"] * 2

    def test_is_the_newest_within_the_limit(self, running: Running) -> None:
        # Slow enough for the writer: a body that outruns it loses lines of the middle, and the first ones stay.
        task = running.run("log_many", 3000, 40, 0.05)
        found = lines(running, task["id"], limit=1)
        ((number, newest, size),) = running.stack.sql(
            """
            SELECT count(*), max(seq), sum(128 + octet_length(logger) + octet_length(message) + octet_length(fields))
            FROM task_logs WHERE task_id = :id
            """,
            id=task["id"],
        )
        assert LOG_BYTES / 2 < size <= LOG_BYTES
        assert found[0]["seq"] > (1 << 32) + 1
        assert messages(running, task["id"], after=newest - 1)[0].startswith("2999 ")
        assert number < 3000
        assert counts_exactly(running, task["id"])

    def test_stays_where_the_process_is_killed(self, running: Running, gate: Path) -> None:
        task_id = running.create("log_and_die", str(gate))
        wait_for(lambda: lines(running, task_id), 30, "the line")
        gate.touch()
        assert running.ended(task_id)["error"]["type"] == "worker_lost"
        assert messages(running, task_id) == ["the last words"]

    def test_is_there_before_a_body_ends_its_own_attempt(self, running: Running, gate: Path) -> None:
        task_id = running.create("log_and_end_itself", str(gate))
        running.ended(task_id)
        assert messages(running, task_id) == ["before its end"]

    def test_comes_behind_its_end_where_the_body_has_locked_its_row(self, running: Running) -> None:
        task_id = running.create("log_and_end_behind_a_lock")
        assert running.ended(task_id)["status"] == "succeeded"
        wait_for(lambda: messages(running, task_id) == ["before its end"], 30, "the line")

    def test_is_deleted_with_the_task(self, running: Running) -> None:
        task = running.run("log_in_threads")
        assert running.http.delete(TASKS + task["id"]).status_code == 204
        assert running.stack.sql("SELECT count(*) FROM task_logs WHERE task_id = :id", id=task["id"])[0][0] == 0


class TestFollowing:
    def test_shows_lines_as_they_come_and_ends_with_the_task(self, running: Running, gate: Path) -> None:
        task_id = running.create("log_before_and_behind", str(gate))
        with follow(running, task_id) as events:
            events.until(lambda each: each.events, "the first line")
            gate.touch()
            sent = events.await_end()
            assert running.status(task_id) == "succeeded"
        assert [event.task for event in sent] == lines(running, task_id)
        assert [(event.kind, event.task["message"]) for event in sent] == [("log", "before"), ("log", "behind")]
        assert [event.id for event in sent] == [str(event.task["seq"]) for event in sent]
        with follow(running, task_id, sent[0].id) as again:
            assert [event.task["message"] for event in again.await_end()] == ["behind"]
        with follow(running, task_id, sent[1].id) as over:
            over.await_end()
            assert (over.status, over.body) == (204, b"")
        with follow(running, task_id, query="&level=warning") as filtered:
            assert [event.task["message"] for event in filtered.await_end()] == ["behind"]

    def test_ends_after_the_last_line_of_a_failure(self, running: Running, gate: Path) -> None:
        task_id = running.create("log_before_and_behind", str(gate), kwargs={"fail": True})
        with follow(running, task_id) as events:
            gate.touch()
            assert [event.task["message"] for event in events.await_end()] == ["before", "behind"]

    def test_ends_as_the_task_is_deleted_and_as_the_login_ends(self, running: Running) -> None:
        task_id = running.create("log_in_threads", delay_seconds=3600)
        with follow(running, task_id) as events:
            running.http.delete(TASKS + task_id, params={"force": True})
            assert events.await_end() == []
        with follow(running, task_id) as gone:
            gone.await_end()
            assert gone.status == 404
        person = Person(running.stack)
        task_id = person.create(**LATER)
        with EventReader(running.stack.url, f"{TASKS}{task_id}/logs?follow=true", person.token) as events:
            person.http.post("/api/v1/auth/logout")
            assert events.await_end() == []


@pytest.mark.skipif(ENGINE == "sqlite", reason="there is no server")
def test_a_body_logs_on_while_the_database_is_down(own_services: Services, tmp_path: Path, gate: Path) -> None:
    with example_stack(own_services, tmp_path, TASK_MODULES=MODULES) as running:
        worker = running.stack.worker(concurrency=1)
        task_id = running.create("log_before_and_behind", str(gate))
        wait_for(lambda: lines(running, task_id), 30, "the first line")
        server = own_services.database
        if isinstance(server, EmbeddedPostgres):
            os.kill(server.pid, signal.SIGQUIT)
            assert server.process.wait(30) is not None
        else:
            server.kill()
        gate.touch()
        wait_for(gate.with_name(f"{gate.name}-behind").exists, 30, "the body to go on")
        wait_for(lambda: "database not reachable" in worker.output(), 30, "its end to wait")
        server.start()
        assert running.ended(task_id)["status"] == "succeeded"
        assert messages(running, task_id) == ["before", "behind"]
