"""The database server crashes, its backends are terminated, it fails over to a standby."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.faults.engines import database_server_of, needs_server, terminate
from tests.support.faults.load import repeated
from tests.support.faults.scene import DEFAULT_LEASE, Scene, fault_scene, post
from tests.support.faults.standby import Standby, through_proxy
from tests.support.fixtures import STARTED
from tests.support.running import TASKS
from tests.support.services import Services
from tests.support.waiting import wait_for

# Row 21's criterion; and what «at once» means for a 503 on a busy machine.
RECOVERS_WITHIN = 5.0
AT_ONCE = 3.0


@needs_server
@pytest.mark.every_engine("restart of the database")
class TestACrash:
    def test_posts_answer_503_and_workers_deliver_what_they_finished(
        self, scene: Callable[..., Scene], own_services: Services, gate: Path
    ) -> None:
        """Row 20: an immediate stop, then a SIGKILL, each while a body runs that ends before the server is back."""
        running = scene(on=own_services, **DEFAULT_LEASE)
        worker = running.stack.worker(concurrency=2)
        server = database_server_of(own_services)
        held = []
        for number, number_of_signal in enumerate((signal.SIGQUIT, signal.SIGKILL)):
            opening = gate.with_name(f"gate-{number}")
            held.append(running.create("ledger.deaf", kwargs={"gate": str(opening)}))
            running.started(held[-1])
            os.kill(server.pid, number_of_signal)
            assert server.process.wait(30) is not None
            before = time.monotonic()
            assert post(running) == 503
            assert time.monotonic() - before < AT_ONCE
            opening.touch()
            wait_for(lambda: running.lines(held[-1], "end"), 20, "the body to end without a database")
            assert post(running) == 503
            server.start()
            wait_for(lambda: post(running) == 201, 20, "a POST to be accepted again")
            running.check()
        assert [running.outcomes(task_id) for task_id in held] == [["succeeded"]] * 2
        assert "database not reachable" in worker.output()


@needs_server
class TestTerminatedBackends:
    def test_pools_recover_within_five_seconds(self, scene: Callable[..., Scene], gate: Path) -> None:
        """Row 21: under load, three times, while a long body runs."""
        running = scene()
        running.stack.worker(concurrency=2)
        held = running.create("ledger.gate", kwargs={"gate": str(gate)})
        running.started(held)
        for _ in range(3):
            for _ in range(10):
                running.work(seconds=0.02)
            assert terminate(running.stack) >= 2
            at = time.time()
            wait_for(lambda: post(running) == 201, RECOVERS_WITHIN, "the API's pool to recover")
            assert [post(running) for _ in range(10)] == [201] * 10
            newest = running.work()
            assert running.started(newest).time - at <= RECOVERS_WITHIN
        gate.touch()
        running.check()
        assert running.outcomes(held) == ["succeeded"]


@pytest.mark.postgresql("a database that only reads: elsewhere a server does, and an administrator may write")
class TestAFormerPrimary:
    def test_what_only_reads_is_as_good_as_down_and_loses_no_result(
        self, scene: Callable[..., Scene], gate: Path
    ) -> None:
        """Come back as a standby it answers, but takes no writes."""
        running = scene(**DEFAULT_LEASE)
        running.stack.worker(concurrency=1)
        held = running.create("ledger.deaf", kwargs={"gate": str(gate)})
        running.started(held)
        switch = f"ALTER DATABASE {running.stack.database}"
        running.stack.sql(f"{switch} SET default_transaction_read_only = on")
        terminate(running.stack)
        try:
            wait_for(lambda: post(running) == 503, RECOVERS_WITHIN, "a POST to be refused")
            gate.touch()
            wait_for(lambda: running.lines(held, "end"), 20, "the body to end")
            assert running.http.get(TASKS + held).json()["status"] == "running"
            assert post(running) == 503
        finally:
            running.stack.sql(f"SET TRANSACTION READ WRITE; {switch} RESET default_transaction_read_only")
        wait_for(lambda: post(running) == 201, 20, "a POST to be accepted again")
        running.check()
        assert running.outcomes(held) == ["succeeded"]


def await_more(running: Scene, number: int) -> None:
    """Return when so many more tasks have been accepted."""
    wanted = len(running.accepted) + number
    wait_for(lambda: len(running.accepted) >= wanted, 60, f"{number} more tasks to be accepted")


@pytest.mark.postgresql("a synchronous standby")
class TestFailover:
    @pytest.mark.timeout(180)
    def test_every_accepted_task_is_on_the_promoted_standby(
        self, own_services: Services, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        """Row 22: the primary is killed under load, and the service follows to the synchronous standby."""
        primary = own_services.postgres
        with (
            through_proxy(own_services) as servers,
            Standby(primary, tmp_path / "standby") as standby,
            fault_scene(servers, tmp_path / "scene") as running,
        ):
            request.node.stash[STARTED] = [running.stack]
            running.stack.worker(concurrency=2)
            running.http.get(TASKS)  # makes the user, in this thread
            with repeated(lambda: post(running), lambda: 0):
                await_more(running, 50)
                primary.kill()
                servers.proxy.refuse()
                accepted = len(running.accepted)
                standby.promote()
                servers.proxy.redirect("127.0.0.1", standby.port)
                servers.proxy.heal()
                await_more(running, 20)
            assert len(running.accepted) >= accepted + 20
            running.check()
