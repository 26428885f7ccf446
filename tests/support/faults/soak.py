"""Random faults under a mixed load, from a seed: the same seed gives the same faults in the same order.

A fault is a generator: it does its harm, yields, and heals. Two may overlap.
"""

import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
from sqlalchemy.exc import OperationalError

from tests.support import accounts
from tests.support.faults.broker_server import BrokerServer
from tests.support.faults.proxy import TcpProxy
from tests.support.faults.scene import Scene
from tests.support.running import TASKS
from tests.support.services import Services
from tests.support.stack import Part
from tests.support.waiting import wait_for

logger = logging.getLogger("soak")

Fault = Iterator[None]
LOGIN = f"{accounts.API}/auth/login"
ME = f"{accounts.API}/users/me"
WORKERS = 2
CONCURRENCY = 3
OVERLAPPING = 2
PAUSE = (0.2, 1.5)
# A client that creates more than the faults let anybody run proves nothing but that: it waits with so many unended.
MOST_UNENDED = 60
# Lease, heartbeat, crash after crash, a back-off, on a machine that is busy with ten processes.
SETTLE_SECONDS = 180.0
SETTINGS = {"CANCEL_GRACE_SECONDS": "1", "SHUTDOWN_GRACE_SECONDS": "2"}
BACKENDS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class Load:
    """A client that never gives up: it repeats each request under its key until it has its 201, and changes its mind."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene = scene
        self.deleted: list[str] = []
        self.keys = 0
        self.answers: dict[int, int] = {}
        self._seed = seed
        self._username = ""
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load")

    def start(self) -> None:
        """Once all is well: the client and its token are made by the first request."""
        self.scene.work()
        self._username = str(self.scene.http.get(ME).json()["username"])
        self._thread.start()

    def _log_in(self) -> None:
        form = {"username": self._username, "password": accounts.PASSWORD}
        answer = self._until_answered("POST", LOGIN, data=form)
        self.scene.http.headers.update(accounts.bearer(answer.json()["access_token"]))

    def stop(self) -> None:
        self._over.set()
        self._thread.join(120)
        assert not self._thread.is_alive(), "the client still waits for an answer"
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._over.wait(self._random.uniform(0.02, 0.2)):
                while self._too_many() and not self._over.wait(0.5):
                    continue
                self._create(self._random.choice(WORK)(self._random))
                if self._random.random() < 0.25:
                    self._change(self._random.choice(self.scene.accepted[-20:]))
        except BaseException as error:  # noqa: BLE001 (raised by `stop`, where the test sees it)
            self._error = error

    def _too_many(self) -> bool:
        try:
            return len(self.scene.unended()) >= MOST_UNENDED
        except OperationalError:  # the witness's own way to the database goes through its crashes as well
            return True

    def _create(self, work: dict[str, Any]) -> None:
        self.keys += 1
        headers = {"Idempotency-Key": f"soak-{self._seed}-{self.keys}"}
        body = self.scene.body(work.pop("task"), **work)
        answer = self._until_answered("POST", TASKS, json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        self.scene.accepted.append(str(answer.json()["id"]))

    def _change(self, task_id: str) -> None:
        kind = self._random.choice(("cancel", "cancel", "retry", "delete"))
        if task_id in self.deleted:
            return
        if kind == "delete":
            answer = self._until_answered("DELETE", f"{TASKS}{task_id}", params={"force": "true"})
            if answer.status_code in (202, 204, 404):  # the last where the first answer was lost on its way
                self.deleted.append(task_id)
        else:
            self._until_answered("POST", f"{TASKS}{task_id}/{kind}")

    def _until_answered(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Sent again while there is no answer, or one that says to come back, or to log in again."""
        while True:
            with suppress(httpx.TransportError):
                answer = self.scene.http.request(method, path, timeout=5, **options)
                self.answers[answer.status_code] = self.answers.get(answer.status_code, 0) + 1
                in_flight = method == "POST" and path == TASKS and answer.status_code == 409
                if answer.status_code == 401 and path != LOGIN:
                    self._log_in()  # a token lasts for a quarter of an hour
                elif answer.status_code < 500 and not in_flight:
                    return answer
            time.sleep(0.1)


def _fields(**fields: Any) -> dict[str, Any]:
    return {"fields": fields}


WORK: list[Callable[[random.Random], dict[str, Any]]] = [
    lambda _: {"task": "ledger.work"},
    lambda _: {"task": "ledger.work"},
    lambda r: {"task": "ledger.work", "seconds": r.uniform(0, 0.5), **_fields(priority=r.choice(["low", "critical"]))},
    lambda r: {"task": "ledger.work", "seconds": r.uniform(1, 4), "steps": 20},
    lambda _: {"task": "ledger.work", "fail": True, **_fields(max_attempts=3, retry_backoff_seconds=1)},
    lambda r: {"task": "ledger.work", **_fields(delay_seconds=r.uniform(0, 5))},
    lambda r: {"task": "ledger.poison", "times": r.choice([1, 2, 99])},
    lambda _: {"task": "ledger.spin", **_fields(timeout_seconds=2)},
]


class Soak:
    """`Soak(scene, services, broker, database_proxy, broker_proxy, seed).run(seconds)`."""

    def __init__(
        self, scene: Scene, services: Services, broker: BrokerServer, to_database: TcpProxy, to_broker: TcpProxy,
        seed: int,
    ) -> None:  # fmt: skip
        self.scene, self.services, self.broker = scene, services, broker
        self.to_database, self.to_broker = to_database, to_broker
        self.seed = seed
        self.load = Load(scene, seed)
        self.done: list[str] = []
        self._random = random.Random(seed)
        self._workers: list[Part] = []
        self._beat: Part | None = None
        self._open: list[tuple[str, Fault]] = []

    def run(self, seconds: float) -> str:
        """Faults for so long, then peace; everything must end, and every rule hold. What happened, in a line."""
        logger.warning("soak: seed %d, %.0f s", self.seed, seconds)
        self._workers = [self.scene.stack.worker(CONCURRENCY) for _ in range(WORKERS)]
        self.load.start()
        try:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                self._step()
            self._heal()
        finally:
            self.load.stop()
        return self._settle()

    def _settle(self) -> str:
        begun = time.monotonic()
        rows = "SELECT count(*) FROM tasks"
        wait_for(lambda: not self.scene.unended(), SETTLE_SECONDS, "every accepted task to end")
        settled = time.monotonic() - begun
        kept = len(set(self.scene.accepted) - set(self.load.deleted))
        wait_for(lambda: self.scene.stack.sql(rows)[0][0] <= kept, 30, "what was deleted to be gone")
        assert self.scene.stack.sql(rows)[0][0] == kept, "a task without a 201, or none for one"
        assert len(set(self.scene.accepted)) == len(self.scene.accepted)
        self.scene.check(deleted=tuple(self.load.deleted))
        return (
            f"seed {self.seed}: {len(self.scene.accepted)} tasks, {len(self.done)} faults, answers {self.load.answers}, "
            f"settled {settled:.1f} s after the last fault"
        )

    def _step(self) -> None:
        """One more fault, or the end of one."""
        if len(self._open) >= OVERLAPPING or (self._open and self._random.random() < 0.5):
            self._heal(1)
        else:
            name, fault = self._random.choice(self._faults())
            logger.warning("soak: %s", name)
            self.done.append(name)
            opened = fault()
            next(opened)
            self._open.append((name, opened))
        time.sleep(self._random.uniform(*PAUSE))

    def _heal(self, count: int = OVERLAPPING) -> None:
        # Servers first: a process that is to start needs them.
        self._open.sort(key=lambda each: not each[0].startswith(("broker", "database")))
        for _ in range(min(count, len(self._open))):
            _, fault = self._open.pop(0)
            next(fault, None)

    def _faults(self) -> list[tuple[str, Callable[[], Fault]]]:
        taken = {name.split()[0] for name, _ in self._open}
        return [
            (name.replace("_", " "), getattr(self, f"_{name}")) for name in FAULTS if name.split("_")[0] not in taken
        ]

    # -- the worker --------------------------------------------------------------------------------------------------

    def _worker(self) -> Part:
        return self._random.choice(self._workers)

    def _replace(self, worker: Part) -> None:
        self._workers.remove(worker)
        self._workers.append(self.scene.stack.worker(CONCURRENCY))

    def _worker_loses_a_child(self) -> Fault:
        children = self._worker().children()
        if children:
            _signal(self._random.choice(children), signal.SIGKILL)
        yield

    def _worker_is_killed(self) -> Fault:
        worker = self._worker()
        worker.kill()
        yield
        self._replace(worker)

    def _worker_leaves(self) -> Fault:
        worker = self._worker()
        worker.send(signal.SIGTERM)
        yield
        self._replace(worker)

    def _worker_freezes(self) -> Fault:
        worker = self._worker()
        everybody = [worker.pid, *worker.children()]
        if self._random.random() < 0.5:
            everybody = everybody[:1]
        for pid in everybody:
            _signal(pid, signal.SIGSTOP)
        yield
        time.sleep(self._random.choice([0, 0, 7]))  # shorter than the lease, or longer
        for pid in everybody:
            _signal(pid, signal.SIGCONT)

    def _worker_comes_and_goes_with_beat(self) -> Fault:
        self._beat = self.scene.stack.beat()
        yield
        self._beat.kill()

    # -- the API -----------------------------------------------------------------------------------------------------

    def _api_is_killed(self) -> Fault:
        server = self.scene.stack.server()
        server.kill()
        yield
        self.scene.stack.server()

    # -- Redis -------------------------------------------------------------------------------------------------------

    def _broker_is_flushed(self) -> Fault:
        self.broker.flush()
        yield

    def _broker_drops_messages(self) -> Fault:
        for queue in ("default", "low_priority", "high_priority"):
            self.broker.drop(queue, 5)
        yield

    def _broker_restarts_with_its_file(self) -> Fault:
        self.broker.kill()
        yield
        self.broker.restart()

    def _broker_restarts_empty(self) -> Fault:
        self.broker.kill()
        yield
        self.broker.restart(empty=True)

    def _broker_freezes(self) -> Fault:
        self.broker.freeze()
        yield
        self.broker.thaw()

    def _broker_is_cut_off(self) -> Fault:
        self.to_broker.refuse()
        yield
        self.to_broker.heal()

    def _broker_connections_break(self) -> Fault:
        self.to_broker.cut()
        yield

    # -- PostgreSQL --------------------------------------------------------------------------------------------------

    def _database_backends_are_terminated(self) -> Fault:
        self.scene.stack.sql(BACKENDS)
        yield

    def _database_is_cut_off(self) -> Fault:
        self.to_database.refuse()
        yield
        self.to_database.heal()

    def _database_goes_silent(self) -> Fault:
        self.to_database.freeze()
        yield
        self.to_database.heal()

    def _database_crashes(self) -> Fault:
        server = self.services.postgres
        os.kill(server.pid, signal.SIGQUIT)
        server.process.wait(30)
        yield
        server.start()


FAULTS = tuple(
    name.removeprefix("_") for name in vars(Soak) if name.startswith(("_worker_", "_api_", "_broker_", "_database_"))
)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
