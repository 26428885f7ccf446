"""Database connections that died while they were idle cost no request: none is answered 503 once the database answers."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from app.launcher.postgres import EmbeddedPostgres
from tests.support.accounts import PASSWORD, bearer, register
from tests.support.databases import MariaDB
from tests.support.faults.engines import database_server_of, needs_server, terminate
from tests.support.faults.proxy import TcpProxy
from tests.support.faults.scene import Scene, fault_scene
from tests.support.faults.standby import through_proxy
from tests.support.fixtures import STARTED
from tests.support.running import TASKS
from tests.support.services import Services
from tests.support.waiting import wait_for

pytestmark = needs_server

KINDS = ("readiness", "log-in", "read", "list", "count", "submit", "batch", "API key", "change", "events")


class Api:
    """An API behind a proxy, and one request of each kind to it."""

    def __init__(self, running: Scene, proxy: TcpProxy, server: EmbeddedPostgres | MariaDB) -> None:
        self.running, self.proxy, self.database = running, proxy, server
        self.http, self.server = running.http, running.stack.server()
        self._name = register(self.http)["username"]
        self._task = running.work()
        made = self.http.post("/api/v1/auth/api-keys", json={"name": "test", "scopes": ["tasks:read"]})
        self._key = bearer(made.json()["key"])

    def send(self, kind: str) -> int:
        """The answer's status."""
        http, task = self.http, TASKS + self._task
        body = self.running.body("ledger.work")
        calls: dict[str, Callable[[], httpx.Response]] = {
            "readiness": lambda: http.get("/readyz"),
            "log-in": lambda: http.post("/api/v1/auth/login", data={"username": self._name, "password": PASSWORD}),
            "read": lambda: http.get(task),
            "list": lambda: http.get(TASKS),
            "count": lambda: http.get(f"{TASKS}count"),
            "submit": lambda: http.post(TASKS, json=body),
            "batch": lambda: http.post(f"{TASKS}batch", json={"tasks": [body, body]}),
            "API key": lambda: http.get(task, headers=self._key),
            "change": lambda: http.patch(task, json={"name": "renamed"}),
            "events": self._first_of_the_stream,
        }
        return calls[kind]().status_code

    def _first_of_the_stream(self) -> httpx.Response:
        with self.http.stream("GET", f"{TASKS}{self._task}/events") as answer:
            next(answer.iter_lines(), None)
            return answer

    def lose_its_connections(self, lose: Callable[[], None]) -> None:
        """Returns once the kernel knows that each of them is gone."""
        before = self._connections()
        assert before, "nothing to lose"
        lose()
        wait_for(lambda: not before & self._connections(), 30, "the API's connections to be gone")

    def _connections(self) -> set[int]:
        """The local ports of its living connections to the proxy."""
        found = psutil.Process(self.server.pid).net_connections("tcp")
        return {
            each.laddr.port
            for each in found
            if each.status == psutil.CONN_ESTABLISHED and each.raddr and each.raddr.port == self.proxy.port
        }

    def restart(self) -> None:
        self.database.stop()
        self.database.start()


@pytest.fixture(scope="module")
def api(
    own_services: Services, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Api]:
    with through_proxy(own_services) as servers, fault_scene(servers, tmp_path_factory.mktemp("scene")) as running:
        request.node.stash[STARTED] = [running.stack]
        yield Api(running, servers.proxy, database_server_of(own_services))


class TestTheApi:
    @pytest.mark.parametrize("kind", KINDS)
    def test_no_kind_of_request_meets_a_terminated_backend(self, api: Api, kind: str) -> None:
        assert api.send(kind) < 300
        api.lose_its_connections(lambda: terminate(api.running.stack))
        assert max(api.send(kind) for _ in range(3)) < 300

    def test_a_restarted_server_costs_no_request(self, api: Api) -> None:
        self._all_succeed_after(api, api.restart)

    def test_connections_that_were_reset_cost_no_request(self, api: Api) -> None:
        self._all_succeed_after(api, api.proxy.cut)

    @pytest.mark.skipif(sys.platform != "linux", reason="a packet filter on a socket is Linux's")
    def test_connections_that_a_firewall_dropped_cost_no_request(self, api: Api) -> None:
        """Neither end hears of it: keepalive probes that are not acknowledged end the connection within 11 s."""
        self._all_succeed_after(api, lambda: api.proxy.forget(acknowledged=False))

    @staticmethod
    def _all_succeed_after(api: Api, lose: Callable[[], None]) -> None:
        for kind in KINDS:
            api.send(kind)
        api.lose_its_connections(lose)
        answers = {kind: api.send(kind) for kind in KINDS}
        assert {kind: status for kind, status in answers.items() if status >= 300} == {}


class TestAWorker:
    def test_claims_and_ends_at_once(self, scene: Callable[..., Scene], gate: Path) -> None:
        """Terminated before the claim, and again while the body runs: the child's connection and its parent's."""
        running = scene()
        worker = running.stack.worker(concurrency=1)
        running.ended(running.work())
        terminate(running.stack)
        held = running.create("ledger.deaf", kwargs={"gate": str(gate)})
        running.started(held)
        terminate(running.stack)
        gate.touch()
        assert running.ended(held)["status"] == "succeeded"
        assert [line for line in worker.output().splitlines() if "database not reachable" in line] == []
