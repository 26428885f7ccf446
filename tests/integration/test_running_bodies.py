"""What a body may do and give back, through real processes: results, progress, hooks, sessions, its own end."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from app.db.session import SessionLocal
from app.services.task_service import task_service
from app.services.tasks.task_changes import NO_REASON
from tests.support.running import TASKS, Running, fresh_connections, lines, started
from tests.support.settings import settings
from tests.support.shared import module_running
from tests.support.sources import run_program
from tests.support.waiting import wait_for

running = module_running()


class TestResults:
    def test_dates_uuids_and_dataclasses_become_json(self, running: Running) -> None:
        ended = running.run("return_result", "dataclass")
        expected = {"x": 3, "at": "2026-01-02T03:04:05Z", "id": "00000000-0000-0000-0000-000000000007"}
        assert (ended["status"], ended["result"]) == ("succeeded", expected)

    def test_json_comes_back_exactly(self, running: Running) -> None:
        ended = running.run("return_result", "exact")
        expected = {"big": 10**30, "float": 1e22, "zero": -0.0, "tiny": 5e-324, "text": "数据 ✓ \0", "none": None}
        assert json.dumps(ended["result"]) == json.dumps(expected)

    def test_what_json_can_say_otherwise_is_said_so(self, running: Running) -> None:
        expected = {"set": [3], "int_keys": {"1": "one"}}
        assert {kind: running.run("return_result", kind)["result"] for kind in expected} == expected

    def test_what_is_not_json_fails_the_task_and_every_answer_goes_on(self, running: Running) -> None:
        kinds = ["nan", "infinity", "object", "surrogate", "surrogate_key", "deep", "deeper", "huge_int", "bytes"]
        ids = {kind: running.create("return_result", kind) for kind in kinds}
        for kind, task_id in ids.items():
            ended = running.ended(task_id)
            assert (kind, ended["status"], ended["result"]) == (kind, "failed", None)
            assert "result" in ended["error"]["message"], kind
        assert running.http.get(TASKS).status_code == 200


class TestArguments:
    """The body gets what its annotations name; the row keeps the JSON that was sent."""

    GOT = "Order(number=7, currency='EUR') datetime.date(2026, 11, 25)\n"

    def test_over_http(self, running: Running, ledger: Path) -> None:
        sent = {"order": {"number": 7}, "day": "2026-11-25", "ledger": str(ledger)}
        ended = running.run("invoice", kwargs=sent)
        assert ended["result"] == {"order": {"number": 7, "currency": "EUR"}, "weekday": "Wednesday"}
        assert ended["kwargs"] == sent
        assert ledger.read_text() == self.GOT

    def test_from_python(self, running: Running, ledger: Path) -> None:
        me = running.http.get("/api/v1/users/me").json()["id"]
        program = f"""
from app.db.session import SessionLocal
from app.services.task_service import task_service
with SessionLocal() as db:
    task, _ = task_service.create_task(
        db, "x", "x", "tests.invoice", [{{"number": 7}}, "2026-11-25"], {{"ledger": {str(ledger)!r}}}, user_id={me!r}
    )
print(task.id)
"""
        task_id = run_program(program, **running.stack.settings).strip()
        assert running.ended(task_id)["status"] == "succeeded"
        assert ledger.read_text() == self.GOT

    def test_without_a_record(self, running: Running, ledger: Path) -> None:
        with settings(running.stack.settings), fresh_connections():
            from tests.support.example_tasks import invoice

            invoice.delay({"number": 7}, date(2026, 11, 25), ledger=str(ledger))
        assert started(ledger) == [self.GOT.strip()]


class TestAppTesting:
    """`app.testing` tells of a body what the record says once a worker has run it."""

    CASES = (
        *(("return_result", kind) for kind in ("dataclass", "exact", "set", "int_keys", "nan", "object", "surrogate")),
        *(("report_detail", kind, "GATE") for kind in ("exact", "dataclass", "nan", "surrogate_key")),
        ("echo", 1, ["x", {"y": None}]),
        ("invoice", {"number": 7}, "2026-11-25"),
        ("retry_with_what_is_not_json",),
        ("retry_at_the_end_of_time",),
        ("hooked", "LEDGER", "fail"),
        ("stumble",),
    )

    @pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case[:2])))
    def test_agrees_with_a_worker(self, running: Running, tmp_path: Path, gate: Path, case: tuple[Any, ...]) -> None:
        from app.testing import run_task
        from tests.support import example_tasks

        def filled(ledger: str) -> tuple[list[Any], dict[str, Any]]:
            files = {"GATE": str(gate), "LEDGER": str(tmp_path / ledger)}
            args = [files.get(value, value) if isinstance(value, str) else value for value in case[1:]]
            return args, {"ledger": str(tmp_path / ledger)} if case[0] == "invoice" else {}

        gate.touch()
        args, kwargs = filled("worker")
        record = running.run(case[0], *args, kwargs=kwargs)
        args, kwargs = filled("testing")
        run = run_task(getattr(example_tasks, case[0]), *args, **kwargs)
        error = None if run.error is None else {"type": run.error.type, "message": run.error.message}
        told = [run.status, run.result, run.progress, run.progress_detail, error]
        said = [record[name] for name in ("status", "result", "progress", "progress_detail", "error")]
        assert json.dumps(told) == json.dumps(said)
        # A worker calls `after_return` once the record has ended.
        here = lines(tmp_path / "testing")
        wait_for(lambda: lines(tmp_path / "worker") == here, 20, f"the worker's ledger to say {here}")


class TestLogLines:
    @pytest.mark.parametrize(("status", "last"), [("succeeded", "succeeded in"), ("failed", "raised unexpected")])
    def test_celerys_line_about_the_end_of_a_task_carries_its_id(
        self, running: Running, status: str, last: str
    ) -> None:
        task = running.run("end_itself", status)
        (worker,) = (part for part in running.stack.parts if part.name.startswith("worker"))

        def about() -> list[str]:
            return [line for line in worker.output().splitlines() if task["celery_id"] in line]

        wait_for(about, 10, "the line of its end")
        (ended,) = about()
        assert last in ended
        assert "the return value" not in ended
        assert ended.endswith(f"[task {task['id']}]")


class TestProgress:
    def test_percent_and_detail_come_back_exactly(self, running: Running, gate: Path) -> None:
        task_id = running.create("report_detail", "exact", str(gate))
        seen = wait_for(lambda: (t := running.get(task_id))["progress"] and t, 20, "progress")
        assert json.dumps(seen["progress_detail"]["zero"]) == "-0.0"
        assert (seen["progress"], seen["progress_detail"]["text"]) == (10, "数据 ✓ \0")

    def test_a_detail_that_is_not_json_is_the_bodys_error(self, running: Running, gate: Path) -> None:
        gate.touch()
        kinds = ["nan", "object", "surrogate", "surrogate_key", "deep", "huge_int"]
        ids = {kind: running.create("report_detail", kind, str(gate)) for kind in kinds}
        for kind, task_id in ids.items():
            ended = running.ended(task_id)
            assert (kind, ended["status"]) == (kind, "failed")
            assert ended["error"]["type"] in {"ValueError", "TypeError"}, kind
        assert running.http.get(TASKS).status_code == 200


class TestTheBodysOwnEnd:
    def test_early_success_stands_and_the_return_value_does_not(self, running: Running) -> None:
        ended = running.run("end_itself", "succeeded")
        assert (ended["status"], ended["progress"]) == ("succeeded", 100)
        assert ended["result"] == {"result": "the body's own"}
        assert running.outcomes(ended["id"]) == ["succeeded"]

    def test_early_success_stands_against_an_exception_that_follows(self, running: Running) -> None:
        ended = running.run("end_itself", "succeeded", True)
        assert (ended["status"], ended["error"]) == ("succeeded", None)

    @pytest.mark.parametrize("status", ["failed", "revoked"])
    def test_it_may_fail_or_revoke_itself(self, running: Running, status: str) -> None:
        ended = running.run("end_itself", status)
        assert (ended["status"], ended["progress"], ended["result"]) == (status, 70, None)
        assert running.outcomes(ended["id"]) == [status]

    def test_a_failure_without_a_reason_says_so_and_celery_says_failed_too(self, running: Running) -> None:
        ended = running.run("end_itself", "failed")
        assert ended["error"] == {"type": "Failed", "message": NO_REASON}
        (worker,) = (part for part in running.stack.parts if part.name.startswith("worker"))
        worker.await_line(f"raised unexpected: ReportedFailure({NO_REASON!r})"[:60])

    def test_any_other_state_is_an_error(self, running: Running) -> None:
        ended = {status: running.run("end_itself", status)["status"] for status in ("pending", "no such status")}
        assert ended == {"pending": "failed", "no such status": "failed"}


class TestFromOutside:
    @pytest.fixture(autouse=True)
    def _this_process_too(self, running: Running) -> Iterator[None]:
        with settings(running.stack.settings):
            yield

    @pytest.mark.parametrize("status", ["succeeded", "failed", "revoked"])
    def test_an_end_fences_the_running_attempt_off(
        self, running: Running, gate: Path, ledger: Path, status: str
    ) -> None:
        task_id = running.create("hold_deaf", str(gate), str(ledger), "too late")
        started(ledger)
        with SessionLocal() as db:
            task_service.update_task_status(db, task_id, status, 70)
        set_by_us = running.get(task_id)
        gate.touch()
        _see_the_child_free(running, ledger)
        assert running.get(task_id) == set_by_us
        assert running.outcomes(task_id) == [status]

    def test_a_body_that_tracks_hears_that_it_was_fenced_off(self, running: Running, gate: Path, ledger: Path) -> None:
        task_id = running.create("hold", str(gate), str(ledger))
        started(ledger)
        with SessionLocal() as db:
            task_service.update_task_status(db, task_id, "revoked")
        _see_the_child_free(running, ledger)  # though the gate stays closed


def _see_the_child_free(running: Running, ledger: Path) -> None:
    """The process that ran the body has taken another one, together with the worker's only other process."""
    both = []
    for number in range(2):
        gate, other = ledger.with_name(f"free-gate-{number}"), ledger.with_name(f"free-{number}")
        both.append((running.create("hold", str(gate), str(other)), gate, other))
    for _, _, other in both:
        started(other)
    for task_id, gate, _ in both:
        gate.touch()
        running.ended(task_id)


class TestTaskId:
    def test_is_filled_in_where_the_body_has_such_a_parameter(self, running: Running, gate: Path, ledger: Path) -> None:
        gate.touch()
        ended = running.run("hold", str(gate), str(ledger))
        assert ended["result"]["task_id"] == ended["id"]
        assert "task_id" not in ended["kwargs"]


class TestAsynchronous:
    def test_a_coroutine_has_progress_a_session_and_its_own_id(self, running: Running, gate: Path) -> None:
        task_id = running.create("asynchronous", str(gate))
        seen = wait_for(lambda: (t := running.get(task_id))["progress"] and t, 20, "progress")
        assert seen["progress_detail"] == {"from": "a coroutine"}
        gate.touch()
        assert running.ended(task_id)["result"] == {"one": 1, "seen": "running"}

    def test_a_cancelled_future_fails_the_task_and_spares_the_process(self, running: Running, ledger: Path) -> None:
        ended = running.run("cancel_its_coroutine", str(ledger))
        assert (ended["status"], ended["attempt"], len(lines(ledger))) == ("failed", 1, 1)
        assert "CancelledError" in ended["error"]["type"]


class TestHooks:
    @pytest.mark.parametrize(
        ("how", "expected"),
        [
            ("succeed", ["before_start", "on_success", "after_return SUCCESS"]),
            ("fail", ["before_start", "on_failure", "after_return FAILURE"]),
            (
                "retry",
                # Celery calls no `after_return` for a retry.
                ["before_start", "on_retry", "before_start", "on_success", "after_return SUCCESS"],
            ),
        ],
    )
    def test_all_are_called_with_the_rows_arguments(
        self, running: Running, ledger: Path, how: str, expected: list[str]
    ) -> None:
        running.run("hooked", str(ledger), how, kwargs={"more": 5})
        said = wait_for(lambda: len(lines(ledger)) >= len(expected) and lines(ledger), 20, "all hooks")
        assert [line.partition(" [")[0] for line in said] == expected
        assert all(f"['{how}'] {{'more': 5}}" in line for line in said)
        assert [line.endswith("the row succeeded") for line in said if line.startswith("on_success")] in ([True], [])

    def test_one_that_fails_before_the_start_fails_the_task(self, running: Running) -> None:
        ended = running.run("stumble")
        assert (ended["status"], ended["error"]["message"]) == ("failed", "stumbled before the start")
        assert running.outcomes(ended["id"]) == ["failed"]


class TestHostileArguments:
    def test_names_that_the_machinery_uses_itself(self, running: Running) -> None:
        refused = []
        for name in ("self", "args", "kwargs", "task", "request", "uuid", "retval", "cls"):
            body: dict[str, Any] = {
                "name": "n",
                "task_type": "t",
                "celery_task_name": "tests.echo",
                "kwargs": {name: 1},
            }
            answer = running.http.post(TASKS, json=body)
            if answer.status_code == 201:
                assert running.ended(answer.json()["id"])["result"]["kwargs"] == {name: 1}
            else:
                assert (name, answer.status_code) == (name, 422)
                assert answer.json()["errors"][0]["loc"] == ["body", "kwargs", name]
                refused.append(name)
        assert refused == ["self"]
