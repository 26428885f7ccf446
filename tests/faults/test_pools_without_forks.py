"""Workers whose pool does not fork (threads, solo): nobody watches their bodies from outside."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.faults.proxy import CLAIM_STATEMENT, READY, TcpProxy
from tests.support.faults.scene import Scene
from tests.support.services import Services
from tests.support.waiting import wait_for

POOLS = pytest.mark.parametrize("pool", ["threads", "solo"])


@POOLS
@pytest.mark.postgresql("elsewhere a claim has several statements, and no one reply")
def test_a_claim_whose_reply_was_lost_is_found_after_any_outage(
    scene: Callable[..., Scene], services: Services, pool: str
) -> None:
    """Longer than the lease: given up, the row would say running for as long as the worker lives."""
    running = scene()
    with TcpProxy("127.0.0.1", services.postgres.port) as way:
        env = {"DATABASE_URL": way.through(running.stack.database_url)}
        worker = running.stack.worker(concurrency=1, env=env, options=[f"--pool={pool}"])
        running.until(running.work(), "succeeded")
        reply = way.hold_reply(CLAIM_STATEMENT, READY)
        task_id = running.work()
        reply.wait()
        way.refuse()
        since = running.stack.sql("SELECT clock_timestamp()")[0][0]
        passed = "SELECT clock_timestamp() > :since + interval '7 seconds'"  # the lease is 6
        wait_for(lambda: running.stack.sql(passed, since=since)[0][0], 20, "more than the lease to pass")
        assert "trying again" in worker.output()
        way.heal()
        assert running.ended(task_id)["attempt"] == 1
        assert len(running.lines(task_id, "start")) == 1
        running.check()


@POOLS
def test_a_worker_that_leaves_gives_back_nothing_that_it_has_finished(
    scene: Callable[..., Scene], gate: Path, pool: str
) -> None:
    running = scene()
    worker = running.stack.worker(concurrency=1, options=[f"--pool={pool}"])
    held = running.create("ledger.gate", kwargs={"gate": str(gate)})
    running.started(held)
    gate.touch()
    running.until(held, "succeeded")
    waiting = running.create("ledger.work", fields={"delay_seconds": 1})
    assert worker.stop(20) == 0
    running.stack.worker(concurrency=1)
    running.check()
    assert running.outcomes(held) == ["succeeded"]
    assert running.outcomes(waiting) == ["succeeded"]
