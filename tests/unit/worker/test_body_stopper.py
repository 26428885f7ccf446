"""Orders and SIGKILLs to real child processes, and the comparison of the rows with what the children run."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from app.core.ids import new_id
from app.worker.child.process import Slot
from app.worker.parent import body_stopper, held_attempts, limits
from app.worker.parent.body_stopper import BodyStopper, has_ended, how_ended
from app.worker.parent.held_attempts import HeldAttempt
from app.worker.parent.limits import HeartbeatGuard
from app.worker.shared.slot_table import STOP_SIGNAL, Deadlines, Phase, SlotState, SlotTable, Stop
from tests.support.waiting import wait_for

Fork = Callable[..., int]


@pytest.fixture
def stopper(table: SlotTable) -> BodyStopper:
    return BodyStopper(table, grace_seconds=0.2)


@pytest.fixture
def fork(table: SlotTable) -> Iterator[Fork]:
    """`fork(task_id)` gives a child in slot 0 that runs attempt 1 and ignores the signal of an order."""
    pids: list[int] = []

    def start(task_id: UUID, phase: Phase = Phase.RUNNING) -> int:
        pid = os.fork()
        if pid == 0:
            assert STOP_SIGNAL is not None
            signal.signal(STOP_SIGNAL, signal.SIG_IGN)
            table.write(SlotState(0, os.getpid(), 1, phase, 1, task_id))
            while True:
                time.sleep(60)
        pids.append(pid)
        wait_for(table.busy, what="the child to write its slot")
        return pid

    yield start
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]


class TestStop:
    def test_orders_first_and_kills_when_the_grace_time_is_over(
        self, table: SlotTable, stopper: BodyStopper, fork: Fork
    ) -> None:
        task_id = new_id()
        pid = fork(task_id)
        (held,) = table.busy()
        stopper.stop(held, Stop.CANCELLED)
        assert table.ordered(0, task_id, 1) is Stop.CANCELLED
        assert not has_ended(pid)
        assert stopper.why_ended(pid) is None

        def stopped() -> bool:
            stopper.stop(held, Stop.CANCELLED)
            return has_ended(pid)

        wait_for(stopped, what="the child to be killed")
        assert stopper.why_ended(pid) is Stop.CANCELLED

    def test_an_order_that_is_forgotten_begins_anew(self, table: SlotTable, stopper: BodyStopper, fork: Fork) -> None:
        pid = fork(new_id())
        (held,) = table.busy()
        stopper.stop(held, Stop.CANCELLED)
        stopper.forget([])
        time.sleep(0.3)  # longer than the grace time
        stopper.stop(held, Stop.CANCELLED)
        assert not has_ended(pid)

    def test_of_a_child_that_is_gone_signals_no_process_that_has_its_number_now(
        self, table: SlotTable, stopper: BodyStopper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sent: list[tuple[int, int | None]] = []
        monkeypatch.setattr(body_stopper, "_send", lambda pid, number: sent.append((pid, number)))
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        wait_for(lambda: has_ended(pid), what="the child to end")  # a zombie has ended
        os.waitpid(pid, 0)
        assert has_ended(pid)
        gone = SlotState(0, pid, 1, Phase.RUNNING, 1, new_id())
        table.write(gone)
        stopper.stop(gone, Stop.CANCELLED)
        stopper.kill(gone, Stop.CANCELLED)
        assert sent == []


class TestKill:
    def test_spares_a_child_that_has_gone_on_to_another_task(
        self, table: SlotTable, stopper: BodyStopper, fork: Fork
    ) -> None:
        pid = fork(new_id())
        (held,) = table.busy()
        table.write(SlotState(0, pid, 2, Phase.RUNNING, 1, new_id()))
        stopper.kill(held, Stop.CANCELLED)
        assert not has_ended(pid)
        wait_for(lambda: state(pid) == "S", what="the child to go on")
        assert stopper.why_ended(pid) is None

    def test_spares_a_body_that_has_ended(self, table: SlotTable, stopper: BodyStopper, fork: Fork) -> None:
        task_id = new_id()
        pid = fork(task_id)
        (in_body,) = table.busy()
        table.write(SlotState(0, pid, 1, Phase.DELIVERING, 1, task_id))
        stopper.kill(in_body, Stop.CANCELLED)
        wait_for(lambda: state(pid) == "S", what="the child to go on")
        assert stopper.why_ended(pid) is None

    def test_ends_a_child_that_still_writes_the_same_end(
        self, table: SlotTable, stopper: BodyStopper, fork: Fork
    ) -> None:
        pid = fork(new_id(), Phase.DELIVERING)
        stopper.kill(table.busy()[0], Stop.UNWRITTEN)
        wait_for(lambda: has_ended(pid), what="the child to be killed")
        assert stopper.why_ended(pid) is Stop.UNWRITTEN


class TestABodyThatItsSoftLimitDoesNotReach:
    LIMITS = Deadlines(soft=1.0, soft_limit=3)

    def held(self, table: SlotTable, fork: Fork) -> SlotState:
        fork(new_id())
        held = replace(table.busy()[0], deadlines=self.LIMITS, begun=7)
        table.write(held)
        return held

    def test_is_ended_with_its_process(self, table: SlotTable, stopper: BodyStopper, fork: Fork) -> None:
        held = self.held(table, fork)
        table.soft_limit_met(held.slot, held.begun - 1)  # by the row before
        stopper.end_uninterrupted(held)
        wait_for(lambda: has_ended(held.pid), what="the child to be killed")
        assert (stopper.why_ended(held.pid), stopper.limit_of(held.pid)) == (Stop.SOFT_TIME_LIMIT, 3)

    def test_is_none_that_has_met_it_or_is_told_to_stop(
        self, table: SlotTable, stopper: BodyStopper, fork: Fork
    ) -> None:
        held = self.held(table, fork)
        table.soft_limit_met(held.slot, held.begun)
        stopper.end_uninterrupted(held)
        table.soft_limit_met(held.slot, 0)
        stopper.stop(held, Stop.CANCELLED)
        stopper.end_uninterrupted(held)
        assert stopper.why_ended(held.pid) is None


class TestTheHeartbeatGuard:
    def test_ends_bodies_without_a_heartbeat_and_spares_deliveries(
        self, table: SlotTable, stopper: BodyStopper, fork: Fork, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "HEARTBEAT_LOOK_SECONDS", 0.05)
        pid = fork(new_id())
        delivering = SlotState(1, os.getpid(), 1, Phase.DELIVERING, 1, new_id())
        table.write(delivering)
        guard = HeartbeatGuard(stopper, table, lease_seconds=0.9)
        guard.start()
        try:
            until = time.monotonic() + 1
            while time.monotonic() < until:  # longer than two thirds of the lease of 0.9 s
                guard.beaten(time.monotonic())
                assert not has_ended(pid)
                assert not table.is_cut_off
            wait_for(lambda: has_ended(pid), what="the body to be ended")
            assert table.is_cut_off
            guard.beaten(time.monotonic())
            wait_for(lambda: not table.is_cut_off, what="the children to take rows again")
        finally:
            guard.stop()
        assert table.read(1) == delivering


class TestHeldAttempts:
    TASK = new_id()

    def state(self, phase: Phase, attempt: int = 1) -> SlotState:
        return SlotState(0, os.getpid(), 1, phase, attempt, self.TASK)

    def row(self, pid: int | None = None, *, cancelled: bool = False) -> HeldAttempt:
        return HeldAttempt(self.TASK, 1, pid or os.getpid(), cancelled=cancelled)

    def test_the_bodies_that_were_cancelled(self) -> None:
        rows = [self.row(cancelled=True), HeldAttempt(new_id(), 1, 1, cancelled=True)]
        running = self.state(Phase.RUNNING)
        assert held_attempts.cancelled(rows, [running]) == [running]
        assert held_attempts.cancelled(rows, [self.state(Phase.RUNNING, attempt=2)]) == []
        assert held_attempts.cancelled(rows, [self.state(Phase.DELIVERING)]) == []
        assert held_attempts.cancelled([self.row()], [running]) == []

    def test_the_bodies_whose_row_has_another_attempt_now(self) -> None:
        running = self.state(Phase.RUNNING)
        assert held_attempts.lost([], [running], [running]) == [running]
        assert held_attempts.lost([self.row()], [running], [running]) == []
        assert held_attempts.lost([], [], [running]) == []  # claimed after the rows were read
        assert held_attempts.lost([], [running], [self.state(Phase.DELIVERING)]) == []  # ended meanwhile

    def test_the_rows_without_a_process_that_runs_them(self, fork: Fork, table: SlotTable) -> None:
        pid = fork(self.TASK)
        row = self.row(pid)
        assert held_attempts.orphans([row], table.busy(), set()) == []
        other = SlotState(0, pid, 2, Phase.RUNNING, 1, new_id())
        assert held_attempts.orphans([row], [other], set()) == [row]
        assert held_attempts.orphans([row], [], set()) == []  # a living child without a slot
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: has_ended(pid), what="the child to end")
        assert held_attempts.orphans([row], [], set()) == [row]
        assert held_attempts.orphans([row], table.busy(), set()) == [row]

    def test_an_idle_slot_holds_no_row_but_what_was_handed_over_is_no_orphan(self, table: SlotTable) -> None:
        slot, row = Slot(table, 0, os.getpid()), self.row()
        slot.running(self.TASK, 1)
        slot.idle()
        assert held_attempts.orphans([row], list(table.used()), {(self.TASK, 1)}) == []
        assert held_attempts.orphans([row], list(table.used()), {(self.TASK, 2)}) == [row]
        assert held_attempts.orphans([row], list(table.used()), set()) == [row]

    def test_a_pool_without_children_is_never_in_doubt(self) -> None:
        assert held_attempts.orphans([self.row()], [], set()) == []


@pytest.mark.parametrize(
    ("end", "told"), [(lambda: os._exit(3), "exitcode 3"), (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL")]
)
def test_how_a_child_ended_is_known_until_it_is_reaped(end: Callable[[], None], told: str) -> None:
    assert how_ended(os.getpid()) is None
    pid = os.fork()
    if pid == 0:
        end()
    wait_for(lambda: has_ended(pid), what="the child's end")
    assert told in str(how_ended(pid))
    os.waitpid(pid, 0)
    assert how_ended(pid) is None
