"""What the agent remembers between two looks; the rest of it needs a database and is tested on real workers."""

import pytest

from app.core.ids import new_id
from app.services.execution.successes import Success
from app.worker.parent import agent as module
from app.worker.parent.agent import Agent, Loss
from app.worker.parent.completions import Completions
from app.worker.parent.held_attempts import Holding
from app.worker.shared.handover import Handover


class TestOrphans:
    ROW = Holding(new_id(), 1, 4711, cancelled=False)

    def test_one_look_is_no_proof(self) -> None:
        agent = Agent()
        agent._end_orphans([self.ROW])
        agent._end_orphans([])
        agent._end_orphans([self.ROW])
        assert agent._unwritten == []

    def test_one_that_cannot_be_written_yet_is_kept_once_however_often_it_is_seen(self) -> None:
        """Each entry costs a wait for the row's lock, and the heartbeat waits behind them."""
        agent = Agent()
        for _ in range(50):
            agent._end_orphans([self.ROW])
        assert [loss.task_id for loss in agent._unwritten] == [self.ROW.task_id]


class TestLosses:
    def test_a_loss_waits_until_what_the_child_had_handed_over_is_written(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = Handover()
        source.open()
        completions = Completions(source)
        monkeypatch.setattr(module, "completions", completions)
        loss = Loss(new_id(), 4711, overran=None)
        assert not Agent()._still_holds(loss)
        assert source.send(Success(loss.task_id, 1, None))
        assert Agent()._still_holds(loss)
        completions.stop(0)
