"""What the parent does about a child whose time is over, or which takes too much memory, by what its slot shows."""

import threading
from typing import Any

import pytest

from app.core.ids import new_id
from app.worker.child.process import Slot
from app.worker.parent.limits import DELIVERY_SECONDS, MemoryLimit, TimeLimits
from app.worker.shared.slot_table import NO_LIMITS, Deadlines, Phase, SlotState, SlotTable, Stop

PID, GRACE = 4711, 5.0


class Stopper:
    def __init__(self) -> None:
        self.killed: list[tuple[Phase, Stop]] = []
        self.interrupted: list[str] = []

    def kill(self, state: SlotState, why: Stop) -> None:
        self.killed.append((state.phase, why))

    def interrupt(self, state: SlotState) -> None:
        self.interrupted.append(f"attempt {state.attempt}")

    def end_uninterrupted(self, state: SlotState) -> None:
        self.interrupted.append(f"end of attempt {state.attempt}")


class Database:
    answers = True


@pytest.fixture
def stopper() -> Stopper:
    return Stopper()


@pytest.fixture
def slot(table: SlotTable) -> Slot:
    return Slot(table, 0, PID)


@pytest.fixture
def limits(table: SlotTable, stopper: Any) -> TimeLimits:
    return TimeLimits(table, stopper, lambda _: None, lambda: Database.answers, GRACE)


class TestTheWritingOfAnEnd:
    """A body may leave a lock or broken descriptors behind: its process then tries for ever."""

    def begin(self, slot: Slot, deadlines: Deadlines) -> None:
        slot.claiming()
        slot.running(new_id(), 1, deadlines)
        slot.delivering()

    def test_has_ten_seconds_beyond_the_hard_limit(self, slot: Slot, limits: TimeLimits, stopper: Stopper) -> None:
        self.begin(slot, Deadlines(hard=100.0, limit=5))
        for now in (90.0, 100.0, 100.0 + DELIVERY_SECONDS - 0.1):
            limits.look(now)
        assert stopper.killed == []
        limits.look(100.0 + DELIVERY_SECONDS)
        assert stopper.killed == [(Phase.DELIVERING, Stop.OVERRAN)]

    def test_that_begins_late_has_them_too(self, slot: Slot, limits: TimeLimits, stopper: Stopper) -> None:
        self.begin(slot, Deadlines(hard=100.0, limit=5))
        limits.look(99.0)
        self.begin(slot, Deadlines(hard=100.0, limit=5))  # another attempt in the same slot
        limits.look(105.0)
        limits.look(105.0 + DELIVERY_SECONDS - 0.1)
        assert stopper.killed == []
        limits.look(105.0 + DELIVERY_SECONDS)
        assert len(stopper.killed) == 1

    def test_waits_for_a_database_that_is_away(
        self, slot: Slot, limits: TimeLimits, stopper: Stopper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Database, "answers", False)
        self.begin(slot, Deadlines(hard=100.0, limit=5))
        for now in (100.0, 10_000.0):
            limits.look(now)
        assert stopper.killed == []

    @pytest.mark.parametrize("settled", [False, True])
    def test_without_a_limit_goes_on(self, slot: Slot, limits: TimeLimits, stopper: Stopper, settled: bool) -> None:
        slot.claiming()
        slot.running(new_id(), 1, Deadlines(hard=100.0) if settled else NO_LIMITS)
        if settled:
            slot.settled()
        slot.delivering()
        for now in (100.0, 10_000.0):
            limits.look(now)
        assert stopper.killed == []


def test_a_body_over_its_hard_limit_is_killed_at_once(slot: Slot, limits: TimeLimits, stopper: Stopper) -> None:
    slot.claiming()
    slot.running(new_id(), 1, Deadlines(hard=100.0, limit=5))
    limits.look(99.9)
    assert stopper.killed == []
    limits.look(100.0)
    assert stopper.killed == [(Phase.RUNNING, Stop.OVERRAN)]


def test_a_body_that_is_there_until_it_is_reaped_is_told_of_once(
    slot: Slot, limits: TimeLimits, stopper: Stopper, caplog: pytest.LogCaptureFixture
) -> None:
    """Its slot shows it after the SIGKILL, too. The next attempt that overruns is told of anew."""
    task_id = new_id()
    for attempt in (1, 2):
        slot.claiming()
        slot.running(task_id, attempt, Deadlines(hard=100.0, limit=5))
        for now in (100.0, 100.1, 100.2):
            limits.look(now)
        told = [record for record in caplog.records if "hard time limit (5s) exceeded" in record.getMessage()]
        assert (len(told), len(stopper.killed)) == (attempt, 3 * attempt)


class TestABodyOverItsSoftLimit:
    def begin(self, slot: Slot, attempt: int = 1) -> None:
        slot.claiming()
        slot.running(new_id(), attempt, Deadlines(soft=100.0))

    def test_is_interrupted_once_and_ended_where_that_does_not_reach_it_in_time(
        self, slot: Slot, limits: TimeLimits, stopper: Stopper
    ) -> None:
        self.begin(slot)
        for now in (99.9, 110.0, 110.1, 110.0 + GRACE - 0.1):  # the first look after the limit may be late
            limits.look(now)
        assert stopper.interrupted == ["attempt 1"]
        limits.look(110.0 + GRACE)
        assert stopper.interrupted == ["attempt 1", "end of attempt 1"]

    def test_has_its_own_time(self, slot: Slot, limits: TimeLimits, stopper: Stopper) -> None:
        for attempt in (1, 2):
            self.begin(slot, attempt)
            limits.look(200.0 * attempt)
        assert stopper.interrupted == ["attempt 1", "attempt 2"]


class TestTheMemoryOfABody:
    LIMIT, BEFORE = 1000, 50_000

    @pytest.fixture
    def sizes(self, monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
        """What the processes have, by their ids."""
        found = {PID: self.BEFORE}
        for module in ("app.worker.child.process", "app.worker.parent.limits"):
            monkeypatch.setattr(f"{module}.private_bytes", found.get)
        return found

    @pytest.fixture
    def limit(self, table: SlotTable, stopper: Any) -> MemoryLimit:
        return MemoryLimit(table, stopper, self.LIMIT)

    def test_counts_from_the_start_of_the_attempt(
        self, table: SlotTable, stopper: Stopper, limit: MemoryLimit, sizes: dict[int, int]
    ) -> None:
        slot = Slot(table, 0, PID, tells_memory=True)
        slot.running(new_id(), 1)
        sizes[PID] += self.LIMIT
        limit.look(self.LIMIT)
        slot.running(new_id(), 1)  # with what the one before has left
        sizes[PID] += self.LIMIT
        limit.look(self.LIMIT)
        assert stopper.killed == []
        sizes[PID] += 1
        limit.look(self.LIMIT)
        assert stopper.killed == [(Phase.RUNNING, Stop.OUT_OF_MEMORY)]

    def test_is_no_concern_of_it_once_the_body_has_ended_or_its_process(
        self, table: SlotTable, stopper: Stopper, limit: MemoryLimit, sizes: dict[int, int]
    ) -> None:
        slot = Slot(table, 0, PID, tells_memory=True)
        slot.running(new_id(), 1)
        slot.delivering()
        sizes[PID] += 2 * self.LIMIT
        limit.look(self.LIMIT)
        slot.running(new_id(), 1)
        sizes.clear()
        limit.look(self.LIMIT)
        assert stopper.killed == []

    def test_is_not_looked_at_without_a_limit(self, table: SlotTable, stopper: Any, sizes: dict[int, int]) -> None:
        slot = Slot(table, 0, PID)
        slot.running(new_id(), 1)
        assert table.read(0).memory == 0
        threads = threading.active_count()
        MemoryLimit(table, stopper, None).start()
        assert threading.active_count() == threads
