"""Tasks through real processes: the API, a Celery worker, PostgreSQL and Valkey. One deployment for the whole file."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.running import TASKS, Running, lines, started
from tests.support.shared import module_running
from tests.support.waiting import wait_for

running = module_running()


class TestTheOwnersExample:
    def test_moves_through_pending_running_with_progress_and_succeeded(self, running: Running) -> None:
        body = {
            "name": "数据处理任务",
            "task_type": "data_processing",
            "celery_task_name": "app.tasks.common_tasks.long_running_task",
            "args": [4],
            "kwargs": {"param": "value"},
            "priority": "normal",
        }
        created = running.http.post(TASKS, json=body).json()
        assert (created["status"], created["attempt"], created["progress"]) == ("pending", 0, 0)
        seen = wait_for(lambda: (t := running.get(created["id"]))["progress"] >= 10 and t, 20, "some progress")
        assert (seen["status"], seen["attempt"]) == ("running", 1)
        assert seen["worker"] == "worker1@test"
        ended = running.ended(created["id"])
        assert (ended["status"], ended["progress"], ended["error"]) == ("succeeded", 100, None)
        assert ended["result"]["parameters"] == {"param": "value"}
        assert ended["version"] > seen["version"] > created["version"]
        assert created["created_at"] <= ended["started_at"] <= ended["finished_at"]
        assert running.outcomes(created["id"]) == ["succeeded"]


class TestCancel:
    def test_stops_a_running_body_and_frees_its_process(self, running: Running, ledger: Path, gate: Path) -> None:
        task_id = running.create("hold", str(gate), str(ledger))
        pid = int(started(ledger)[0])
        answer = running.post(task_id, "cancel")
        assert answer.status_code == 202
        assert answer.json()["cancel_requested_at"] is not None
        ended = running.ended(task_id, seconds=10)
        assert (ended["status"], ended["status_reason"], ended["error"]) == ("revoked", "cancelled", None)
        assert running.outcomes(task_id) == ["revoked"]
        # The very process lives on and takes tasks: as many as there are children run at once.
        pids = {pid}
        for number in range(2):
            following = ledger.with_name(f"following-{number}")
            running.create("hold", str(gate), str(following))
            pids.add(int(started(following)[0]))
        assert len(pids) == 2

    def test_stops_a_coroutine_too(self, running: Running, gate: Path) -> None:
        task_id = running.create("asynchronous", str(gate))
        running.until(task_id, "running")
        assert running.post(task_id, "cancel").status_code == 202
        assert running.ended(task_id, seconds=10)["status"] == "revoked"

    def test_loses_against_a_success_that_was_under_way(self, running: Running, ledger: Path, gate: Path) -> None:
        task_id = running.create("hold_deaf", str(gate), str(ledger), 42)
        started(ledger)
        assert running.post(task_id, "cancel").status_code == 202
        gate.touch()
        ended = running.ended(task_id)
        assert (ended["status"], ended["result"]) == ("succeeded", 42)
        assert running.post(task_id, "cancel").status_code == 409

    def test_beats_a_failure_that_would_be_tried_again(self, running: Running, ledger: Path, gate: Path) -> None:
        task_id = running.create("hold_deaf_and_fail", str(gate), str(ledger), max_attempts=5)
        started(ledger)
        running.post(task_id, "cancel")
        gate.touch()
        assert running.ended(task_id)["status"] == "revoked"
        assert running.outcomes(task_id) == ["revoked"]

    def test_a_forced_delete_stops_the_body_and_then_removes_the_record(
        self, running: Running, ledger: Path, gate: Path
    ) -> None:
        task_id = running.create("hold", str(gate), str(ledger))
        started(ledger)
        assert running.http.delete(TASKS + task_id).status_code == 409
        assert running.http.delete(TASKS + task_id, params={"force": True}).status_code == 202
        wait_for(lambda: running.http.get(TASKS + task_id).status_code == 404, 20, "the record to be gone")


class TestABodyThatFails:
    def test_runs_again_with_growing_pauses_until_it_succeeds(self, running: Running, ledger: Path) -> None:
        options: dict[str, Any] = {"max_attempts": 3, "retry_backoff_seconds": 0.4}
        task_id = running.create("fail_until", str(ledger), 3, **options)
        ended = running.ended(task_id)
        assert (ended["status"], ended["result"], ended["attempt"], ended["error"]) == ("succeeded", 3, 3, None)
        first, second, third = (float(line) for line in lines(ledger))
        assert second - first >= 0.2  # with jitter, half of the pause is kept in any case
        assert third - second >= 0.4
        attempts = running.attempts(task_id)
        assert [a["outcome"] for a in attempts] == ["retried", "retried", "succeeded"]
        assert [a["number"] for a in attempts] == [1, 2, 3]
        assert attempts[0]["error_type"] == "ValueError"
        assert attempts[0]["error_message"] == "start 1"
        assert "raise ValueError" in attempts[0]["traceback"]

    def test_fails_after_its_last_attempt(self, running: Running, ledger: Path) -> None:
        ended = running.run("fail_until", str(ledger), 99, max_attempts=2, retry_backoff_seconds=0)
        assert (ended["status"], ended["attempt"], ended["result"]) == ("failed", 2, None)
        assert ended["error"] == {"type": "ValueError", "message": "start 2"}
        assert running.outcomes(ended["id"]) == ["retried", "failed"]

    def test_fails_at_once_when_nobody_named_a_number(self, running: Running, ledger: Path) -> None:
        ended = running.run("fail_until", str(ledger), 99)
        assert (ended["status"], ended["attempt"], ended["max_attempts"]) == ("failed", 1, 1)

    def test_a_retry_through_the_api_starts_a_new_generation(self, running: Running, ledger: Path) -> None:
        failed = running.run("fail_until", str(ledger), 2)
        answer = running.post(failed["id"], "retry")
        assert answer.status_code == 202
        again = answer.json()
        assert (again["status"], again["attempt"], again["error"]) == ("pending", 1, None)
        assert again["celery_id"] != failed["celery_id"]
        ended = running.ended(failed["id"])
        assert (ended["status"], ended["attempt"], ended["result"]) == ("succeeded", 2, 2)
        assert running.outcomes(failed["id"]) == ["failed", "succeeded"]
        assert running.post(failed["id"], "retry").status_code == 409


class TestCelerysOwnWaysToRetry:
    """One of each kind; how often, after how long and with what: tests/unit/tasks/test_retries.py."""

    def test_self_retry(self, running: Running, ledger: Path) -> None:
        ended = running.run("retry_itself", str(ledger), 3)
        assert (ended["status"], ended["result"]) == ("succeeded", {"start": 3, "retries": 2})
        assert running.outcomes(ended["id"]) == ["retried", "retried", "succeeded"]
        assert running.attempts(ended["id"])[0]["error_message"] == "start 1"

    def test_with_other_arguments(self, running: Running) -> None:
        ended = running.run("retry_with", 1, 2)
        assert ended["result"] == {"number": 2, "said": "again"}
        assert (ended["args"], ended["kwargs"]) == ([2], {"said": "again"})

    @pytest.mark.parametrize("name", ["retry_with_what_is_not_json", "retry_at_the_end_of_time"])
    def test_what_cannot_be_kept_fails_the_task_and_says_why(self, running: Running, name: str) -> None:
        ended = running.run(name)
        assert ended["status"] == "failed"
        assert ended["error"]["message"]
        assert running.outcomes(ended["id"]) == ["failed"]

    def test_autoretry_for(self, running: Running, ledger: Path) -> None:
        ended = running.run("retry_automatically", str(ledger))
        assert (ended["status"], ended["attempt"]) == ("failed", 3)
        assert ended["error"] == {"type": "ConnectionError", "message": "start 3"}
        assert running.outcomes(ended["id"]) == ["retried", "retried", "failed"]


class TestTimeLimits:
    def test_a_soft_one_is_an_exception_in_the_body(self, running: Running, gate: Path) -> None:
        failed = running.run("soft_limit", str(gate))
        assert failed["status"] == "failed"
        assert "SoftTimeLimitExceeded" in failed["error"]["type"]

    def test_a_body_may_clean_up_after_a_soft_one(self, running: Running, gate: Path) -> None:
        assert running.run("soft_limit", str(gate), True)["result"] == "cleaned up"

    def test_a_hard_one_kills_the_process_and_fails_the_task(self, running: Running, gate: Path, ledger: Path) -> None:
        ended = running.run("hard_limit", str(gate), str(ledger))
        assert (ended["status"], ended["error"]["type"]) == ("failed", "TimeLimitExceeded")
        wait_for(lambda: not _lives(int(lines(ledger)[0])), 10, "the process to be gone")
        assert running.outcomes(ended["id"]) == ["failed"]


class TestALostProcess:
    """What a killed child costs, and the cap, are rows 4 and 12 of tests/faults/test_workers.py."""

    def test_twice_is_not_too_often(self, running: Running, ledger: Path) -> None:
        ended = running.run("kill_itself", str(ledger), 2)
        assert (ended["status"], ended["result"], ended["attempt"]) == ("succeeded", 3, 3)

    def test_a_task_that_must_not_run_again_fails_at_the_first_loss(self, running: Running, ledger: Path) -> None:
        ended = running.run("kill_itself_once", str(ledger))
        assert (ended["status"], ended["error"]["type"], ended["attempt"]) == ("failed", "worker_lost", 1)
        assert len(lines(ledger)) == 1


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
