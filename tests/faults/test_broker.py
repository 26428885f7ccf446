"""A broker that dies, forgets, freezes, refuses, loses messages or drops its clients: rows 15–19 of the matrix, and more.

One deployment for all of it, on a broker of its own. Its one worker has two processes, which a gate holds while a test
needs the messages to stay in the queue.
"""

import logging
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.faults.broker_server import BrokerServer
from tests.support.faults.load import load
from tests.support.faults.proxy import TcpProxy
from tests.support.faults.scene import Scene, fault_scene
from tests.support.services import Services
from tests.support.stack import Part
from tests.support.waiting import wait_for

pytestmark = pytest.mark.long

logger = logging.getLogger(__name__)

PROCESSES = 2
LOW, REST = {"priority": "low"}, "high_priority,default"
SENT = "SELECT count(*) FROM tasks WHERE status = 'pending' AND dispatched_at IS NOT NULL"

Queued = Callable[[int], AbstractContextManager[list[str]]]


@pytest.fixture(scope="module")
def scene(services: Services, broker: BrokerServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with fault_scene(services, tmp_path_factory.mktemp("scene"), CELERY_BROKER_URL=broker.url) as scene:
        scene.stack.worker(concurrency=PROCESSES, queues=REST)
        yield scene


@pytest.fixture
def queued(scene: Scene, broker: BrokerServer, gate: Path) -> Queued:
    """`with queued(20) as ids:` so many tasks whose messages wait in the queue, until the block is left."""

    @contextmanager
    def hold(number: int) -> Iterator[list[str]]:
        for holder in [scene.create("ledger.deaf", gate=str(gate)) for _ in range(PROCESSES)]:
            scene.started(holder)
        ids = [scene.work() for _ in range(number)]
        wait_for(lambda: broker.messages() == number, 30, "all messages to wait")
        wait_for(lambda: scene.stack.sql(SENT)[0][0] == number, 30, "all of them to be marked")
        yield ids
        gate.touch()

    return hold


def ran_once(scene: Scene, ids: list[str]) -> None:
    """All of them succeed at their first attempt, and everything else holds too."""
    scene.check()
    assert {(scene.get(task_id)["status"], scene.get(task_id)["attempt"]) for task_id in ids} == {("succeeded", 1)}


def now(scene: Scene) -> datetime:
    """By the database's clock, which writes the times that are compared with it."""
    at: datetime = scene.stack.sql("SELECT clock_timestamp()")[0][0]
    return at


def sent_again(scene: Scene, broker: BrokerServer, number: int, since: datetime) -> None:
    """The criterion of rows 15 and 17, from the call on, when the broker answers again."""
    begun = time.monotonic()
    again = f"{SENT} AND dispatched_at > :since"
    wait_for(lambda: scene.stack.sql(again, since=since)[0][0] == number, 5, f"all {number} to be sent again")
    logger.info("%d sent again after %.2f s", number, time.monotonic() - begun)
    assert broker.messages() == number


class TestItForgets:
    def test_row_15_restarted_empty_it_gets_all_that_is_pending_within_5_s(
        self, scene: Scene, broker: BrokerServer, queued: Queued
    ) -> None:
        with queued(50) as ids:
            broker.kill()
            killed = now(scene)
            broker.restart(empty=True)
            sent_again(scene, broker, 50, since=killed)
        ran_once(scene, ids)

    def test_row_16_restarted_with_its_file_it_causes_no_second_success(
        self, scene: Scene, broker: BrokerServer, queued: Queued
    ) -> None:
        with queued(20) as ids:
            broker.kill()
            broker.restart()
            assert broker.messages() == 20
        with load(scene) as more:
            for _ in range(2):
                done = len(scene.lines(event="end"))
                broker.kill()
                broker.restart()
                wait_for(lambda: len(scene.lines(event="end")) > done + 5, 30, "work to go on")  # noqa: B023
        ran_once(scene, ids + more)

    def test_row_17_flushed_with_100_queued_it_gets_them_again_within_5_s(
        self, scene: Scene, broker: BrokerServer, queued: Queued
    ) -> None:
        with queued(100) as ids:
            flushed = now(scene)
            broker.flush()
            sent_again(scene, broker, 100, since=flushed)
        ran_once(scene, ids)


class TestItIsOfNoUse:
    """Creating answers 201 as fast as ever, and what was created is done once the broker can be used again."""

    def test_row_18_frozen_p99_of_creating_stays_below_1_5_s(self, scene: Scene, broker: BrokerServer) -> None:
        with broker.frozen():
            took = self._post(scene, 100)
        p99 = statistics.quantiles(took, n=100)[98]
        logger.info("p99 of creating: %.3f s", p99)
        assert p99 < 1.5
        ran_once(scene, scene.accepted[-100:])

    def test_refused_it_costs_creating_nothing(self, scene: Scene, broker: BrokerServer) -> None:
        with broker.refusing():
            took = self._post(scene, 40)
        assert max(took) < 1.5
        ran_once(scene, scene.accepted[-40:])

    def test_full_it_costs_creating_nothing(self, scene: Scene, broker: BrokerServer) -> None:
        with broker.full():
            took = self._post(scene, 40)
            assert broker.messages() == 0
        assert max(took) < 1.5
        ran_once(scene, scene.accepted[-40:])

    @staticmethod
    def _post(scene: Scene, number: int) -> list[float]:
        """How long creating took, by four clients at once, spread over a few of the publisher's time-outs."""

        def one(_: int) -> float:
            begun = time.monotonic()
            scene.work()
            took = time.monotonic() - begun
            time.sleep(0.1)
            return took

        with ThreadPoolExecutor(4) as clients:
            return list(clients.map(one, range(number)))


class TestItLosesMessages:
    def test_each_message_lost_twice_is_sent_again_twice(
        self, scene: Scene, broker: BrokerServer, queued: Queued
    ) -> None:
        with queued(20) as ids:
            for _ in range(2):
                assert broker.drop(limit=20) == 20
                wait_for(lambda: broker.messages() == 20, 30, "all of them to be sent again")
        ran_once(scene, ids)

    def test_every_second_message_lost_is_sent_again(self, scene: Scene, broker: BrokerServer, queued: Queued) -> None:
        with queued(20) as ids:
            assert broker.drop_every_second() == 10
        ran_once(scene, ids)

    def test_one_lost_from_a_queue_that_never_runs_empty_is_sent_again(
        self, scene: Scene, broker: BrokerServer, queued: Queued
    ) -> None:
        with queued(10) as ids:
            assert broker.drop() == 1
        with load(scene, lengths=[0.3]) as others:  # more than two processes can do
            # Found between two marks, it joins the end of a queue that has grown by a third of the time since.
            scene.ended(ids[0], seconds=90)
            assert broker.messages() > 0
        ran_once(scene, ids + others)


class TestItDropsItsClients:
    def test_row_19_every_connection_is_cut_and_the_workers_go_on(self, scene: Scene, broker: BrokerServer) -> None:
        (worker,) = (part for part in scene.stack.parts if part.name.startswith("worker"))
        with load(scene) as ids:
            for _ in range(5):
                done = len(scene.lines(event="end"))
                wait_for(broker.kill_clients, 10, "connections to cut")
                wait_for(lambda: len(scene.lines(event="end")) > done + 3, 30, "work to go on")  # noqa: B023
        assert worker.running
        ran_once(scene, ids)


class TestAPartition:
    """Between one worker, with a queue of its own, and the broker."""

    @pytest.fixture(scope="class")
    @classmethod
    def proxy(cls, broker: BrokerServer) -> Iterator[TcpProxy]:
        with TcpProxy("127.0.0.1", broker.port) as proxy:
            yield proxy

    @pytest.fixture(scope="class")
    @classmethod
    def worker(cls, scene: Scene, broker: BrokerServer, proxy: TcpProxy) -> Iterator[Part]:
        by_proxy = {"CELERY_BROKER_URL": proxy.through(broker.url)}
        worker = scene.stack.worker(concurrency=1, queues="low_priority", env=by_proxy)
        yield worker
        worker.stop()

    @pytest.mark.parametrize("fault", [TcpProxy.freeze, TcpProxy.refuse])
    def test_row_19_it_consumes_again_when_the_network_is_back(
        self, scene: Scene, worker: Part, proxy: TcpProxy, broker: BrokerServer, fault: Callable[[TcpProxy], None]
    ) -> None:
        scene.ended(scene.work(fields=LOW))
        fault(proxy)
        ids = [scene.work(fields=LOW) for _ in range(5)]
        wait_for(lambda: broker.messages("low_priority") >= 4, 20, "the messages to wait")
        assert len(set(ids) & set(scene.unended())) == 5
        proxy.heal()
        ran_once(scene, ids)
        assert worker.running

    def test_row_19_it_notices_a_connection_that_is_dead_without_a_word(
        self, scene: Scene, worker: Part, proxy: TcpProxy
    ) -> None:
        """As when a firewall forgets it: what is sent vanishes, and nothing ever comes. New ones work."""
        scene.ended(scene.work(fields=LOW))
        proxy.freeze()
        proxy.frozen = False  # for new connections alone
        ids = [scene.work(fields=LOW) for _ in range(5)]
        for task_id in ids:
            scene.ended(task_id, seconds=60)
        ran_once(scene, ids)
        assert worker.running
