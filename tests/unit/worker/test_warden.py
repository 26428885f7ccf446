"""Orders and SIGKILLs to real child processes; what the rows say against what the children do."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from app.core.config import get_settings
from app.core.ids import new_id
from app.worker.child.slot import SIGNAL
from app.worker.parent import body_stopper as wardens
from app.worker.parent import heartbeat_guard as fences
from app.worker.parent import held_attempts as holdings
from app.worker.parent.body_stopper import Warden, has_ended
from app.worker.parent.heartbeat_guard import Fence
from app.worker.parent.held_attempts import Holding
from app.worker.shared.slot_table import Board, Phase, Seat, Sight, Stop
from tests.support.waiting import wait_for

Fork = Callable[..., int]


@pytest.fixture
def board() -> Board:
    return Board(4)


@pytest.fixture
def warden(board: Board, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warden]:
    monkeypatch.setenv("CANCEL_GRACE_SECONDS", "0.2")
    monkeypatch.setenv("WORKER_LEASE_SECONDS", "0.9")
    get_settings.cache_clear()
    yield Warden(board)
    get_settings.cache_clear()


@pytest.fixture
def fork(board: Board) -> Iterator[Fork]:
    """`fork(task_id)` gives a child on seat 0 that runs attempt 1 and ignores the signal of an order."""
    pids: list[int] = []

    def start(task_id: UUID, phase: Phase = Phase.RUNNING) -> int:
        pid = os.fork()
        if pid == 0:
            assert SIGNAL is not None
            signal.signal(SIGNAL, signal.SIG_IGN)
            board.write(Sight(0, os.getpid(), 1, phase, 1, task_id))
            while True:
                time.sleep(60)
        pids.append(pid)
        wait_for(board.busy, what="the child to sit down")
        return pid

    yield start
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]


class TestStop:
    def test_orders_first_and_kills_when_the_grace_time_is_over(self, board: Board, warden: Warden, fork: Fork) -> None:
        task_id = new_id()
        pid = fork(task_id)
        (sight,) = board.busy()
        warden.stop(sight, Stop.CANCELLED)
        assert board.ordered(0, task_id, 1) is Stop.CANCELLED
        assert not has_ended(pid)
        assert warden.given_up(task_id, pid) is None

        def stopped() -> bool:
            warden.stop(sight, Stop.CANCELLED)
            return has_ended(pid)

        wait_for(stopped, what="the child to be killed")
        assert warden.given_up(task_id, pid) is Stop.CANCELLED

    def test_an_order_that_is_forgotten_begins_anew(self, board: Board, warden: Warden, fork: Fork) -> None:
        pid = fork(new_id())
        (sight,) = board.busy()
        warden.stop(sight, Stop.CANCELLED)
        warden.forget([])
        time.sleep(0.3)  # longer than the grace time
        warden.stop(sight, Stop.CANCELLED)
        assert not has_ended(pid)

    def test_of_a_child_that_is_gone_signals_nobody_who_has_its_number_now(
        self, board: Board, warden: Warden, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sent: list[tuple[int, int | None]] = []
        monkeypatch.setattr(wardens, "_send", lambda pid, number: sent.append((pid, number)))
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        gone = Sight(0, pid, 1, Phase.RUNNING, 1, new_id())
        board.write(gone)
        warden.stop(gone, Stop.CANCELLED)
        warden.kill(gone, Stop.CANCELLED)
        assert sent == []


class TestKill:
    def test_spares_a_child_that_has_gone_on_to_another_task(self, board: Board, warden: Warden, fork: Fork) -> None:
        first = new_id()
        pid = fork(first)
        (sight,) = board.busy()
        board.write(Sight(0, pid, 2, Phase.RUNNING, 1, new_id()))
        warden.kill(sight, Stop.CANCELLED)
        assert not has_ended(pid)
        wait_for(lambda: state(pid) == "S", what="the child to go on")
        assert warden.given_up(first, pid) is None

    def test_spares_a_body_that_has_ended(self, board: Board, warden: Warden, fork: Fork) -> None:
        pid = fork(new_id(), Phase.DELIVERING)
        warden.kill(board.busy()[0], Stop.CANCELLED)
        assert not has_ended(pid)


class TestHasEnded:
    def test_a_zombie_has(self) -> None:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        wait_for(lambda: has_ended(pid), what="the child to end")
        os.waitpid(pid, 0)
        assert has_ended(pid)


class TestTheFence:
    def test_ends_bodies_without_a_heartbeat_and_spares_deliveries(
        self, board: Board, warden: Warden, fork: Fork, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fences, "LOOK_SECONDS", 0.05)
        pid = fork(new_id())
        delivering = Sight(1, os.getpid(), 1, Phase.DELIVERING, 1, new_id())
        board.write(delivering)
        fence = Fence(warden, board)
        fence.start()
        try:
            until = time.monotonic() + 1
            while time.monotonic() < until:  # longer than two thirds of the lease of 0.9 s
                fence.beaten(time.monotonic())
                assert not has_ended(pid)
            wait_for(lambda: has_ended(pid), what="the body to be ended")
        finally:
            fence.stop()
        assert board.read(1) == delivering


class TestHoldings:
    TASK = new_id()

    def seated(self, phase: Phase, attempt: int = 1) -> Sight:
        return Sight(0, os.getpid(), 1, phase, attempt, self.TASK)

    def test_the_bodies_that_were_cancelled(self) -> None:
        rows = [Holding(self.TASK, 1, 1, cancelled=True), Holding(new_id(), 1, 1, cancelled=True)]
        running = self.seated(Phase.RUNNING)
        assert holdings.cancelled(rows, [running]) == [running]
        assert holdings.cancelled(rows, [self.seated(Phase.RUNNING, attempt=2)]) == []
        assert holdings.cancelled(rows, [self.seated(Phase.DELIVERING)]) == []
        assert holdings.cancelled([Holding(self.TASK, 1, 1, cancelled=False)], [running]) == []

    def test_the_bodies_whose_attempt_is_another_ones_now(self) -> None:
        running = self.seated(Phase.RUNNING)
        ours = [Holding(self.TASK, 1, 1, cancelled=False)]
        assert holdings.not_ours([], [running], [running]) == [running]
        assert holdings.not_ours(ours, [running], [running]) == []
        assert holdings.not_ours([], [], [running]) == []  # claimed after the rows were read
        assert holdings.not_ours([], [running], [self.seated(Phase.DELIVERING)]) == []  # ended meanwhile

    def test_the_rows_that_nobody_runs(self, fork: Fork, board: Board) -> None:
        pid = fork(self.TASK)
        row = Holding(self.TASK, 1, pid, cancelled=False)
        assert holdings.orphans([row], board.busy(), set()) == []
        other = Sight(0, pid, 2, Phase.RUNNING, 1, new_id())
        assert holdings.orphans([row], [other], set()) == [row]
        assert holdings.orphans([row], [], set()) == []  # a living child without a seat
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: has_ended(pid), what="the child to end")
        assert holdings.orphans([row], [], set()) == [row]
        assert holdings.orphans([row], board.busy(), set()) == [row]

    def test_what_was_handed_over_is_nobodys_to_run_any_more_and_still_no_orphan(self) -> None:
        row = Holding(self.TASK, 1, os.getpid(), cancelled=False)
        left = [Sight(0, os.getpid(), 1, Phase.IDLE, 0, UUID(int=0))]
        assert holdings.orphans([row], left, {(self.TASK, 1)}) == []
        assert holdings.orphans([row], left, {(self.TASK, 2)}) == [row]

    def test_a_pool_without_children_is_never_in_doubt(self) -> None:
        assert holdings.orphans([Holding(self.TASK, 1, os.getpid(), cancelled=False)], [], set()) == []


def test_a_seat_that_is_left_holds_nothing(board: Board) -> None:
    seat = Seat(board, 0, os.getpid())
    seat.claiming(TestHoldings.TASK)
    seat.idle()
    row = Holding(TestHoldings.TASK, 1, os.getpid(), cancelled=False)
    assert holdings.orphans([row], list(board.taken()), set()) == [row]
