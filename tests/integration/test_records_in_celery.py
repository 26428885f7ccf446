"""What Celery's users expect of a task, seen for one with a record: docs/operations.md has the table."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from celery.events import EventReceiver

from app.db.sql import claims
from app.worker.parent import agent
from tests.support.bounds import bounded
from tests.support.running import SECONDS, Running, Start, example_stack, fresh_connections, lines, started
from tests.support.services import Services
from tests.support.settings import settings
from tests.support.signalled_tasks import LEDGER, MODULE
from tests.support.waiting import wait_for

MANY = 43
ROUNDS = 5


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def create_many(running: Running, name: str, *args: Any, number: int = MANY) -> list[str]:
    """So many tasks of one batch: they are ready at once."""
    task = {"name": name, "task_type": "test", "celery_task_name": f"tests.{name}", "args": [*args], "kwargs": {}}
    answer = running.http.post("/api/v1/tasks/batch", json={"tasks": [task] * number})
    assert answer.status_code == 201, answer.text
    return [each["id"] for each in answer.json()["tasks"]]


def all_ended(running: Running, ids: list[str]) -> list[dict[str, Any]]:
    return [running.ended(task_id) for task_id in ids]


class TestProcesses:
    def test_max_tasks_per_child_counts_rows(self, start: Start, ledger: Path) -> None:
        running = start()
        ids = create_many(running, "note_process", str(ledger))
        worker = running.stack.worker(concurrency=1, options=["--max-tasks-per-child=7"])
        tasks = all_ended(running, ids)
        assert {task["attempt"] for task in tasks} == {1}
        assert len(lines(ledger)) == MANY
        counts = sorted(Counter(lines(ledger)).values())
        assert counts == [MANY % 7, *[7] * (MANY // 7)]
        assert "ERROR" not in worker.output()
        assert "WARNING" not in worker.output()

    def test_max_memory_per_child_replaces_the_process_after_a_wakeup(self, start: Start, ledger: Path) -> None:
        running = start()
        worker = running.stack.worker(concurrency=1, options=["--max-memory-per-child=1"])
        for number in range(3):
            assert running.run("note_process", str(ledger))["attempt"] == 1
            pid = int(lines(ledger)[number])
            wait_for(lambda: pid not in worker.children(), SECONDS, f"process {pid} to be replaced")  # noqa: B023
        assert len(set(lines(ledger))) == 3

    def test_a_worker_counts_the_tasks_that_it_has_begun(self, start: Start, ledger: Path) -> None:
        running = start(**bounded({agent: {"HEARTBEAT_SECONDS": 0.5}}))
        running.stack.worker(concurrency=1, options=["--max-tasks-per-child=20"])
        all_ended(running, create_many(running, "note_process", str(ledger)))
        count = "SELECT sum(processed) FROM worker_processes"
        wait_for(lambda: running.stack.sql(count)[0][0] == MANY, SECONDS, "the count")


class TestTimes:
    def test_started_at_is_the_begin_of_the_body(self, start: Start, ledger: Path) -> None:
        """Also in a batch, whose claims are one: told by the ledger, by the clock of the same machine."""
        running = start()
        running.stack.worker(concurrency=1)
        all_ended(running, create_many(running, "note_time", str(ledger)))  # now it is known to be short
        ledger.unlink()
        # Without the correction a row is as late as all the rows before it in its batch took, in each round. With it, a
        # claim whose answer comes late makes its whole batch late, which a busy machine does to some rounds.
        for _ in range(ROUNDS):
            tasks = all_ended(running, create_many(running, "note_time", str(ledger), number=30))
            assert all(moment(task["started_at"]) <= moment(task["finished_at"]) for task in tasks)
            assert len({task["started_at"] for task in tasks}) == len(tasks)
            late, ten_rows = self._lateness(tasks, ledger)
            if late < ten_rows / 3:
                break
        assert late < ten_rows / 3

    @staticmethod
    def _lateness(tasks: list[dict[str, Any]], ledger: Path) -> tuple[float, float]:
        """The median distance of `started_at` from the begin of the body, and how long the first ten bodies took."""
        times = dict(line.split() for line in lines(ledger))
        begun = {task["id"]: datetime.fromtimestamp(float(times[task["id"]]), UTC) for task in tasks}
        late = [abs((moment(task["started_at"]) - begun[task["id"]]).total_seconds()) for task in tasks]
        apart = sorted(begun.values())
        return sorted(late)[len(late) // 2], (apart[9] - apart[0]).total_seconds()

    def test_the_workers_limit_is_that_of_each_row_which_names_none(self, start: Start, tmp_path: Path) -> None:
        running = start()
        running.stack.worker(concurrency=1, options=["--time-limit=2"])
        gate, ledger = tmp_path / "gate", tmp_path / "ledger"
        named = running.create("hold", str(gate), str(ledger), timeout_seconds=60)
        started(ledger)
        over = "SELECT clock_timestamp() > started_at + interval '3 seconds' FROM tasks WHERE id = :id"
        wait_for(lambda: running.stack.sql(over, id=named)[0][0], SECONDS, "more than the worker's limit to pass")
        gate.touch()
        assert (running.ended(named)["status"], running.get(named)["attempt"]) == ("succeeded", 1)
        late = running.run("hold", str(tmp_path / "never"), str(ledger))
        assert late["error"] == {"type": "TimeLimitExceeded", "message": "hard time limit (2 s) exceeded"}

    def test_so_is_its_soft_limit(self, start: Start, tmp_path: Path) -> None:
        running = start()
        worker = running.stack.worker(concurrency=1, options=["--soft-time-limit=1"])
        late = running.run("hold", str(tmp_path / "never"), str(tmp_path / "ledger"))
        assert late["error"]["type"] == "billiard.exceptions.SoftTimeLimitExceeded"
        worker.await_line("soft time limit exceeded")


class TestRateLimits:
    def test_hold_for_rows_in_one_worker_and_for_no_others(self, start: Start, tmp_path: Path) -> None:
        """`tests.limited` has "2/s": each start half a second after the one before, in whichever process."""
        running = start()
        limited, others = tmp_path / "limited", tmp_path / "others"
        alone = create_many(running, "limited", str(limited), number=6)
        running.stack.worker(concurrency=2)
        started(limited)
        batched = create_many(running, "note_time", str(others), number=20)
        assert {task["attempt"] for task in all_ended(running, alone)} == {1}
        running.ran_once(batched)
        starts = [float(line.split()[1]) for line in lines(limited)]
        assert len(starts) == 6
        assert max(starts) - min(starts) > 0.8 * 5 * 0.5  # the first one may have been late
        assert [float(line.split()[1]) < max(starts) for line in lines(others)] == [True] * 20


RECEIVED = "task_received task_service.wakeup"


class TestSignals:
    @pytest.fixture(scope="class")
    @classmethod
    def heard(cls, services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Path]]:
        directory = tmp_path_factory.mktemp("signals")
        heard = directory / "signals"
        modules = f'["tests.support.example_tasks", "{MODULE}"]'
        with example_stack(services, directory, TASK_MODULES=modules) as running:
            running.stack.server()
            running.stack.worker(concurrency=1, env={LEDGER: str(heard)})
            yield running, heard

    @staticmethod
    def _of(heard: Path, name: str) -> list[str]:
        return [line.partition(" ")[0] for line in lines(heard) if line.endswith(f" tests.{name}")]

    def test_are_sent_in_the_process_of_the_row(self, heard: tuple[Running, Path], ledger: Path) -> None:
        running, signals = heard
        running.run("echo")
        wait_for(lambda: len(self._of(signals, "echo")) == 3, SECONDS, "the signals of a success")
        assert self._of(signals, "echo") == ["task_prerun", "task_success", "task_postrun"]
        running.run("fail_until", str(ledger), 9)
        wait_for(lambda: len(self._of(signals, "fail_until")) == 3, SECONDS, "the signals of a failure")
        assert self._of(signals, "fail_until") == ["task_prerun", "task_failure", "task_postrun"]
        running.run("retry_itself", str(ledger) + "2", 2)
        wait_for(lambda: len(self._of(signals, "retry_itself")) == 6, SECONDS, "the signals of a retry")
        assert self._of(signals, "retry_itself")[:3] == ["task_prerun", "task_retry", "task_postrun"]

    def test_received_tells_of_wakeups_and_revoked_of_nothing(
        self, heard: tuple[Running, Path], ledger: Path, gate: Path
    ) -> None:
        running, signals = heard
        received = lines(signals).count(RECEIVED)
        task_id = running.create("hold", str(gate), str(ledger))
        started(ledger)
        running.post(task_id, "cancel")
        assert running.ended(task_id)["status"] == "revoked"
        wait_for(lambda: "task_postrun" in self._of(signals, "hold"), SECONDS, "the last signal")
        assert self._of(signals, "hold") == ["task_prerun", "task_postrun"]
        assert lines(signals).count(RECEIVED) > received

    def test_the_request_is_that_of_the_row(self, heard: tuple[Running, Path]) -> None:
        running, _ = heard
        task = running.run("request", 1, kwargs={"two": 2}, timeout_seconds=60, priority="low")
        assert task["result"] == {
            "id": task["celery_id"], "root_id": task["celery_id"], "parent_id": None, "retries": 0, "is_eager": False,
            "called_directly": False, "hostname": "worker1@test", "timelimit": [60.0, None], "args": [1],
            "kwargs": {"two": 2}, "task": "tests.request", "expires": None, "eta": None, "group": None, "chord": None,
            "correlation_id": task["celery_id"], "reply_to": None,
            "delivery_info": {"exchange": "", "routing_key": "low_priority", "priority": 0, "redelivered": False},
        }  # fmt: skip


@contextmanager
def events_of(running: Running) -> Iterator[list[dict[str, Any]]]:
    """The events that come, once a worker's heartbeat has come."""
    seen: list[dict[str, Any]] = []
    with settings(running.stack.settings), fresh_connections():
        from app.celery_app import celery_app

        with celery_app.connection_for_read() as connection:
            receiver = EventReceiver(connection, {"*": seen.append}, app=celery_app)
            thread = threading.Thread(target=receiver.capture, daemon=True)
            thread.start()
            try:
                wait_for(lambda: seen, SECONDS, "a heartbeat")
                yield seen
            finally:
                receiver.should_stop = True
                thread.join(SECONDS)


class TestEvents:
    def test_are_sent_of_each_row_while_somebody_wants_them(self, start: Start, gate: Path, ledger: Path) -> None:
        running = start()
        running.stack.worker(concurrency=1, options=["-E"])
        with events_of(running) as seen:
            ended = [running.run("echo", "secret-argument"), running.run("fail_until", str(ledger), 9)]
            held = running.create("hold", str(gate), f"{ledger}-2")
            started(Path(f"{ledger}-2"))
            running.post(held, "cancel")
            ended.append(running.ended(held))
            wait_for(lambda: any(event["type"] == "task-revoked" for event in seen), SECONDS, "the last event")
        for task, last in zip(ended, ("task-succeeded", "task-failed", "task-revoked"), strict=True):
            own = [event for event in seen if event.get("uuid") == task["celery_id"]]
            assert [event["type"] for event in own] == ["task-received", "task-started", last]
            assert (own[0]["name"], own[0]["kwargs"]) == (task["celery_task_name"], f"task_id={task['id']}")
        assert "secret-argument" not in str([event for event in seen if event["type"] != "task-succeeded"])
        assert not [event for event in seen if event.get("name") == "task_service.wakeup"]

    def test_are_not_sent_where_nobody_wants_them(self, start: Start) -> None:
        running = start()
        running.stack.worker(concurrency=1)
        with redis.Redis.from_url(running.stack.broker_url) as broker:
            running.run("echo")
            before = broker.info("commandstats")["cmdstat_publish"]["calls"]
            all_ended(running, create_many(running, "echo"))
            after = broker.info("commandstats")["cmdstat_publish"]["calls"]
        assert after - before < MANY


class TestPoolsThatDoNotFork:
    @pytest.mark.parametrize("pool", ["solo", "threads"])
    def test_run_rows_and_plain_messages(self, start: Start, ledger: Path, pool: str) -> None:
        running = start()
        ids = create_many(running, "note_down", str(ledger), number=20)
        worker = running.stack.worker(concurrency=2, options=[f"--pool={pool}"])
        running.ran_once(ids)
        assert len(lines(ledger)) == 20
        with settings(running.stack.settings), fresh_connections():
            from tests.support.example_tasks import note_down

            note_down.delay(str(ledger), "plain")
            wait_for(lambda: "plain" in lines(ledger), SECONDS, "the plain message")
        assert worker.stop(20) == 0
        said = worker.output()
        assert "Traceback" not in said, said[said.index("Traceback") - 500 :]


class TestSigterm:
    @pytest.mark.parametrize("pool", ["prefork", "threads"])
    def test_the_short_rows_of_a_batch_are_finished_and_no_others_begin(
        self, start: Start, ledger: Path, pool: str
    ) -> None:
        running = start()
        worker = running.stack.worker(concurrency=1, options=[f"--pool={pool}"])
        running.run("note_down", str(ledger))
        for _ in range(2):
            create_many(running, "note_down", str(ledger), number=1000)
        wait_for(lambda: len(lines(ledger)) > 10, SECONDS, "some to run")
        os.kill(worker.pid, signal.SIGTERM)
        assert worker.process.wait(SECONDS) == 0
        done = "SELECT count(*) FROM tasks WHERE status = 'succeeded'"
        left = """SELECT count(*), sum(attempt), sum(CASE WHEN attempt > 0 THEN 1 ELSE 0 END)
                  FROM tasks WHERE status = 'pending' AND crashes + failures = 0"""
        ended = running.stack.sql(done)[0][0]
        assert ended == len(lines(ledger)) < 2001
        # Of the last batch, those whose 100 ms were over before they could begin are given back.
        pending, given_back, claimed = running.stack.sql(left)[0]
        assert pending == 2001 - ended
        assert claimed < claims.MOST_AT_ONCE
        running.stack.worker(concurrency=2)
        # The second worker may give rows back as well.
        again = "SELECT count(*), sum(attempt - 1) FROM tasks WHERE status = 'succeeded'"
        wait_for(lambda: running.stack.sql(again)[0][0] == 2001, SECONDS, "all to succeed")
        assert running.stack.sql(again)[0][1] >= given_back
        assert len(lines(ledger)) == 2001
