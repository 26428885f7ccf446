"""What the agent remembers between two looks; the rest of it needs a database and is tested on real workers."""

import pytest

from app.core.config import get_settings
from app.core.ids import new_id
from app.services.execution.successes import Success
from app.worker.parent.agent import Agent, Loss
from app.worker.parent.body_stopper import BodyStopper
from app.worker.parent.completions import Completions
from app.worker.parent.held_attempts import HeldAttempt
from app.worker.shared.hand_over import HandOver
from app.worker.shared.slot_table import SlotTable


@pytest.fixture
def hand_over() -> HandOver:
    return HandOver()


@pytest.fixture
def completions(hand_over: HandOver) -> Completions:
    return Completions(hand_over, give_up_seconds=300)


@pytest.fixture
def agent(completions: Completions, table: SlotTable) -> Agent:
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
        assert [loss.task_id for loss in agent._unwritten] == [self.ROW.task_id]


class TestLosses:
    def test_a_loss_waits_until_what_the_child_had_handed_over_is_written(
        self, agent: Agent, completions: Completions, hand_over: HandOver
    ) -> None:
        hand_over.open()
        loss = Loss(new_id(), 4711, overran=None)
        assert not agent._still_holds(loss)
        assert hand_over.send(Success(loss.task_id, 1, None))
        assert agent._still_holds(loss)
        completions.stop(0)
