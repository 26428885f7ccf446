"""What is not well, for the sentence with which the overview begins."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.models.worker import WorkerState
from app.services.operations.queue_service import QueueState
from app.services.operations.worker_service import WorkerInfo
from app.web.views.overview import longest_wait, queues_of_user, troubles, used_slots

SINCE = datetime(2026, 11, 30, 4, tzinfo=UTC)
NOW = datetime(2026, 11, 30, 5, 30, tzinfo=UTC)
WELL = (0, SINCE)


def queue(name: str = "default", **state: object) -> QueueState:
    return QueueState(name, **{"startable": 2, "blocked": 2, "workers": 1, "slots": 2, "slots_used": 2} | state)


def worker(name: str, state: WorkerState, runs: int, seconds_ago: float = 0) -> WorkerInfo:
    heard = NOW - timedelta(seconds=seconds_ago)
    return WorkerInfo(name, "host", 1, ["default"], 4, [None] * runs, SINCE, heard, state, 0, None, None)


def kinds(*queues: QueueState) -> list[str]:
    return [each.kind for each in troubles(WELL, queues, [], NOW)]


def test_a_queue_that_works_off_its_tasks_is_well() -> None:
    assert kinds(queue(), queue(oldest_startable_seconds=60)) == []


def test_a_queue_without_tasks_that_are_due_is_well_whatever_its_state() -> None:
    later = {"pending": 3, "startable": 0, "blocked": 0}
    assert kinds(queue(), queue(**later, workers=0), queue(**later, paused=True)) == []


def test_what_waits_beside_a_free_slot_waits_for_a_limit() -> None:
    assert kinds(queue(oldest_startable_seconds=100, slots_used=1)) == []


def test_that_no_worker_is_there_is_said_once() -> None:
    assert kinds(queue(workers=0), queue(startable=0, workers=0)) == ["no_workers"]
    assert kinds(queue(workers=0, paused=True), queue(workers=0)) == ["no_workers", "paused"]
    assert kinds() == []


def test_a_queue_has_one_trouble_the_first_that_holds() -> None:
    long = {"oldest_startable_seconds": 61.0}
    assert kinds(queue(**long)) == ["waits"]
    assert kinds(queue("other"), queue(**long, workers=0)) == ["no_worker"]
    assert kinds(queue("other"), queue(**long, workers=0, paused=True)) == ["paused"]


def test_what_no_worker_serves_comes_first_and_what_waits_last() -> None:
    states = (
        (WorkerState.LOST, 1, 900),
        (WorkerState.LOST, 0, 599),
        (WorkerState.LOST, 0, 600),
        (WorkerState.DRAINING, 1),
    )
    workers = [worker(name, *state) for name, state in zip("abcd", states, strict=True)]
    found = troubles(
        (7, SINCE), [queue("slow", oldest_startable_seconds=90), queue("reports", workers=0)], workers, NOW
    )
    assert [(each.kind, each.name) for each in found] == [
        ("no_worker", "reports"), ("lost", "a"), ("lost", "b"), ("failed", ""), ("waits", "slow"),
    ]  # fmt: skip
    assert (found[3].number, found[3].since) == (7, SINCE)


def test_slots_of_lost_workers_do_not_count() -> None:
    kinds = [(WorkerState.ALIVE, 3), (WorkerState.DRAINING, 1), (WorkerState.LOST, 4)]
    assert used_slots([worker(str(at), *each) for at, each in enumerate(kinds)]) == (2, 4, 8)
    assert used_slots([]) == (0, 0, 0)


def test_the_longest_wait_is_that_of_the_oldest_task() -> None:
    assert longest_wait([queue(), queue(oldest_startable_seconds=3.5)]) == 3.5
    assert longest_wait([]) == 0


def test_a_user_is_told_of_queues_with_tasks_of_theirs_that_are_due() -> None:
    found = queues_of_user([queue("mine", paused=True, startable=9), queue("others", paused=True)], {"mine": 2})
    assert [(each.name, each.number) for each in troubles(WELL, found, [], NOW)] == [("mine", 2)]


def test_endpoints_that_get_nothing_stand_behind_failures() -> None:
    paused, silent = queue(paused=True), (UUID(int=1), "127.0.0.1:9/hooks")
    found = troubles((2, SINCE), [paused], [], NOW, [silent])
    assert [each.kind for each in found] == ["failed", "endpoint", "paused"]
    assert (found[1].path, found[1].name) == (f"/webhooks/{silent[0]}", silent[1])
