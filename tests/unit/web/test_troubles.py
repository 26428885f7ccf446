"""What is not well, for the sentence with which the overview begins."""

from datetime import UTC, datetime

from app.models.worker import WorkerState
from app.services.operations.queue_service import QueueState
from app.services.operations.worker_service import WorkerInfo
from app.web.troubles import longest_wait, troubles, used_slots

SINCE = datetime(2026, 11, 30, 4, tzinfo=UTC)
WELL = (0, SINCE)


def queue(name: str = "default", **state: object) -> QueueState:
    return QueueState(name, **{"pending": 3, "ready": 2, "workers": 1, "slots": 2} | state)  # type: ignore[arg-type]


def worker(name: str, state: WorkerState, runs: int) -> WorkerInfo:
    return WorkerInfo(name, "host", 1, ["default"], 4, [None] * runs, SINCE, SINCE, state, 0, None, None)


def kinds(*queues: QueueState) -> list[str]:
    return [each.kind for each in troubles(WELL, queues)]


def test_a_queue_that_works_off_its_tasks_is_well() -> None:
    assert kinds(queue(), queue(oldest_ready_seconds=60)) == []


def test_a_queue_without_tasks_is_well_whatever_its_state() -> None:
    assert kinds(queue(), queue(pending=0, workers=0), queue(pending=0, paused=True)) == []


def test_that_no_worker_is_there_is_said_once() -> None:
    assert kinds(queue(workers=0), queue(pending=0, workers=0)) == ["no_workers"]
    assert kinds(queue(workers=0, paused=True), queue(workers=0)) == ["no_workers", "paused"]
    assert kinds() == []


def test_a_queue_has_one_trouble_the_first_that_holds() -> None:
    long = {"oldest_ready_seconds": 61.0}
    assert kinds(queue(**long)) == ["waits"]
    assert kinds(queue("other"), queue(**long, workers=0)) == ["no_worker"]
    assert kinds(queue("other"), queue(**long, workers=0, paused=True)) == ["paused"]


def test_what_no_worker_serves_comes_first_and_what_waits_last() -> None:
    workers = [worker("a@host", WorkerState.LOST, 1), worker("b@host", WorkerState.DRAINING, 1)]
    found = troubles((7, SINCE), [queue("slow", oldest_ready_seconds=90), queue("reports", workers=0)], workers)
    assert [(each.kind, each.name) for each in found] == [
        ("no_worker", "reports"), ("lost", "a@host"), ("failed", ""), ("waits", "slow"),
    ]  # fmt: skip
    assert (found[2].number, found[2].since) == (7, SINCE)


def test_slots_of_lost_workers_do_not_count() -> None:
    kinds = [(WorkerState.ALIVE, 3), (WorkerState.DRAINING, 1), (WorkerState.LOST, 4)]
    assert used_slots([worker(str(at), *each) for at, each in enumerate(kinds)]) == (2, 4, 8)
    assert used_slots([]) == (0, 0, 0)


def test_the_longest_wait_is_that_of_the_oldest_task() -> None:
    assert longest_wait([queue(), queue(oldest_ready_seconds=3.5)]) == 3.5
    assert longest_wait([]) == 0
