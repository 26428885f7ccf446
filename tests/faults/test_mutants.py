"""The service with one safeguard taken out: each scenario must be seen to go wrong, in exactly the way it guards against.

A part that is the service as it is then puts it right, where it can: what was missing is what the mutant lacked.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import redis

from tests.support.faults import followed
from tests.support.faults.failpoints import failpoints
from tests.support.faults.mutants import mutant
from tests.support.faults.proxy import TcpProxy
from tests.support.faults.scene import Scene
from tests.support.running import lists, messages
from tests.support.services import Services
from tests.support.stack import Part
from tests.support.waiting import wait_for

# Shorter than elsewhere: what does not happen has to be waited for.
QUICK = {"DISPATCH_GRACE_SECONDS": "1", "WORKER_LEASE_SECONDS": "3", "WORKER_HEARTBEAT_SECONDS": "0.5"}
NEVER = 8.0


def never_ends(running: Scene, seconds: float = NEVER) -> set[str]:
    """The rules that are broken when not everything ends in a time that is several times what it takes."""
    with pytest.raises(AssertionError, match="every accepted task to end"):
        running.check(seconds)
    return broken(running)


def broken(running: Scene) -> set[str]:
    return {violation.rule for violation in running.witness.violations(running.accepted, running.ledger)}


def freeze(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


class TestNoRedispatch:
    def test_leaves_a_task_whose_message_was_never_sent(self, scene: Callable[..., Scene]) -> None:
        running = scene(**QUICK)
        worker = running.stack.worker(concurrency=1, env=mutant("no_redispatch"))
        running.stack.server(env=failpoints({"at": "app.messaging.publisher:publish", "do": "kill"}))
        with pytest.raises(httpx.TransportError):
            running.work()
        running.accepted = [str(row[0]) for row in running.stack.sql("SELECT id FROM tasks")]
        assert never_ends(running) == {"ends"}
        assert running.status(*running.accepted) == "pending"
        worker.stop()
        running.stack.worker(concurrency=1)
        running.check()


class TestNoFence:
    @pytest.mark.parametrize(
        ("lacking", "rules"),
        [
            pytest.param(["no_fence"], {"success_is_the_attempts_own"}, id="mutant"),
            pytest.param([], set(), marks=pytest.mark.full, id="the service as it is"),
        ],
    )
    def test_lets_a_presumed_dead_worker_finish_anothers_attempt(
        self, scene: Callable[..., Scene], gate: Path, lacking: list[str], rules: set[str]
    ) -> None:
        running = scene(**QUICK)
        # A success that the child writes: what it hands over waits for its frozen parent.
        by_itself = mutant(*lacking, modules=("tests.support.ledger_tasks", followed.MODULE))
        frozen = running.stack.worker(concurrency=1, env=by_itself)
        task_id = running.create("ledger.deaf", kwargs={"gate": f"{gate}-{{attempt}}"})
        child = running.started(task_id).pid
        running.stack.worker(concurrency=1, env=mutant(*lacking))
        freeze(frozen.pid, child)
        running.started(task_id, 2)
        gate.with_name(f"{gate.name}-1").touch()
        os.kill(child, signal.SIGCONT)  # the child alone: its parent would end it, which is another safeguard
        wait_for(lambda: running.lines(task_id, "end"), 20, "the first attempt's body to end")
        # Its finish has reached the database: as a success, or as nothing at all.
        wait_for(lambda: running.status(task_id) == "succeeded" or "no longer held it" in frozen.output(), 20, "it")
        gate.with_name(f"{gate.name}-2").touch()
        wait_for(lambda: not running.unended(), 20, "the task to end")
        wait_for(lambda: len(running.lines(task_id, "end")) == 2, 20, "the second attempt's body to end")
        assert broken(running) == rules


@pytest.mark.full
class TestNoEpoch:
    def test_leaves_what_a_flush_has_lost(self, scene: Callable[..., Scene]) -> None:
        running = scene(**QUICK)
        maintenance = running.stack.worker(concurrency=1, queues="low_priority", env=mutant("no_epoch", "no_overtaken"))
        queue_up(running, 20)
        with redis.Redis.from_url(running.stack.broker_url) as broker:
            broker.flushdb()
            running.work()
            with pytest.raises(AssertionError, match="messages to be out again"):
                wait_for(lambda: messages(broker, "default") == 21, NEVER, "all messages to be out again")
            maintenance.stop()
            running.stack.worker(concurrency=1, queues="low_priority", env=mutant("no_overtaken"))
            wait_for(lambda: messages(broker, "default") >= 21, 20, "all messages to be out again")
        running.stack.worker(concurrency=1)
        running.check()


@pytest.mark.full
class TestNoOvertaken:
    def test_leaves_a_task_whose_message_was_lost(self, scene: Callable[..., Scene]) -> None:
        running = scene(**QUICK)
        maintenance = running.stack.worker(concurrency=1, queues="low_priority", env=mutant("no_overtaken"))
        queue_up(running, 1)
        with redis.Redis.from_url(running.stack.broker_url) as broker:
            broker.delete(*lists(broker, "default"))
        worker = running.stack.worker(concurrency=1, env=mutant("no_overtaken"))
        assert never_ends(running, 15) == {"ends"}
        for part in (maintenance, worker):
            part.stop()
        running.stack.worker(concurrency=1)
        running.check()


@pytest.mark.full
class TestNoLease:
    def test_leaves_a_task_with_a_worker_that_is_gone(self, scene: Callable[..., Scene], gate: Path) -> None:
        running = scene(**QUICK)
        lost = running.stack.worker(concurrency=1, env=mutant("no_lease"))
        task_id = running.create("ledger.gate", kwargs={"gate": str(gate)})
        child = running.started(task_id).pid
        freeze(child)  # it says nothing any more either, however its parent ends
        lost.kill()
        other = running.stack.worker(concurrency=1, env=mutant("no_lease"))
        gate.touch()
        assert never_ends(running, 12) == {"ends"}
        assert running.status(task_id) == "running"
        other.stop()
        running.stack.worker(concurrency=1)
        running.check()


@pytest.mark.full
class TestNoSelfFence:
    @pytest.mark.parametrize(
        ("lacking", "lives"),
        [pytest.param(["no_self_fence"], True, id="mutant"), pytest.param([], False, id="the service as it is")],
    )
    def test_lets_two_attempts_run_at_once(
        self, scene: Callable[..., Scene], services: Services, gate: Path, lacking: list[str], lives: bool
    ) -> None:
        running = scene(**QUICK)
        with TcpProxy("127.0.0.1", services.postgres.port) as proxy:
            way = {"DATABASE_URL": proxy.through(running.stack.database_url)}
            cut_off = running.stack.worker(concurrency=1, env={**mutant(*lacking), **way})
            task_id = running.create("ledger.deaf", kwargs={"gate": str(gate)})
            child = running.started(task_id).pid
            running.stack.worker(concurrency=1)
            proxy.freeze()
            running.started(task_id, 2)
            assert is_alive(child, cut_off) is lives
            gate.touch()
            proxy.heal()
            running.check()


def is_alive(child: int, of: Part) -> bool:
    return child in of.children()


def queue_up(running: Scene, number: int) -> None:
    for _ in range(number):
        running.work()
    sent = "SELECT count(*) FROM tasks WHERE dispatched_at IS NOT NULL"
    wait_for(lambda: running.stack.sql(sent)[0][0] == number, 20, "all messages to be out")
