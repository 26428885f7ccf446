"""Bodies that must not go on although they never ask: cancelled ones, those of a worker that leaves or is fenced off."""

import fcntl
import os
import signal
import sys
import termios
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.support.example_tasks import hold_deaf
from tests.support.lock_waits import needs_row_locks
from tests.support.running import SECONDS, Running, Start, fresh_connections, lines, started
from tests.support.settings import settings
from tests.support.shared import module_running
from tests.support.spelling import spelled
from tests.support.waiting import wait_for

GRACE = {"CANCEL_GRACE_SECONDS": "2", "WORKER_LEASE_SECONDS": "6"}
running = module_running(**GRACE)


class TestCancel:
    def cancelled(self, running: Running, task_id: str, ledger: Path) -> list[str]:
        """What the ledger holds once the cancelled task has been revoked."""
        started(ledger)
        assert running.post(task_id, "cancel").status_code == 202
        assert running.ended(task_id)["status"] == "revoked"
        assert running.outcomes(task_id) == ["revoked"]
        return lines(ledger)[1:]

    @pytest.mark.parametrize(("name", "how"), [("deaf", ["asleep"]), ("deaf", ["in a loop"]), ("deaf_coroutine", [])])
    def test_raises_in_a_body_that_never_reports(
        self, running: Running, ledger: Path, name: str, how: list[str]
    ) -> None:
        before = running.worker.children()
        assert self.cancelled(running, running.create(name, str(ledger), *how), ledger) == ["cleaned up"]
        assert running.worker.children() == before

    @pytest.mark.parametrize("how", ["in a C function", "swallowing"])
    def test_kills_what_hears_nothing_less_and_no_other_task(
        self, running: Running, ledger: Path, tmp_path: Path, gate: Path, how: str
    ) -> None:
        neighbour = running.create("hold_deaf", str(gate), str(tmp_path / "neighbour"), "unhurt")
        started(tmp_path / "neighbour")
        assert self.cancelled(running, running.create("deaf", str(ledger), how), ledger) == []
        gate.touch()
        ended = running.ended(neighbour)
        assert (ended["status"], ended["result"], ended["attempt"]) == ("succeeded", "unhurt", 1)
        assert running.run("echo", 1)["status"] == "succeeded"

    def test_spares_what_ends_in_time(self, running: Running, ledger: Path, gate: Path) -> None:
        for number in range(20):
            line = running.create("note_down", str(ledger), str(number))
            running.post(line, "cancel")
            after = running.create("note_down", str(ledger), f"after {number}")
            assert running.ended(line)["status"] in {"succeeded", "revoked"}
            assert running.ended(after)["status"] == "succeeded"

    def test_an_attempt_that_was_ended_from_outside_stops(self, running: Running, ledger: Path) -> None:
        task_id = running.create("deaf", str(ledger), "asleep")
        started(ledger)
        admin = running.stack.api(role="admin")
        assert admin.patch(f"/api/v1/tasks/{task_id}", json={"status": "failed"}).status_code == 200
        wait_for(lambda: lines(ledger)[1:] == ["cleaned up"], 20, "the body to stop")
        assert running.status(task_id) == "failed"


class TestALivingBody:
    """What the worker takes for a body that must stop, and is none."""

    def looked_at(self, running: Running, seconds: float = 5) -> None:
        """Long enough for the worker to have looked several times: its heartbeat has gone on."""
        before = running.stack.sql("SELECT max(heartbeat_at) FROM worker_processes")[0][0]
        later = "SELECT max(heartbeat_at) > :before + make_interval(secs => :seconds) FROM worker_processes"
        wait_for(lambda: running.stack.sql(later, before=before, seconds=seconds)[0][0], 30, "heartbeats")

    def test_one_that_applies_another_task_is_still_running(self, running: Running, ledger: Path, gate: Path) -> None:
        task_id = running.create("apply_another", str(gate), str(ledger))
        started(ledger)
        self.looked_at(running)
        gate.touch()
        assert (running.ended(task_id)["status"], running.outcomes(task_id)) == ("succeeded", ["succeeded"])

    def test_one_that_has_ended_its_attempt_goes_on_to_its_end(
        self, running: Running, ledger: Path, gate: Path
    ) -> None:
        task_id = running.create("end_itself_and_go_on", str(gate), str(ledger))
        started(ledger)
        self.looked_at(running)
        gate.touch()
        wait_for(lambda: lines(ledger)[1:] == ["went on to its end"], 20, "the body to end")
        assert running.get(task_id)["result"] == "said"

    @needs_row_locks
    def test_a_locked_row_silences_no_heartbeat(self, start: Start, ledger: Path, tmp_path: Path, gate: Path) -> None:
        running = start(**GRACE)
        worker = running.stack.worker(concurrency=2)
        lost = running.create("hold_deaf", str(gate), str(ledger))
        other = running.create("hold_deaf", str(gate), str(tmp_path / "other"))
        child = int(started(ledger)[0])
        started(tmp_path / "other")
        with running.stack.engine.connect() as holder:
            holder.execute(spelled("SELECT * FROM tasks WHERE id = :id FOR UPDATE", {"id": lost}))
            os.kill(child, signal.SIGKILL)
            worker.await_line("could not be written yet")
            self.looked_at(running, 8)  # longer than the lease
            holder.rollback()
        started(ledger, 2)
        gate.touch()
        assert (running.ended(other)["attempt"], running.outcomes(other)) == (1, ["succeeded"])
        assert running.outcomes(lost)[0] == "worker_lost"
        assert running.ended(lost)["status"] == "succeeded"


class TestTheMemoryLimit:
    LIMIT = 160 * 2**20

    def test_ends_what_takes_more_at_the_first_attempt_and_nothing_else(
        self, start: Start, tmp_path: Path, gate: Path
    ) -> None:
        running = start(**GRACE, TASK_MEMORY_BYTES=str(self.LIMIT))
        running.stack.worker(concurrency=3)
        neighbour = running.create("hold_deaf", str(gate), str(tmp_path / "neighbour"), "unhurt")
        started(tmp_path / "neighbour")
        taking = {
            how: running.create("take_memory", str(tmp_path / how), how, max_attempts=3, retry_backoff_seconds=0)
            for how in ("in Python", "natively")
        }
        for how, task_id in taking.items():
            ended = running.ended(task_id)
            assert (ended["status"], ended["error"]["type"]) == ("failed", "MemoryLimitExceeded"), ended
            assert f"TASK_MEMORY_BYTES, {self.LIMIT} bytes" in ended["error"]["message"]
            assert (running.outcomes(task_id), len(lines(tmp_path / how))) == (["failed"], 1)
        running.worker.await_line("killed, since it took more memory than TASK_MEMORY_BYTES")
        # Their slots are free again; a process that has taken memory before is not blamed for it.
        assert [running.run("echo", number)["status"] for number in range(4)] == ["succeeded"] * 4
        gate.touch()
        assert (running.ended(neighbour)["result"], running.outcomes(neighbour)) == ("unhurt", ["succeeded"])


class TestTheDefaultTimeLimit:
    LIMIT = "2"

    def test_ends_what_names_no_limit_and_nothing_else(
        self, start: Start, ledger: Path, tmp_path: Path, gate: Path
    ) -> None:
        running = start(**GRACE, TASK_TIME_LIMIT_SECONDS=self.LIMIT)
        running.stack.worker(concurrency=3)
        by_request = running.create("hold_deaf", str(gate), str(tmp_path / "named"), "unhurt", timeout_seconds=600)
        with settings(running.stack.settings), fresh_connections():
            hold_deaf.delay(str(gate), str(tmp_path / "plain"))
        for name in ("named", "plain"):
            started(tmp_path / name)
        # Those have run for longer than the limit when these have ended.
        hung = running.create("deaf", str(ledger), "in a C function", max_attempts=2, retry_backoff_seconds=0)
        ended = running.ended(hung)
        assert (ended["status"], ended["attempt"], ended["timeout_seconds"]) == ("failed", 2, None)
        assert ended["error"] == {"type": "TimeLimitExceeded", "message": "hard time limit (2 s) exceeded"}
        assert running.outcomes(hung) == ["retried", "failed"]
        for attempt in running.attempts(hung):
            began, over = (datetime.fromisoformat(attempt[name]) for name in ("started_at", "finished_at"))
            assert over - began > timedelta(seconds=float(self.LIMIT))
        gate.touch()
        ended = running.ended(by_request)
        assert (ended["result"], running.outcomes(by_request)) == ("unhurt", ["succeeded"])
        assert len(lines(tmp_path / "plain")) == 1
        running.worker.await_line("killed at its time limit")

    def test_may_be_none_and_a_request_may_name_one(
        self, start: Start, ledger: Path, tmp_path: Path, gate: Path
    ) -> None:
        running = start(**GRACE, TASK_TIME_LIMIT_SECONDS="0")
        running.stack.worker(concurrency=2)
        endless = running.create("hold_deaf", str(gate), str(ledger))
        named = running.create("hold_deaf", str(gate), str(tmp_path / "named"), timeout_seconds=1)
        for path in (ledger, tmp_path / "named"):
            started(path)
        assert running.ended(named)["error"]["message"] == "hard time limit (1 s) exceeded"
        gate.touch()
        assert (running.ended(endless)["status"], running.outcomes(endless)) == ("succeeded", ["succeeded"])

    def test_gives_way_to_celerys_option(self, start: Start, ledger: Path, tmp_path: Path, gate: Path) -> None:
        running = start(**GRACE, TASK_TIME_LIMIT_SECONDS=self.LIMIT)
        running.stack.worker(concurrency=1, queues="default", options=["--time-limit", "600"])
        running.stack.worker(concurrency=1, queues="low_priority")
        longer = running.create("hold_deaf", str(gate), str(ledger))
        started(ledger)
        assert running.run("hold_deaf", str(gate), str(tmp_path / "low"), priority="low")["status"] == "failed"
        gate.touch()
        assert (running.ended(longer)["status"], running.outcomes(longer)) == ("succeeded", ["succeeded"])


def unread_bytes(pid: int) -> int:
    """The bytes in the pipes of a process that nobody has read."""
    unread = 0
    for file in Path(f"/proc/{pid}/fd").iterdir():
        if str(file.readlink()).startswith("pipe:"):
            opened = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
            unread += int.from_bytes(fcntl.ioctl(opened, termios.FIONREAD, bytes(4)), sys.byteorder)
            os.close(opened)
    return unread


class TestAWorkerThatLeaves:
    def test_gives_back_what_outlasts_the_grace_time(self, start: Start, ledger: Path, tmp_path: Path) -> None:
        running = start(**GRACE, SHUTDOWN_GRACE_SECONDS="2")
        first = running.stack.worker(concurrency=3)
        asleep = running.create("hold_each", str(tmp_path / "gate"), str(ledger))
        busy = running.create("deaf", str(tmp_path / "deaf"), "in a C function")
        cancelled = running.create("deaf", str(tmp_path / "cancelled"), "swallowing")
        for path in (ledger, tmp_path / "deaf", tmp_path / "cancelled"):
            started(path)
        assert running.post(cancelled, "cancel").status_code == 202
        first.send(signal.SIGTERM)
        wait_for(lambda: not first.running, 40, "the worker to end")
        rows = "SELECT status, attempt, failures, crashes FROM tasks WHERE id = :id"
        for task_id in (asleep, busy):
            assert tuple(running.stack.sql(rows, id=task_id)[0]) == ("pending", 1, 0, 0)
            assert running.outcomes(task_id) == ["handed_back"]
            assert running.attempts(task_id)[0]["error_message"] == "its worker was shut down"
        assert running.status(cancelled) == "revoked"
        running.stack.worker(concurrency=3)
        started(ledger, 2)
        (tmp_path / "gate-2").touch()
        assert (running.ended(asleep)["status"], running.outcomes(asleep)) == (
            "succeeded",
            ["handed_back", "succeeded"],
        )

    @pytest.mark.parametrize("how", ["asleep", "in a C function"])
    def test_a_cold_shutdown_gives_everything_back(self, start: Start, ledger: Path, how: str) -> None:
        running = start(**GRACE)
        worker = running.stack.worker(concurrency=1)
        task_id = running.create("deaf", str(ledger), how)
        started(ledger)
        worker.send(signal.SIGQUIT)
        wait_for(lambda: not worker.running, 30, "the worker to end")
        assert running.stack.sql("SELECT count(*) FROM worker_processes WHERE stopped_at IS NOT NULL")[0][0] == 1
        assert (running.status(task_id), running.outcomes(task_id)) == ("pending", ["handed_back"])

    def test_an_end_without_celerys_signal_of_it_gives_back_as_well(self, start: Start, ledger: Path) -> None:
        running = start(**GRACE, SHUTDOWN_GRACE_SECONDS="2")
        worker = running.stack.worker(concurrency=1)
        task_id = running.create("deaf", str(ledger), "asleep")
        started(ledger)
        worker.send(signal.SIGHUP)  # Celery restarts, if it knows how it was started
        running.until(task_id, "pending")
        assert running.outcomes(task_id) == ["handed_back"]

    @pytest.mark.skipif(sys.platform != "linux", reason="it looks into the pipes of the child")
    @pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
    def test_waits_for_no_child_whose_wakeup_is_acknowledged_no_more(
        self, start: Start, number: signal.Signals
    ) -> None:
        """The message is in the child's pipe, unread, as the parent stops to read what children answer."""
        running = start(**GRACE)
        worker = running.stack.worker(concurrency=1)
        (child,) = worker.children()
        os.kill(child, signal.SIGSTOP)
        task_id = running.create("echo", 1)
        message = wait_for(lambda: unread_bytes(child), SECONDS, "the wake-up to be passed to the child")
        worker.send(number)
        wait_for(lambda: unread_bytes(child) > message, SECONDS, "the child to be told to end")
        os.kill(child, signal.SIGCONT)
        wait_for(lambda: not worker.running, 15, "the worker to end")
        row = "SELECT status, attempt FROM tasks WHERE id = :id"
        assert (worker.process.poll(), tuple(running.stack.sql(row, id=task_id)[0])) == (0, ("pending", 0))
        running.stack.worker(concurrency=1)
        assert running.ended(task_id)["attempt"] == 1


class TestAFrozenParent:
    def test_ends_its_bodies_when_it_wakes_past_its_lease(self, start: Start, tmp_path: Path, ledger: Path) -> None:
        running = start(**GRACE)
        frozen = running.stack.worker(concurrency=1)
        task_id = running.create("hold_each", str(tmp_path / "gate"), str(ledger))
        child = int(started(ledger)[0])
        running.stack.worker(concurrency=1)
        frozen.send(signal.SIGSTOP)
        os.kill(child, signal.SIGSTOP)
        started(ledger, 2)
        os.kill(frozen.pid, signal.SIGCONT)
        wait_for(lambda: child not in frozen.children(), 20, "the frozen body to be ended")
        (tmp_path / "gate-2").touch()
        assert (running.ended(task_id)["attempt"], running.outcomes(task_id)) == (2, ["worker_lost", "succeeded"])
