"""Faults that the service recovers from by itself: lost workers, a lost or absent broker, doubled and forged messages."""

import os
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import redis

from app.launcher.processes import group_members
from tests.support.running import TASKS, Running, lines, messages, started
from tests.support.waiting import wait_for

# Small, so that a lost worker is noticed within a test's time.
LEASE = {"WORKER_LEASE_SECONDS": "6", "WORKER_HEARTBEAT_SECONDS": "1"}


class TestALostWorker:
    def test_its_task_is_run_by_another_after_the_lease(
        self, start: Callable[..., Running], gate: Path, ledger: Path
    ) -> None:
        running = start(**LEASE)
        first = running.stack.worker(concurrency=1)
        task_id = running.create("hold", str(gate), str(ledger))
        started(ledger)
        running.stack.worker(concurrency=1)
        running.stack.kill(first)
        started(ledger, 2)
        assert running.get(task_id)["attempt"] == 2
        gate.touch()
        ended = running.ended(task_id)
        assert (ended["status"], ended["attempt"], ended["worker"]) == ("succeeded", 2, "worker2@test")
        assert ended["result"]["pid"] == int(lines(ledger)[1])
        attempts = running.attempts(task_id)
        assert [(a["outcome"], a["worker"]) for a in attempts] == [
            ("worker_lost", "worker1@test"),
            ("succeeded", "worker2@test"),
        ]
        wait_for(lambda: not group_members(first.pid), 20, "the dead worker's children to be gone")

    def test_what_a_frozen_one_writes_when_it_wakes_counts_no_more(
        self, start: Callable[..., Running], tmp_path: Path, ledger: Path
    ) -> None:
        running = start(**LEASE)
        frozen = running.stack.worker(concurrency=1)
        task_id = running.create("hold_each", str(tmp_path / "gate"), str(ledger))
        child = int(started(ledger)[0])
        running.stack.worker(concurrency=1)
        for pid in (frozen.pid, child):
            os.kill(pid, signal.SIGSTOP)
        started(ledger, 2)
        before = running.get(task_id)
        assert (before["status"], before["attempt"], before["worker"]) == ("running", 2, "worker2@test")
        for pid in (frozen.pid, child):
            os.kill(pid, signal.SIGCONT)
        (tmp_path / "gate-1").touch()
        wait_for(lambda: "no longer held it" in frozen.output(), 20, "the late result to be refused")
        assert running.get(task_id) == before
        (tmp_path / "gate-2").touch()
        ended = running.ended(task_id)
        assert (ended["status"], ended["result"], ended["attempt"]) == ("succeeded", 2, 2)
        assert running.outcomes(task_id) == ["worker_lost", "succeeded"]

    def test_a_rolling_restart_loses_and_repeats_nothing(self, start: Callable[..., Running], ledger: Path) -> None:
        running = start()
        workers = [running.stack.worker(concurrency=1)]
        ids = []
        for wave in range(3):
            ids += [running.create("note_down", str(ledger), f"{wave}-{number}") for number in range(15)]
            workers.append(running.stack.worker(concurrency=1))
            running.stack.kill(workers[wave], signal.SIGTERM)
            ids += [running.create("note_down", str(ledger), f"{wave}-late-{number}") for number in range(5)]
        ended = [running.ended(task_id) for task_id in ids]
        assert {(task["status"], task["attempt"]) for task in ended} == {("succeeded", 1)}
        assert len(lines(ledger)) == len(set(lines(ledger))) == len(ids)

    def test_sigterm_lets_the_running_task_end(self, start: Callable[..., Running], gate: Path, ledger: Path) -> None:
        running = start(**LEASE)
        worker = running.stack.worker(concurrency=1)
        task_id = running.create("hold", str(gate), str(ledger))
        started(ledger)
        running.stack.kill(worker, signal.SIGTERM)
        worker.await_line("Warm shutdown")
        gate.touch()
        ended = running.ended(task_id)
        assert (ended["status"], ended["attempt"]) == ("succeeded", 1)
        wait_for(lambda: not worker.running, 20, "the worker to end")


class TestTheBroker:
    def test_a_flush_loses_no_pending_task(self, start: Callable[..., Running], ledger: Path) -> None:
        running = start()
        running.stack.worker(concurrency=1, queues="low_priority")  # somebody leads, nobody serves what follows
        ids = [running.create("note_down", str(ledger), str(number)) for number in range(20)]
        sent = "SELECT count(*) FROM tasks WHERE dispatched_at IS NOT NULL"
        wait_for(lambda: running.stack.sql(sent)[0][0] == 20, 20, "all messages to be out")
        with redis.Redis.from_url(running.stack.broker_url) as broker:
            broker.flushdb()
            # One more, so that the queue does not look empty: that would be another way to notice the loss.
            ids.append(running.create("note_down", str(ledger), "after the flush"))
            wait_for(lambda: messages(broker, "default") >= 21, 20, "all messages to be out again")
        running.stack.worker(concurrency=1)
        assert {running.ended(task_id)["attempt"] for task_id in ids} == {1}
        assert len(lines(ledger)) == 21

    def test_creating_does_not_wait_for_one_that_is_away(self, start: Callable[..., Running], ledger: Path) -> None:
        running = start()
        refused = "redis://127.0.0.1:1/0"
        running.stack.server(env={"CELERY_BROKER_URL": refused})
        ids = [running.create("note_down", str(ledger)) for _ in range(5)]
        assert max(self._seconds(running) for _ in range(5)) < 2
        assert {running.get(task_id)["status"] for task_id in ids} == {"pending"}
        running.stack.worker(concurrency=1)  # which knows one that is there
        assert {running.ended(task_id)["status"] for task_id in ids} == {"succeeded"}

    @staticmethod
    def _seconds(running: Running) -> float:
        body = {"name": "n", "task_type": "t", "celery_task_name": "tests.echo"}
        answer = running.http.post(TASKS, json=body)
        assert answer.status_code == 201
        return answer.elapsed.total_seconds()


class TestTheKeeper:
    def test_exactly_one_leads_and_another_takes_over(self, start: Callable[..., Running]) -> None:
        running = start()
        parts = [running.stack.worker(concurrency=1), running.stack.worker(concurrency=1), running.stack.beat()]

        def leaders() -> list[int]:
            return [at for at, part in enumerate(parts) if part.running and " leads" in part.output()]

        (first,) = wait_for(leaders, 20, "a leader")
        running.ended(running.create("echo", delay_seconds=1))
        assert leaders() == [first]
        running.stack.kill(parts[first])
        wait_for(leaders, 20, "another leader")
        left = [at for at in range(3) if at != first]
        assert len([at for at in left if " leads" in parts[at].output()]) == 1


class TestBeat:
    def test_fires_the_purge_tasks(self, start: Callable[..., Running]) -> None:
        running = start(RETENTION_DAYS="1")
        worker = running.stack.worker(concurrency=1)
        old, young = running.run("echo")["id"], running.run("echo")["id"]
        running.stack.sql("ALTER TABLE tasks DISABLE TRIGGER tasks_guard")
        running.stack.sql("UPDATE tasks SET finished_at = now() - interval '2 days' WHERE id = :id", id=old)
        running.stack.sql("ALTER TABLE tasks ENABLE TRIGGER tasks_guard")
        fired = "INSERT INTO periods (name, fired_at) VALUES (:name, now() - interval '2 hours')"
        for name in ("purge-finished-tasks", "purge-expired-logins"):
            running.stack.sql(fired, name=name)
        beats = [running.stack.beat() for _ in range(3)]
        wait_for(lambda: running.http.get(TASKS + old).status_code == 404, 20, "the old one to be gone")
        assert running.get(young)["status"] == "succeeded"
        for name in ("purge_finished_tasks", "purge_expired_logins"):
            wait_for(lambda: re.search(rf"{name}\[.*succeeded", worker.output()), 20, name)  # noqa: B023
        sent = [beat.output().count("beat: sending") for beat in beats]
        assert sum(sent) == 2, sent
        assert running.stack.sql("SELECT count(*) FROM periods WHERE fired_at < now() - interval '1 hour'")[0][0] == 0


class TestWaiting:
    def test_many_who_wait_do_not_hold_up_anybody(self, start: Callable[..., Running]) -> None:
        running = start()
        ids = [running.create("echo", run_at="2100-01-01T00:00:00Z") for _ in range(3)]
        ended: list[str] = []
        token = running.http.headers["Authorization"].removeprefix("Bearer ")

        def wait(task_id: str) -> None:
            client = running.stack.api(token=token)
            ended.append(client.get(TASKS + task_id, params={"wait": 30}, timeout=60).json()["status"])

        waiting = [threading.Thread(target=wait, args=(ids[number % 3],)) for number in range(30)]
        for thread in waiting:
            thread.start()
        took = [running.http.get(TASKS).elapsed.total_seconds() for _ in range(10)]
        assert max(took) < 5
        for task_id in ids:
            assert running.post(task_id, "cancel").status_code == 200
        for thread in waiting:
            thread.join(20)
        assert ended == ["revoked"] * 30
