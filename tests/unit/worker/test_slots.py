"""The slots between a worker's parent and its children: here both in one process, and across a real fork."""

import os
import time
from types import SimpleNamespace

import pytest
from billiard import get_context, pool

from app.core.ids import new_id
from app.worker.child import process
from app.worker.child.process import Slot
from app.worker.shared.slot_table import NO_TASK, Deadlines, Phase, SlotState, SlotTable, Stop

PID = 4711


class TestASlot:
    def test_shows_what_its_child_holds(self, table: SlotTable) -> None:
        slot, task_id = Slot(table, 2, PID), new_id()
        assert table.busy() == []
        slot.claiming()
        assert table.busy() == [SlotState(2, PID, 1, Phase.CLAIMING, 0, NO_TASK)]
        slot.running(task_id, 7, Deadlines(2.0, 3.0, 1.5), claimed_at=1.0, left=4, named=(6, NO_TASK))
        (state,) = table.busy()
        assert state.runs(task_id, 7)
        assert not state.runs(task_id, 6)
        assert table.busy() == [
            SlotState(2, PID, 1, Phase.RUNNING, 7, task_id, Deadlines(2.0, 3.0, 1.5), 1.0, left=4, begun=1, task_name=6)
        ]
        slot.delivering()
        assert [(state.phase, state.task_id, state.attempt) for state in table.busy()] == [
            (Phase.DELIVERING, task_id, 7)
        ]
        assert not table.busy()[0].runs(task_id, 7)
        slot.idle()
        assert table.busy() == []
        assert [(state.pid, state.claims, state.begun) for state in table.used()] == [(PID, 1, 1)]

    def test_that_no_child_has_had_costs_a_look_nothing(
        self, table: SlotTable, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Threads of the parent look many times a second."""
        Slot(table, 2, PID).claiming()
        read, slots = SlotTable.read, list[int]()
        monkeypatch.setattr(SlotTable, "read", lambda self, slot: slots.append(slot) or read(self, slot))
        assert len(table.busy()) == 1
        assert slots == [2]

    def test_a_row_that_is_given_back_is_not_counted(self, table: SlotTable) -> None:
        slot = Slot(table, 2, PID)
        for attempt in (1, 2):
            slot.running(new_id(), attempt)
        slot.not_begun()
        (state,) = table.busy()
        assert (state.begun, state.phase, state.attempt) == (1, Phase.RUNNING, 2)
        Slot(table, 2, PID + 1).claiming()
        assert [state.begun for state in table.used()] == [1]

    def test_the_next_child_goes_on_counting_and_leaves_the_last_state_to_be_read(self, table: SlotTable) -> None:
        slot, task_id = Slot(table, 2, PID), new_id()
        for attempt in (1, 2):
            slot.running(task_id, attempt)
        following = Slot(table, 2, PID + 1)
        following.running(new_id(), 1)
        assert [state.begun for state in table.used()] == [3]
        last = table.last_of(PID)
        assert last is not None
        assert last.runs(task_id, 2)
        assert table.last_of(PID + 2) is None

    def test_is_told_of_an_order_for_its_attempt_alone(self, table: SlotTable) -> None:
        slot = Slot(table, 0, PID)
        assert slot.order() is None
        task_id = new_id()
        slot.running(task_id, 1)
        (state,) = table.busy()
        table.order(state, Stop.CANCELLED)
        assert slot.order() is Stop.CANCELLED
        slot.running(task_id, 2)  # the same task's next attempt
        assert slot.order() is None
        slot.running(new_id(), 1)
        assert slot.order() is None

    def test_without_a_number_nothing_is_written(self, table: SlotTable) -> None:
        slot = Slot()
        slot.claiming()
        slot.running(new_id(), 1)
        assert (list(table.used()), slot.order()) == ([], None)

    def test_is_seen_across_a_fork(self, table: SlotTable) -> None:
        task_id = new_id()
        pid = os.fork()
        if pid == 0:
            slot = Slot(table, 3, os.getpid())
            slot.claiming()
            slot.running(task_id, 5)
            os._exit(0)
        os.waitpid(pid, 0)
        assert [state for state in table.busy() if state.runs(task_id, 5)] == table.busy() != []
        assert table.busy()[0].pid == pid


class TestReading:
    def test_never_gives_two_halves_of_two_states(self, table: SlotTable) -> None:
        """A child changes its slot as fast as it can: what is read is always one of its states."""
        ids = [new_id(), new_id()]
        pid = os.fork()
        if pid == 0:
            slot = Slot(table, 0, os.getpid())
            while True:
                for attempt, task_id in enumerate(ids, 1):
                    slot.claiming()
                    slot.running(task_id, attempt)
        try:
            until = time.monotonic() + 0.5
            seen = set()
            while time.monotonic() < until:
                state = table.read(0)
                if state.phase is Phase.RUNNING:
                    seen.add((state.task_id, state.attempt))
            assert seen <= {(ids[0], 1), (ids[1], 2)}
        finally:
            os.kill(pid, 9)
            os.waitpid(pid, 0)


class TestListening:
    @pytest.fixture
    def slot(self, table: SlotTable) -> Slot:
        own = Slot(table, 0, os.getpid())
        own.running(new_id(), 1)
        return own

    def test_an_order_is_heard_once_and_a_signal_without_one_never(self, slot: Slot, table: SlotTable) -> None:
        heard: list[Stop] = []
        with slot.listening(heard.append):
            slot.on_signal()
            assert heard == []
            table.order(table.busy()[0], Stop.HANDED_BACK)
            slot.on_signal()
            slot.on_signal()
        assert heard == [Stop.HANDED_BACK]

    def test_a_soft_time_limit_is_told_to_have_reached_this_body(self, slot: Slot, table: SlotTable) -> None:
        with slot.listening(lambda _: slot.soft_limit_met()()):
            table.order(table.busy()[0], Stop.SOFT_TIME_LIMIT)
            assert not table.has_met_soft_limit(table.busy()[0])
            slot.on_signal()
            assert table.has_met_soft_limit(table.busy()[0])
        met_late = slot.soft_limit_met()
        slot.running(new_id(), 1)
        met_late()  # by the attempt before
        assert not table.has_met_soft_limit(table.busy()[0])

    def test_a_soft_time_limit_before_the_body_is_told_at_its_start(self, slot: Slot, table: SlotTable) -> None:
        """It takes time to read the arguments: that process is in no call that nothing interrupts."""
        heard: list[Stop] = []
        table.order(table.busy()[0], Stop.SOFT_TIME_LIMIT)
        slot.on_signal()
        assert table.has_met_soft_limit(table.busy()[0])
        with slot.listening(heard.append):
            assert heard == [Stop.SOFT_TIME_LIMIT]

    def test_what_the_listener_raises_goes_through_the_body(self, slot: Slot, table: SlotTable) -> None:
        def refuse(why: Stop) -> None:
            raise KeyError(why)

        table.order(table.busy()[0], Stop.LOST)
        with pytest.raises(KeyError), slot.listening(refuse):
            raise AssertionError("the body never starts")

    def test_an_order_between_two_bodies_is_heard_at_the_start_of_the_next(self, slot: Slot, table: SlotTable) -> None:
        heard: list[Stop] = []
        with slot.listening(heard.append):
            pass
        table.order(table.busy()[0], Stop.CANCELLED)
        slot.on_signal()
        assert heard == []
        with slot.listening(heard.append):
            assert heard == [Stop.CANCELLED]


class TestTheEndOfAPoolProcess:
    @pytest.fixture
    def loop(self, table: SlotTable, monkeypatch: pytest.MonkeyPatch) -> pool.Worker:
        """The loop of a pool process that runs one message and is told to end. Nobody reads what it answers."""
        context = get_context()
        messages = context.SimpleQueue()
        made = pool.Worker(messages, context.SimpleQueue(), on_ready_counter=context.Value("i", 0))
        made._make_child_methods()
        monkeypatch.setattr(process, "current_process", lambda: SimpleNamespace(_target=made))
        process.count_tasks(table)
        messages.put((pool.TASK, (1, None, abs, (-1,), {})))
        messages.put(None)
        return made

    @pytest.mark.parametrize("begins", ["before", "meanwhile"])
    def test_waits_for_no_reader_once_the_worker_leaves(
        self, loop: pool.Worker, table: SlotTable, monkeypatch: pytest.MonkeyPatch, begins: str
    ) -> None:
        waits = list[float]()

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            table.leave()

        monkeypatch.setattr(pool.time, "sleep", sleep)
        if begins == "before":
            table.leave()
        with pytest.raises(SystemExit):
            loop.workloop()
        assert len(waits) == (begins == "meanwhile")
