"""Native calls that no signal interrupts: their tasks end, their slots are free, and nothing of them goes on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.catalogue import catalogue
from tests.support.running import Running, example_stack, lines, started
from tests.support.services import Services
from tests.support.stuck_tasks import STUCK_IN, STUCK_WHILE
from tests.support.waiting import wait_for

SETTINGS = {
    "TASK_MODULES": '["tests.support.stuck_tasks"]',
    "CANCEL_GRACE_SECONDS": "0.5",
    "OUTBOUND_ALLOW": '["127.0.0.0/8"]',
    "SMTP_HOST": "127.0.0.1",
    "SMTP_FROM": "tasks@example.com",
    "MAIL_DOMAINS": '["example.com"]',
    "MAIL_USERS": "*",
}
TABLE = ("table.jsonl", b'{"a": 1, "b": 2}\n' * 3, "application/jsonl")
# Seconds in which a fresh process has imported scikit-learn.
LIMIT = 4
FILES = "/api/v1/files/"
SOFT = "billiard.exceptions.SoftTimeLimitExceeded"
URL = {"url": "http://127.0.0.1:9/"}
OF_FILES: dict[str, dict[str, Any]] = {
    "profile_data": {},
    "transform_data": {"select": ["a"]},
    "train_model": {"target": "a"},
    "evaluate_model": {"model": True},
    "predict": {"model": True},
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "export_tasks": {"filter": {}},
    "fetch_to_file": URL,
    "fetch_url": URL,
    "long_running_task": {"duration": 3600},
    "send_email": {"to": "a@example.com", "subject": "s", "body": "b"},
    "send_webhook": {**URL, "event": "a.b", "payload": {}},
    "train_classifier": {},
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("told") / "told"


def _stack(services: Services, directory: Path, told: Path, *options: str) -> Iterator[Running]:
    with example_stack(services, directory, **SETTINGS, **{STUCK_WHILE: str(told)}) as made:
        made.stack.worker(concurrency=1, options=options)
        yield made


@pytest.fixture(scope="module")
def running(services: Services, tmp_path_factory: pytest.TempPathFactory, told: Path) -> Iterator[Running]:
    yield from _stack(services, tmp_path_factory.mktemp("running"), told)


@pytest.fixture(scope="module")
def soon_over(services: Services, tmp_path_factory: pytest.TempPathFactory, told: Path) -> Iterator[Running]:
    """With a soft time limit for all tasks."""
    yield from _stack(services, tmp_path_factory.mktemp("soon_over"), told, f"--soft-time-limit={LIMIT}")


def stuck(running: Running, told: Path, name: str, **fields: Any) -> str:
    """The id of a task of this name of the catalogue, whose body is in the call."""
    short = name.rpartition(".")[2]
    kwargs = dict(ARGUMENTS.get(short) or {})
    if short in OF_FILES:
        file = running.http.post(FILES, files={"file": TABLE}).json()["id"]
        kwargs = {"file": file, **OF_FILES[short]}
        kwargs |= {"model": file} if "model" in kwargs else {}
    told.touch()
    task_id = running.create(name, kwargs=kwargs, max_attempts=1, **fields)
    wait_for(lambda: told.with_suffix(".stuck").exists(), 30, "the body to be in the call")
    return task_id


def slot_is_free(running: Running, told: Path) -> None:
    for path in (told, told.with_suffix(".stuck")):
        path.unlink(missing_ok=True)
    assert running.run("echo", 1)["status"] == "succeeded"


@pytest.fixture(autouse=True)
def nothing_is_told(told: Path) -> Iterator[None]:
    yield
    for path in (told, told.with_suffix(".stuck")):
        path.unlink(missing_ok=True)


PROFILE = "app.tasks.common_tasks.profile_data"


class TestACancelledQuery:
    def test_keeps_no_later_table_waiting(self, running: Running, told: Path) -> None:
        task_id = stuck(running, told, PROFILE)
        assert running.post(task_id, "cancel").status_code == 202
        assert running.ended(task_id)["status"] == "revoked"
        told.unlink()
        file = running.http.post(FILES, files={"file": TABLE}).json()["id"]
        assert running.run(PROFILE, kwargs={"file": file})["status"] == "succeeded"


class TestASoftTimeLimit:
    @pytest.mark.parametrize("name", ["stuck", "stuck_query"])
    def test_ends_the_call_with_its_process(self, running: Running, ledger: Path, name: str) -> None:
        task_id = running.create(name, str(ledger))
        pid = int(started(ledger)[0])
        ended = running.ended(task_id)
        assert (ended["status"], running.outcomes(task_id)) == ("failed", ["failed"])
        assert ended["error"]["type"] == SOFT
        wait_for(lambda: pid not in running.worker.children(), 20, "its process to be replaced")
        assert running.run("echo", 1)["attempt"] == 1

    def test_ends_a_coroutine_and_leaves_nothing_of_it_on_the_loop(self, running: Running, ledger: Path) -> None:
        ended = running.run("wait_long", str(ledger))
        assert (ended["status"], ended["error"]["type"]) == ("failed", SOFT)
        assert running.run("wait_longer")["status"] == "succeeded"
        assert lines(ledger) == [str(pid) for pid in running.worker.children()]


class TestThreadsOfABody:
    def ended_after_cancel(self, running: Running, ledger: Path, name: str, *args: str) -> int:
        """The process of a body that was cancelled."""
        task_id = running.create(name, str(ledger), *args)
        pid = int(started(ledger)[0])
        running.post(task_id, "cancel")
        ended = running.ended(task_id)
        assert (ended["status"], running.outcomes(task_id)) == ("revoked", ["revoked"])
        return pid

    @pytest.mark.parametrize(("name", "thread"), [("leave_thread", "left-behind"), ("leave_call", "asyncio_")])
    def test_end_with_the_process_of_a_cancelled_one(
        self, running: Running, ledger: Path, gate: Path, name: str, thread: str
    ) -> None:
        pid = self.ended_after_cancel(running, ledger, name, *([str(gate)] if name == "leave_thread" else []))
        running.worker.await_line(f"1 threads running ({thread}")
        wait_for(lambda: pid not in running.worker.children(), 20, "its process to be replaced")
        assert running.run("echo", 1)["attempt"] == 1

    def test_that_wait_for_their_next_call_stay(self, running: Running, ledger: Path) -> None:
        pid = self.ended_after_cancel(running, ledger, "await_call")
        assert running.run("echo", 1)["attempt"] == 1
        assert running.worker.children() == [pid]

    def test_stay_where_it_has_succeeded(self, running: Running, ledger: Path) -> None:
        assert running.run("leave_thread", str(ledger))["status"] == "succeeded"
        assert running.run("echo", 1)["attempt"] == 1
        assert running.worker.children() == [int(lines(ledger)[0])]


@pytest.mark.full
class TestEachTaskOfTheService:
    def test_is_here(self) -> None:
        assert {name for name in catalogue() if name.startswith("app.")} == {*STUCK_IN}

    @pytest.mark.parametrize("name", [*STUCK_IN])
    def test_is_cancelled(self, running: Running, told: Path, name: str) -> None:
        task_id = stuck(running, told, name)
        assert running.post(task_id, "cancel").status_code == 202
        assert running.ended(task_id)["status"] == "revoked"
        slot_is_free(running, told)

    @pytest.mark.parametrize("name", [*STUCK_IN])
    def test_ends_at_its_hard_time_limit(self, running: Running, told: Path, name: str) -> None:
        task_id = stuck(running, told, name, timeout_seconds=LIMIT)
        assert running.ended(task_id)["error"]["type"] == "TimeLimitExceeded"
        slot_is_free(running, told)

    @pytest.mark.parametrize("name", [*STUCK_IN])
    def test_ends_at_its_soft_time_limit(self, soon_over: Running, told: Path, name: str) -> None:
        task_id = stuck(soon_over, told, name)
        assert soon_over.ended(task_id)["error"]["type"] == SOFT
        slot_is_free(soon_over, told)
