"""What the agent remembers between two looks; the rest of it needs a database and is tested on real workers."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from unittest.mock import MagicMock
from uuid import UUID

import pytest
from sqlalchemy.exc import OperationalError

from app.core.config import get_settings
from app.core.ids import new_id
from app.db.statements.task_moves import Cause
from app.services.execution.ends import Ending
from app.worker.child.process import Slot
from app.worker.parent.agent import HEARTBEAT_SECONDS, Agent, Loss
from app.worker.parent.body_stopper import BodyStopper
from app.worker.parent.completions import Completions
from app.worker.parent.held_attempts import HeldAttempt
from app.worker.shared import memory
from app.worker.shared.hand_over import HandOver
from app.worker.shared.slot_table import Phase, SlotState, SlotTable, Stop


@pytest.fixture
def agent(table: SlotTable) -> Agent:
    completions = Completions(HandOver(), give_up_seconds=300, table=table)
    return Agent(new_id(), get_settings(), table, BodyStopper(table, grace_seconds=5), completions)


class TestOrphans:
    ROW = HeldAttempt(new_id(), 1, 4711, cancelled=False)

    def test_one_look_is_no_proof(self, agent: Agent) -> None:
        agent._end_orphans([self.ROW])
        agent._end_orphans([])
        agent._end_orphans([self.ROW])
        assert agent._unwritten == []

    def test_one_that_cannot_be_written_yet_is_kept_once_however_often_it_is_seen(self, agent: Agent) -> None:
        """Each entry costs a wait for the row's lock, and the heartbeat waits behind them."""
        for _ in range(50):
            agent._end_orphans([self.ROW])
        assert [getattr(loss, "task_id", None) for loss in agent._unwritten] == [self.ROW.task_id]


class TestTheEndOfAProcess:
    """`celery --quiet` leaves it to the agent to tell of a child that may have had an attempt."""

    PID = 4711

    @pytest.fixture
    def database(self, monkeypatch: pytest.MonkeyPatch) -> MagicMock:
        """Its rows of the lost attempt are `database.execute.return_value.all.return_value`."""
        session = MagicMock()
        monkeypatch.setattr("app.worker.parent.agent.SessionLocal", lambda: nullcontext(session))
        for name in ("transaction", "workers.limit_lock_waits", "admission.admit_soon", "ends.end_tasks"):
            monkeypatch.setattr(f"app.worker.parent.agent.{name}", lambda *_, **__: nullcontext(None))
        monkeypatch.setattr("app.worker.parent.agent.admission.free_places", lambda *_: {})
        return session

    def lines(self, agent: Agent, caplog: pytest.LogCaptureFixture) -> list[str]:
        caplog.clear()
        agent._write_losses()
        return [line for line in caplog.messages if str(self.PID) in line]

    def test_is_told_where_it_had_no_attempt(
        self, agent: Agent, database: MagicMock, caplog: pytest.LogCaptureFixture
    ) -> None:
        database.execute.return_value.all.return_value = []
        agent.child_ended(self.PID, "signal 9 (SIGKILL)")
        agent.report(Loss(self.PID, how="signal 9 (SIGKILL)"))
        assert self.lines(agent, caplog) == [
            f"process {self.PID} ended (signal 9 (SIGKILL)): a new one takes its place"
        ]

    def test_is_told_once_with_what_follows_for_its_task(
        self, agent: Agent, database: MagicMock, caplog: pytest.LogCaptureFixture
    ) -> None:
        database.execute.return_value.all.return_value = [(new_id(), "pending", 1, None)]
        agent.report(Loss(self.PID, new_id(), "signal 9 (SIGKILL)"))
        [line] = self.lines(agent, caplog)
        assert line.endswith(f"ended with its process {self.PID} (signal 9 (SIGKILL)): the task runs again")
        database.execute.return_value.all.return_value = []
        agent.child_ended(self.PID, "signal 9 (SIGKILL)")
        assert self.lines(agent, caplog) == []


class TestTheMemoryOfAWorker:
    def looks(self, monkeypatch: pytest.MonkeyPatch, *, is_busy: bool) -> int:
        """Return how many looks a hundred seconds of heartbeats make."""
        looked = list[float]()
        monkeypatch.setattr(memory, "sizes_of", lambda _: {1: 2**20})
        sizes = memory.Sizes()
        for now in range(1, 100, 3):
            if sizes.are_due(now, is_busy=is_busy):
                sizes.look([1], now)
                looked.append(now)
        assert sizes.total == 2**20
        return len(looked)

    def test_is_rarely_looked_at_while_nothing_runs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.looks(monkeypatch, is_busy=False) == 4

    def test_is_looked_at_with_each_heartbeat_while_anything_runs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The log tells how much a body had that the kernel has killed."""
        assert self.looks(monkeypatch, is_busy=True) == 33


class TestTheCauseOfALoss:
    PID = 4711

    def cause(self, agent: Agent, how: str) -> str:
        return agent._cause(Loss(self.PID, how=how))

    def test_is_the_exit_code_or_the_signal(self, agent: Agent) -> None:
        assert self.cause(agent, "exitcode 3") == "exitcode 3"
        assert self.cause(agent, "signal 11 (SIGSEGV)") == "signal 11 (SIGSEGV)"

    def test_of_a_kill_names_the_size_that_was_known_last(self, agent: Agent) -> None:
        assert self.cause(agent, "signal 9 (SIGKILL)") == "signal 9 (SIGKILL), perhaps out of memory"
        agent._sizes._before = {self.PID: 412 * 2**20}  # at the heartbeat before it went
        assert self.cause(agent, "signal 9 (SIGKILL)") == (
            "signal 9 (SIGKILL), perhaps out of memory; its process had 412 MiB when it was last looked at"
        )


class TestAnEndThatIsNotWrittenAtAShutdown:
    """The body has ended: what it did, it must not do again where its task says so."""

    PID = 4711

    def test_has_the_grace_time_of_a_cancellation(
        self, agent: Agent, table: SlotTable, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        killed: list[tuple[UUID, Stop]] = []
        monkeypatch.setattr(agent._stopper, "kill", lambda state, why: killed.append((state.task_id, why)))
        writing, running = (new_id() for _ in range(2))
        table.write(SlotState(0, self.PID, 1, Phase.DELIVERING, 1, writing))
        table.write(SlotState(1, self.PID + 1, 1, Phase.RUNNING, 1, running))
        grace = agent._settings.cancel_grace_seconds
        for now in (100.0, 100.0 + grace - 0.1):
            monkeypatch.setattr(time, "monotonic", lambda now=now: now)
            agent._end_deliveries(table.busy())
        assert killed == []
        table.write(SlotState(0, self.PID, 1, Phase.DELIVERING, 1, another := new_id()))
        monkeypatch.setattr(time, "monotonic", lambda: 100.0 + grace)
        agent._end_deliveries(table.busy())
        assert killed == []  # the slot writes the end of another attempt meanwhile
        monkeypatch.setattr(time, "monotonic", lambda: 100.0 + 2 * grace)
        agent._end_deliveries(table.busy())
        assert killed == [(another, Stop.UNWRITTEN)]

    def test_is_a_loss(self, agent: Agent) -> None:
        ending = agent._ending(Loss(self.PID), Stop.UNWRITTEN)
        assert (ending.cause, ending.parameters["p_error_message"]) == (
            Cause.LOST,
            "its process could not write how the body ended",
        )
        assert agent._ending(Loss(self.PID), Stop.HANDED_BACK).cause is Cause.HANDED_BACK

    def test_is_a_failure_for_good_where_the_body_took_too_much_memory(self, agent: Agent) -> None:
        ending = agent._ending(Loss(self.PID), Stop.OUT_OF_MEMORY)
        assert (ending.cause, ending.parameters["p_error_type"]) == (Cause.FAILED, "MemoryLimitExceeded")


class TestWhetherTheDatabaseAnswers:
    @pytest.fixture
    def at(self, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], bool]:
        """Whether it is said to answer so many periods of the heartbeat after the last one that was answered."""
        beaten = agent._answered_at

        def look(periods: float) -> bool:
            now = beaten + periods * HEARTBEAT_SECONDS
            monkeypatch.setattr(time, "monotonic", lambda: now)
            return agent.is_answered

        return look

    def test_is_so_for_two_heartbeats_after_one_that_was_answered(self, at: Callable[[float], bool]) -> None:
        assert [at(periods) for periods in (0, 1.9, 2.1)] == [True, True, False]

    def test_is_not_so_once_it_is_away(self, agent: Agent, at: Callable[[float], bool]) -> None:
        def away() -> None:
            raise OperationalError("", {}, ConnectionError("gone"), connection_invalidated=True)

        agent._attempt(away)
        assert not at(0)


class TestTakingBack:
    """Rows that a child has claimed and not begun in time."""

    PID = 4711

    @pytest.fixture
    def claimed(self, agent: Agent, table: SlotTable, monkeypatch: pytest.MonkeyPatch) -> "Claimed":
        return Claimed(agent, Slot(table, 0, self.PID), table, monkeypatch)

    def test_takes_what_stands_behind_the_row_that_runs(self, claimed: "Claimed") -> None:
        claimed.take_back()
        assert claimed.given_back == [(task_id, 1) for task_id in claimed.ids[1:]]

    def test_takes_nothing_from_a_child_that_goes_on_to_its_next_claim_meanwhile(self, claimed: "Claimed") -> None:
        """It has given the rows back itself, and what the database says now may be of the next claim, and run."""
        claimed.meanwhile = claimed.slot.claiming
        claimed.take_back()
        assert claimed.given_back == []


class Claimed:
    """A child with three rows, of which it runs the first, and a database that says so."""

    def __init__(self, agent: Agent, slot: Slot, table: SlotTable, monkeypatch: pytest.MonkeyPatch) -> None:
        self.agent, self.slot, self.table = agent, slot, table
        self.ids = [new_id() for _ in range(3)]
        self.meanwhile: Callable[[], None] = lambda: None
        self.given_back: list[tuple[UUID, int]] = []
        slot.claiming()
        slot.running(self.ids[0], 1, left=2)
        nothing = lambda *_, **__: nullcontext(None)  # noqa: E731
        for name in ("SessionLocal", "transaction", "workers.limit_lock_waits", "admission.admit_soon"):
            monkeypatch.setattr(f"app.worker.parent.agent.{name}", nothing)
        monkeypatch.setattr("app.worker.parent.agent.admission.free_places", lambda *_: {})
        monkeypatch.setattr("app.worker.parent.agent.held_attempts.read_held", self._read)
        monkeypatch.setattr("app.worker.parent.agent.ends.end_tasks", self._ended)

    def take_back(self) -> None:
        self.agent._write_unbegun(self.table.read(0))

    def _read(self, *_: object) -> tuple[list[HeldAttempt], list[HeldAttempt]]:
        self.meanwhile()
        return [HeldAttempt(task_id, 1, TestTakingBack.PID, cancelled=False) for task_id in self.ids], []

    def _ended(self, _db: object, ending: Ending, condition: Any) -> None:
        assert ending.cause is Cause.NOT_BEGUN
        self.given_back = next(iter(condition.compile().params.values()))
