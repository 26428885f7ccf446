"""Bodies that break their process: the slot is free within the time limit, and the worker leaves within its grace time."""

import signal
from collections.abc import Iterator

import pytest

from app.worker.parent.limits import DELIVERY_SECONDS
from tests.support.running import Running
from tests.support.services import Services
from tests.support.stack import Stack
from tests.support.waiting import wait_for

LIMIT = 3
# The limit, the time to write an end, the look of the parent, and a new process: with room for a busy machine.
SECONDS = LIMIT + DELIVERY_SECONDS + 20
SETTINGS = {
    "TASK_MODULES": "tests.support.odd_tasks", "SHUTDOWN_GRACE_SECONDS": "3", "CANCEL_GRACE_SECONDS": "1",
    "WORKER_LEASE_SECONDS": "6",
}  # fmt: skip
# How each ends. Closed descriptors keep SQLite from writing even the success.
BODIES = {
    "close_descriptors": {"succeeded", "failed"}, "hold_transaction": {"succeeded"},
    "hold_own_transaction": {"succeeded"}, "hold_connection": {"succeeded"}, "stay_in_c": {"failed"},
}  # fmt: skip


@pytest.fixture(scope="module")
def running(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("odd")
    with Stack(services, directory, **SETTINGS) as stack:
        yield Running(stack)


class TestTheSlot:
    @pytest.mark.parametrize("name", BODIES)
    def test_is_free_again_within_the_time_limit(self, running: Running, name: str) -> None:
        worker = running.stack.worker(concurrency=1)
        odd = running.create(name, timeout_seconds=LIMIT, max_attempts=1)
        after = running.create("app.tasks.common_tasks.long_running_task", 0.1)
        ended = running.ended(after, seconds=SECONDS)
        assert ended["status"] == "succeeded"
        assert running.ended(odd, seconds=SECONDS)["status"] in BODIES[name]
        worker.stop()

    @pytest.mark.parametrize("name", BODIES)
    def test_does_not_keep_its_worker_from_leaving(self, running: Running, name: str) -> None:
        worker = running.stack.worker(concurrency=1)
        odd = running.create(name, timeout_seconds=3600, max_attempts=1)
        wait_for(lambda: running.get(odd)["status"] != "pending", SECONDS, "the body to begin")
        worker.send(signal.SIGTERM)
        wait_for(lambda: not worker.running, SECONDS, "the worker to leave")
        running.post(odd, "cancel")
