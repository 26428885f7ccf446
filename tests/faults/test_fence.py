"""Row 23: a worker that is cut off from the database alone ends its bodies before anybody else starts their tasks."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.faults.engines import database_server_of, needs_server
from tests.support.faults.proxy import TcpProxy
from tests.support.faults.scene import Scene
from tests.support.services import Services
from tests.support.waiting import wait_for

# Long enough for two thirds of it to be told from all of it on a busy machine.
LEASE = {"WORKER_LEASE_SECONDS": "12"}


@needs_server
@pytest.mark.parametrize("how", ["refuse", pytest.param("freeze", marks=pytest.mark.full)])
def test_row_23_cut_off_it_fences_itself_before_the_rescue(
    scene: Callable[..., Scene], services: Services, tmp_path: Path, how: str
) -> None:
    running = scene(**LEASE)
    with TcpProxy("127.0.0.1", database_server_of(services).port) as way:
        cut_off = running.stack.worker(concurrency=2, env={"DATABASE_URL": way.through(running.stack.database_url)})
        deaf = running.create("ledger.deaf", kwargs={"gate": str(tmp_path / "gate-{attempt}")})
        child = running.started(deaf).pid
        running.stack.worker(concurrency=2)
        getattr(way, how)()
        wait_for(lambda: child not in cut_off.children(), 20, "the body to be ended")
        assert len(running.lines(deaf, "start")) == 1
        assert running.status(deaf) == "running"
        (tmp_path / "gate-2").touch()
        assert running.ended(deaf)["attempt"] == 2
        assert running.outcomes(deaf) == ["worker_lost", "succeeded"]
        way.heal()
        assert "no heartbeat for" in cut_off.output()
        # Back again, it works as before.
        held = [running.create("ledger.gate", kwargs={"gate": str(tmp_path / "gate")}) for _ in range(4)]
        for task_id in held:
            running.started(task_id)
        (tmp_path / "gate").touch()
        assert {running.ended(task_id)["worker"] for task_id in held} == {"worker1@test", "worker2@test"}
        running.check()
