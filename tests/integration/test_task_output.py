"""What bodies emit, through real processes: all of it, in order, live, by attempt, within bounds."""

import json
from pathlib import Path
from typing import Any

import httpx

from app.live import watcher
from tests.support.bounds import bounded
from tests.support.emitting_tasks import TOKENS
from tests.support.event_reader import EventReader
from tests.support.running import TASKS, Running
from tests.support.shared import LATER, Person, module_running
from tests.support.waiting import wait_for

LIMIT = 1024 * 1024
SEQ = 1 << 32
running = module_running(
    TASK_MODULES='["tests.support.emitting_tasks"]',
    TASK_OUTPUT_BYTES=str(LIMIT),
    **bounded({watcher: {"POLL_SECONDS": 1}}),
)


def output(running: Running, task_id: str, **query: Any) -> list[dict[str, Any]]:
    """All of it, page after page."""
    found, after = [], 0
    while True:
        answer = running.http.get(f"{TASKS}{task_id}/output", params={"after": after} | query)
        assert answer.status_code == 200, answer.text
        found += answer.json()
        if "next" not in answer.links:
            return found
        after = found[-1]["seq"]


def chunks(running: Running, task_id: str, stream: str | None = None) -> list[Any]:
    return [each["chunk"] for each in output(running, task_id, **({} if stream is None else {"stream": stream}))]


def follow(running: Running, task_id: str, last_id: str | None = None, query: str = "") -> EventReader:
    return EventReader(running.stack.url, f"{TASKS}{task_id}/output?follow=true{query}", running.token, last_id)


def told(events: list[Any]) -> list[Any]:
    """The chunks, and the attempts of resets."""
    return [event.task["chunk"] if event.kind == "output" else event.task for event in events]


def counts_exactly(running: Running, task_id: str) -> bool:
    """The bytes of the rows are those that quotas and retention count with the task; they say what is stored."""
    ((counted, stored, attached),) = running.stack.sql(
        """
        SELECT sum(bytes), sum(128 + octet_length(stream) + octet_length(chunk)),
            (SELECT attached_bytes FROM tasks WHERE id = :id)
        FROM task_output WHERE task_id = :id
        """,
        id=task_id,
    )
    return bool(0 < counted == stored <= attached < counted + 500)


class TestAllOfIt:
    def test_is_there_in_order_as_the_task_ends(self, running: Running) -> None:
        task = running.run("emit_everything")
        found = output(running, task["id"])
        assert [each["seq"] for each in found] == sorted({each["seq"] for each in found})
        assert all(each["attempt"] == 1 and each["seq"] >> 32 == 1 for each in found)
        texts = [each for each in found if each["stream"] == "output"]
        assert "".join(each["chunk"] for each in texts) == "".join(TOKENS) + "x" * 100_000 + "ü"
        assert len(texts) < 30
        assert chunks(running, task["id"], "rows") == [{"rows": [1, 2.5, None, "ü\0"]}, None]
        assert chunks(running, task["id"], "stderr") == ["line 1\n"]
        assert chunks(running, task["id"], "none") == []
        assert counts_exactly(running, task["id"])

    def test_while_it_is_written_and_read(self, running: Running) -> None:
        task_id = running.create("emit_for_a_while")
        with follow(running, task_id) as events:
            sent = events.await_end()
        number = running.ended(task_id)["result"]
        assert told(sent) == chunks(running, task_id) == [*range(number)]
        assert counts_exactly(running, task_id)

    def test_of_threads_and_of_asyncio(self, running: Running) -> None:
        task = running.run("emit_in_threads")
        for name in range(4):
            assert chunks(running, task["id"], f"thread {name}") == [*range(50)]
        task = running.run("emit_in_async")
        assert [chunks(running, task["id"], name) for name in "abc"] == [[*range(10)], [*range(10)], ["c"]]

    def test_of_a_body_that_ends_its_own_attempt(self, running: Running) -> None:
        task = running.run("emit_and_end_itself")
        assert task["status"] == "succeeded"
        wait_for(lambda: chunks(running, task["id"]), 30, "the output")
        assert chunks(running, task["id"]) == ["before its end"]

    def test_of_a_body_that_emits_nothing_is_nothing(self, running: Running) -> None:
        task_id = running.create("emit_in_threads", **LATER)
        assert output(running, task_id) == []


class TestAttempts:
    def test_each_keeps_its_own_and_a_retry_keeps_them_all(self, running: Running) -> None:
        task = running.run("emit_and_fail")
        assert task["status"] == "failed"
        assert [(each["attempt"], each["chunk"]) for each in output(running, task["id"])] == [
            (1, "attempt 0"),
            (2, "attempt 1"),
        ]
        running.post(task["id"], "retry")
        wait_for(lambda: len(chunks(running, task["id"])) == 4, 30, "the output of the retry")
        assert [each["seq"] for each in output(running, task["id"])] == [number * SEQ + 1 for number in range(1, 5)]

    def test_a_cancelled_one(self, running: Running) -> None:
        task_id = running.create("emit_until_cancelled")
        wait_for(lambda: running.get(task_id)["status"] == "running", 30, "it to run")
        wait_for(lambda: chunks(running, task_id), 30, "the output")
        running.post(task_id, "cancel")
        assert running.ended(task_id)["status"] == "revoked"
        assert chunks(running, task_id) == ["the last words"]

    def test_one_whose_process_is_killed(self, running: Running, gate: Path) -> None:
        task_id = running.create("emit_and_die", str(gate))
        wait_for(lambda: chunks(running, task_id), 30, "the output")
        with follow(running, task_id) as events:
            events.until(lambda each: each.events, "the first chunk")
            gate.touch()
            sent = events.await_end()
        assert running.ended(task_id)["status"] == "succeeded"
        assert told(sent) == ["the last words", {"attempt": 2}, "and again"]
        assert [(each["attempt"], each["chunk"]) for each in output(running, task_id)] == [
            (1, "the last words"),
            (2, "and again"),
        ]


class TestFollowing:
    def test_shows_chunks_as_they_come_and_ends_with_the_task(self, running: Running, gate: Path) -> None:
        task_id = running.create("emit_before_and_behind", str(gate))
        with follow(running, task_id) as events:
            events.until(lambda each: each.events, "the first chunk")
            gate.touch()
            sent = events.await_end()
            assert running.status(task_id) == "succeeded"
        assert [event.task for event in sent] == output(running, task_id)
        assert [(event.kind, event.task["chunk"]) for event in sent] == [("output", "before"), ("output", "behind")]
        assert [event.id for event in sent] == [str(event.task["seq"]) for event in sent]
        with follow(running, task_id, sent[0].id) as again:
            assert told(again.await_end()) == ["behind"]
        with follow(running, task_id, query=f"&after={sent[0].id}") as again:
            assert told(again.await_end()) == ["behind"]
        with follow(running, task_id, sent[1].id) as over:
            over.await_end()
            assert (over.status, over.body) == (204, b"")
        with follow(running, task_id, query="&stream=late") as filtered:
            assert told(filtered.await_end()) == ["behind"]

    def test_a_new_attempt_resets_before_it_emits(self, running: Running, gate: Path) -> None:
        task_id = running.create("emit_and_fail", str(gate))
        with follow(running, task_id) as events:
            sent = events.until(lambda each: len(each.events) == 2, "the reset").events
            assert told(sent) == ["attempt 0", {"attempt": 2}]
            assert sent[1].id == str(2 * SEQ)
            gate.touch()
            assert told(events.await_end()) == ["attempt 0", {"attempt": 2}, "attempt 1"]
        with follow(running, task_id, str(2 * SEQ)) as again:
            assert told(again.await_end()) == ["attempt 1"]
        with follow(running, task_id, str(SEQ + 1)) as again:
            assert told(again.await_end()) == [{"attempt": 2}, "attempt 1"]

    def test_a_slow_reader_loses_nothing(self, running: Running) -> None:
        task_id = running.create("emit_for_a_while", 3)
        headers = {"Authorization": f"Bearer {running.token}"}
        found, pieces = b"", 0
        with (
            httpx.Client(base_url=running.stack.url, timeout=60, headers=headers) as client,
            client.stream("GET", f"{TASKS}{task_id}/output?follow=true") as answer,
        ):
            for piece in answer.iter_raw(64):
                found, pieces = found + piece, pieces + 1
                if pieces == 1:  # reads nothing until the task has ended
                    running.ended(task_id)
        data = [line.removeprefix(b"data: ") for line in found.splitlines() if line.startswith(b"data: ")]
        assert [json.loads(each)["chunk"] for each in data] == [*range(running.get(task_id)["result"])]

    def test_ends_as_the_task_is_deleted_and_as_the_login_ends(self, running: Running) -> None:
        task_id = running.create("emit_everything", **LATER)
        with follow(running, task_id) as events:
            running.http.delete(TASKS + task_id, params={"force": True})
            assert events.await_end() == []
        with follow(running, task_id) as gone:
            gone.await_end()
            assert gone.status == 404
        person = Person(running.stack)
        task_id = person.create(**LATER)
        with EventReader(running.stack.url, f"{TASKS}{task_id}/output?follow=true", person.token) as events:
            person.http.post("/api/v1/auth/logout")
            assert events.await_end() == []


class TestBounds:
    def test_beyond_the_limit_it_raises_and_what_was_taken_is_kept(self, running: Running) -> None:
        task = running.run("emit_too_much")
        result = task["result"]
        assert task["status"] == "succeeded"
        assert f"TASK_OUTPUT_BYTES allows {LIMIT}" in result["error"]
        assert "".join(chunks(running, task["id"])) == "x" * 1000 * result["taken"]
        ((size,),) = running.stack.sql("SELECT sum(bytes) FROM task_output WHERE task_id = :id", id=task["id"])
        assert LIMIT - 1200 < size <= LIMIT

    def test_all_attempts_count_together(self, running: Running) -> None:
        task_id = running.create("emit_and_fail")
        running.ended(task_id)
        filled = "UPDATE task_output SET bytes = :bytes WHERE task_id = :id AND attempt = 1"
        running.stack.sql(filled, bytes=LIMIT - 400, id=task_id)
        running.post(task_id, "retry")
        wait_for(lambda: running.get(task_id)["attempt"] == 4, 30, "the retry")
        assert running.ended(task_id)["error"]["type"].endswith("OutputTooLarge")


def test_is_deleted_with_the_task(running: Running) -> None:
    task = running.run("emit_in_threads")
    assert running.http.delete(TASKS + task["id"]).status_code == 204
    assert running.stack.sql("SELECT count(*) FROM task_output WHERE task_id = :id", id=task["id"])[0][0] == 0
