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

from app.messaging.wakeups import MOST_OUT
from tests.support.faults import followed
from tests.support.faults.batches import attempts_begun, batch_of_ten, begun_by_a_frozen_process, counts
from tests.support.faults.engines import database_server_of, needs_server
from tests.support.faults.failpoints import failpoints
from tests.support.faults.mutants import mutant
from tests.support.faults.proxy import TcpProxy
from tests.support.faults.scene import Scene
from tests.support.running import TASKS, messages
from tests.support.services import Services
from tests.support.spelling import id_of
from tests.support.stack import Part
from tests.support.waiting import wait_for

# They show that the checks of this suite find what they look for: those change seldom.
pytestmark = pytest.mark.full
# Shorter than elsewhere: what does not happen has to be waited for.
QUICK = {"WORKER_LEASE_SECONDS": "3", "WORKER_HEARTBEAT_SECONDS": "0.5"}
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


class TestNoWakeUps:
    def test_leaves_a_task_for_which_none_was_sent(self, scene: Callable[..., Scene]) -> None:
        running = scene(**QUICK)
        worker = running.stack.worker(concurrency=1, env=mutant("no_wake_ups"))
        running.stack.server(env=failpoints({"at": "app.messaging.publisher:publish", "do": "kill"}))
        with pytest.raises(httpx.TransportError):
            running.work()
        running.accepted = [str(id_of(row[0])) for row in running.stack.sql("SELECT id FROM tasks")]
        assert never_ends(running) == {"ends"}
        assert running.status(*running.accepted) == "pending"
        worker.stop()
        running.stack.worker(concurrency=1)
        running.check()

    def test_leaves_what_a_flush_has_lost(self, scene: Callable[..., Scene]) -> None:
        running = scene(**QUICK)
        for _ in range(20):
            running.work()
        with redis.Redis.from_url(running.stack.broker_url) as broker:
            wait_for(lambda: messages(broker, "default") >= MOST_OUT, 20, "the wake-ups to be out")
            broker.flushdb()
        worker = running.stack.worker(concurrency=1, env=mutant("no_wake_ups"))
        assert never_ends(running) == {"ends"}
        worker.stop()
        running.stack.worker(concurrency=1)
        running.check()


@pytest.mark.postgresql("it rewrites a statement")
class TestNoTurns:
    @pytest.mark.parametrize(
        ("lacking", "place"),
        [pytest.param(["no_turns"], 30, id="mutant"), pytest.param([], 1, id="the service as it is")],
    )
    def test_has_a_user_wait_for_all_that_another_has_queued(
        self, scene: Callable[..., Scene], lacking: list[str], place: int
    ) -> None:
        running = scene(**QUICK)
        for _ in range(30):
            running.work(seconds=0.02)
        _, token = running.stack.make_user()
        with running.stack.api(token=token) as other:
            answer = other.post(TASKS, json=running.body("ledger.work", seconds=0.02))
            assert answer.status_code == 201, answer.text
        running.accepted.append(answer.json()["id"])
        running.stack.worker(concurrency=1, env=mutant(*lacking))
        running.check()
        assert [line.task_id for line in running.lines(event="start")].index(running.accepted[-1]) == place


@pytest.mark.postgresql("it disables a trigger")
class TestNoPause:
    def test_lets_a_task_of_a_paused_queue_start(self, scene: Callable[..., Scene]) -> None:
        """Neither at the claim, which looks first, nor at the row, whose trigger has the last word."""
        running = scene(**QUICK)
        worker = running.stack.worker(concurrency=1)
        running.stack.server()
        with running.stack.api(role="admin") as admin:
            assert admin.post("/api/v1/queues/default/pause", json={"reason": "a test"}).status_code == 200
        waits = running.work()
        other = running.work(fields={"priority": "low"})
        assert running.ended(other)["status"] == "succeeded"
        assert running.lines(waits) == []
        worker.stop()
        running.stack.sql("ALTER TABLE tasks DISABLE TRIGGER tasks_held")
        running.stack.worker(concurrency=1, env=mutant("no_pause"))
        other = running.work()  # whose wake-up the broker has: maintenance wakes nobody for a paused queue
        running.started(waits)
        running.started(other)


@pytest.mark.postgresql("it rewrites a statement")
class TestNoFence:
    @pytest.mark.parametrize(
        ("lacking", "rules"),
        [
            pytest.param(["no_fence"], {"success_is_the_attempts_own"}, id="mutant"),
            pytest.param([], set(), id="the service as it is"),
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
        assert broken(running) == rules


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


@needs_server
class TestNoSelfFence:
    @pytest.mark.parametrize(
        ("lacking", "lives"),
        [pytest.param(["no_self_fence"], True, id="mutant"), pytest.param([], False, id="the service as it is")],
    )
    def test_lets_two_attempts_run_at_once(
        self, scene: Callable[..., Scene], services: Services, gate: Path, lacking: list[str], lives: bool
    ) -> None:
        running = scene(**QUICK)
        with TcpProxy("127.0.0.1", database_server_of(services).port) as proxy:
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


class TestNoBeginRule:
    def test_lets_a_process_that_was_frozen_begin_what_has_run_elsewhere(
        self, scene: Callable[..., Scene], gate: Path
    ) -> None:
        running = scene(**QUICK)
        running.stack.worker(concurrency=2, env=mutant("no_begin_rule"))
        assert [2, 1] in begun_by_a_frozen_process(running, gate)


class TestEndsInTheChild:
    def test_runs_again_what_had_ended_before_its_process_died(self, scene: Callable[..., Scene]) -> None:
        running = scene(**QUICK)
        running.stack.worker(concurrency=1, env=mutant("ends_in_the_child"))
        ids = batch_of_ten(running, {3: {"die": 1}})
        wait_for(lambda: not running.unended(), 40, "all to end")
        assert [attempts_begun(running, task_id) for task_id in ids[:3]] == [[1, 2]] * 3


class TestNoLastRow:
    def test_blames_the_neighbours_of_a_task_that_kills_its_process(self, scene: Callable[..., Scene]) -> None:
        running = scene(**QUICK)
        running.stack.worker(concurrency=1, env=mutant("no_last_row"))
        ids = batch_of_ten(running, {3: {"die": 1}})
        wait_for(lambda: not running.unended(), 40, "all to end")
        assert [counts(running, task_id)[2] for task_id in ids] == [0, 0, 0, *[1] * 7]
