"""The board between a worker's parent and its children: here both in one process, and across a real fork."""

import os
import time
from collections.abc import Iterator

import pytest

from app.core.ids import new_id
from app.worker.child import slot as seats
from app.worker.shared.slot_table import Board, Phase, Seat, Sight, Stop

PID = 4711


@pytest.fixture
def board() -> Board:
    return Board(4)


class TestASeat:
    def test_shows_what_its_child_holds(self, board: Board) -> None:
        seat, task_id = Seat(board, 2, PID), new_id()
        assert board.busy() == []
        seat.claiming(task_id)
        assert board.busy() == [Sight(2, PID, 1, Phase.CLAIMING, 0, task_id)]
        seat.running(7)
        (sight,) = board.busy()
        assert sight.runs(task_id, 7)
        assert not sight.runs(task_id, 6)
        seat.delivering()
        assert board.busy() == [Sight(2, PID, 1, Phase.DELIVERING, 7, task_id)]
        assert not board.busy()[0].runs(task_id, 7)
        seat.idle()
        assert board.busy() == []
        assert [(sight.pid, sight.claims) for sight in board.taken()] == [(PID, 1)]

    def test_is_told_of_an_order_for_its_attempt_alone(self, board: Board) -> None:
        seat, task_id = Seat(board, 0, PID), new_id()
        seat.claiming(task_id)
        seat.running(1)
        (sight,) = board.busy()
        board.order(sight, Stop.CANCELLED)
        assert seat.order() is Stop.CANCELLED
        seat.running(2)  # the same task's next attempt
        assert seat.order() is None
        seat.claiming(new_id())
        seat.running(1)
        assert seat.order() is None

    def test_an_idle_one_has_no_order(self, board: Board) -> None:
        assert Seat(board, 0, PID).order() is None

    def test_without_a_number_nothing_is_written(self, board: Board) -> None:
        seat = Seat(board, None, PID)
        seat.claiming(new_id())
        seat.running(1)
        assert (list(board.taken()), seat.order()) == ([], None)

    def test_is_seen_across_a_fork(self, board: Board) -> None:
        task_id = new_id()
        pid = os.fork()
        if pid == 0:
            seat = Seat(board, 3, os.getpid())
            seat.claiming(task_id)
            seat.running(5)
            os._exit(0)
        os.waitpid(pid, 0)
        assert [sight for sight in board.busy() if sight.runs(task_id, 5)] == board.busy() != []
        assert board.busy()[0].pid == pid


class TestReading:
    def test_never_gives_two_halves_of_two_states(self, board: Board) -> None:
        """A child changes its seat as fast as it can: what is read is always one of its states."""
        ids = [new_id(), new_id()]
        pid = os.fork()
        if pid == 0:
            seat = Seat(board, 0, os.getpid())
            while True:
                for attempt, task_id in enumerate(ids, 1):
                    seat.claiming(task_id)
                    seat.running(attempt)
        try:
            until = time.monotonic() + 0.5
            seen = set()
            while time.monotonic() < until:
                sight = board.read(0)
                if sight.phase is Phase.RUNNING:
                    seen.add((sight.task_id, sight.attempt))
            assert seen <= {(ids[0], 1), (ids[1], 2)}
        finally:
            os.kill(pid, 9)
            os.waitpid(pid, 0)


class TestListening:
    @pytest.fixture
    def seat(self, board: Board, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seat]:
        mine = Seat(board, 0, os.getpid())
        monkeypatch.setattr(seats, "mine", mine)
        mine.claiming(new_id())
        mine.running(1)
        yield mine
        assert seats._listener is None

    def test_a_signal_without_an_order_does_nothing(self, seat: Seat) -> None:
        heard: list[Stop] = []
        with seats.listening(heard.append):
            seats._heed()
        assert heard == []

    def test_an_order_is_heard_once(self, seat: Seat, board: Board) -> None:
        heard: list[Stop] = []
        with seats.listening(heard.append):
            board.order(board.busy()[0], Stop.HANDED_BACK)
            seats._heed()
            seats._heed()
        assert heard == [Stop.HANDED_BACK]

    def test_an_order_that_is_older_than_the_body_is_heard_at_its_start(self, seat: Seat, board: Board) -> None:
        board.order(board.busy()[0], Stop.CANCELLED)
        heard: list[Stop] = []
        with seats.listening(heard.append):
            assert heard == [Stop.CANCELLED]

    def test_what_the_listener_raises_goes_through_the_body(self, seat: Seat, board: Board) -> None:
        def refuse(why: Stop) -> None:
            raise KeyError(why)

        board.order(board.busy()[0], Stop.LOST)
        with pytest.raises(KeyError), seats.listening(refuse):
            raise AssertionError("the body never starts")

    def test_nobody_listens_between_two_bodies(self, seat: Seat, board: Board) -> None:
        board.order(board.busy()[0], Stop.LOST)
        seats._heed()
