"""Random faults under a mixed load, from a seed: the same seed gives the same faults in the same order.

A fault does its harm and returns what heals it. Two may overlap.
"""

import logging
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy.exc import OperationalError

from tests.support import accounts
from tests.support.databases import ENGINE
from tests.support.faults.broker_server import BrokerServer
from tests.support.faults.engines import database_server_of, terminate
from tests.support.faults.load import repeated
from tests.support.faults.proxy import TcpProxy
from tests.support.faults.scene import Scene
from tests.support.running import TASKS
from tests.support.services import Services
from tests.support.stack import Part
from tests.support.waiting import wait_for

logger = logging.getLogger("soak")

Heal = Callable[[], object]
Fault = Callable[[], Heal]
Pause = tuple[float, float]
LOGIN = f"{accounts.API}/auth/login"
ME = f"{accounts.API}/users/me"
WORKERS = 2
CONCURRENCY = 3
OVERLAPPING = 2
# Between two faults, seconds: of the short run, which lets more work be done between them, and of the long ones.
PAUSE, NO_PAUSE = (0.2, 1.5), (0.0, 0.2)
# At most so many bodies at the same time.
LIMIT, PLACES = "soak", 2
LIMITS = f"{accounts.API}/limits/"
# A body that is frozen holds its place for the witness, and has lost it for the service.
FREEZING = ("worker freezes",)
# PostgreSQL's immediate shutdown; MariaDB would take its time to stop.
CRASH = signal.SIGQUIT if ENGINE == "postgresql" else signal.SIGKILL
# The client waits while so many tasks are unended: the faults leave no time to run more.
MOST_UNENDED = 60
# Lease, heartbeat, crash after crash, a back-off, on a machine that is busy with ten processes.
SETTLE_SECONDS = 180.0
SETTINGS = {"CANCEL_GRACE_SECONDS": "1", "SHUTDOWN_GRACE_SECONDS": "2"}


class Load:
    """A client that repeats each request under its key until it has its 201, and changes its mind about tasks."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene = scene
        self.deleted: list[str] = []
        self.keys = 0
        self.answers: Counter[int] = Counter()
        self._seed = seed
        self._random = random.Random(seed)
        scene.work()  # makes the client and its token, while all is well
        answer = scene.stack.api(role="admin").put(f"{LIMITS}{LIMIT}", json={"concurrency": PLACES})
        assert answer.status_code == 200, answer.text
        self._username = str(scene.http.get(ME).json()["username"])

    def pause(self) -> float:
        return self._random.uniform(0.02, 0.2)

    def act(self) -> None:
        if self._too_many():
            time.sleep(0.5)
            return
        self._create(self._random.choice(WORK)(self._random))
        if self._random.random() < 0.25:
            self._change(self._random.choice(self.scene.accepted[-20:]))

    def _log_in(self) -> None:
        form = {"username": self._username, "password": accounts.PASSWORD}
        answer = self._until_answered("POST", LOGIN, data=form)
        self.scene.http.headers.update(accounts.bearer(answer.json()["access_token"]))

    def _too_many(self) -> bool:
        try:
            return len(self.scene.unended()) >= MOST_UNENDED
        except OperationalError:  # the test's own connection meets the crashes too
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
                self.answers[answer.status_code] += 1
                in_flight = method == "POST" and path == TASKS and answer.status_code == 409
                if answer.status_code == 401 and path != LOGIN:
                    self._log_in()  # a token lasts for a quarter of an hour
                elif answer.status_code < 500 and not in_flight:
                    return answer
            time.sleep(0.1)


def _fields(**fields: Any) -> dict[str, Any]:
    return {"fields": fields}


LIMITED = _fields(limit=LIMIT)
WORK: list[Callable[[random.Random], dict[str, Any]]] = [
    lambda _: {"task": "ledger.work"},
    lambda _: {"task": "ledger.work"},
    lambda r: {"task": "ledger.work", "seconds": r.uniform(0, 0.5), **_fields(priority=r.choice(["low", "critical"]))},
    lambda r: {"task": "ledger.work", "seconds": r.uniform(1, 4), "steps": 20},
    lambda _: {"task": "ledger.work", "fail": True, **_fields(max_attempts=3, retry_backoff_seconds=1)},
    lambda r: {"task": "ledger.work", **_fields(delay_seconds=r.uniform(0, 5))},
    lambda r: {"task": "ledger.poison", "times": r.choice([1, 2, 99])},
    lambda _: {"task": "ledger.quick"},
    lambda r: {"task": "ledger.quick", "die": r.choice([0, 0, 1, 99])},
    lambda _: {"task": "ledger.spin", **_fields(timeout_seconds=2)},
    lambda r: {"task": "ledger.placed", "places": PLACES, "seconds": r.uniform(0, 0.5), **LIMITED},
    lambda r: {"task": "ledger.placed", "places": PLACES, "seconds": r.uniform(0, 3), **LIMITED},
]


class Soak:
    """`Soak(scene, services, broker, database_proxy, broker_proxy, seed).run(seconds)`.

    `without` names faults that are left out, `pause` is that between two. Without those that freeze a body, the limit is looked at too.
    """

    def __init__(
        self, scene: Scene, services: Services, broker: BrokerServer, to_database: TcpProxy, to_broker: TcpProxy,
        seed: int, without: Collection[str] = (), pause: Pause = PAUSE,
    ) -> None:  # fmt: skip
        self.scene, self.services, self.broker = scene, services, broker
        self.to_database, self.to_broker = to_database, to_broker
        self.seed, self._without, self._pause = seed, without, pause
        self.done: list[str] = []
        self._random = random.Random(seed)
        self._workers: list[Part] = []
        self._open: list[tuple[str, Heal]] = []

    def run(self, seconds: float) -> str:
        """Faults for so long, then peace; everything must end, and every rule hold. What happened, in a line."""
        logger.warning("soak: seed %d, %.0f s", self.seed, seconds)
        self._workers = [self.scene.stack.worker(CONCURRENCY) for _ in range(WORKERS)]
        load = Load(self.scene, self.seed)
        with repeated(load.act, load.pause):
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                self._step()
            self._heal()
        return self._settle(load)

    def _settle(self, load: Load) -> str:
        begun = time.monotonic()
        rows = "SELECT count(*) FROM tasks"
        wait_for(lambda: not self.scene.unended(), SETTLE_SECONDS, "every accepted task to end")
        settled = time.monotonic() - begun
        kept = len(set(self.scene.accepted) - set(load.deleted))
        wait_for(lambda: self.scene.stack.sql(rows)[0][0] <= kept, 30, "what was deleted to be gone")
        assert self.scene.stack.sql(rows)[0][0] == kept, "a task without a 201, or none for one"
        assert len(set(self.scene.accepted)) == len(self.scene.accepted)
        self.scene.check(deleted=tuple(load.deleted))
        crowded = Path(f"{self.scene.ledger}-crowded")
        assert not (set(FREEZING) <= set(self._without) and crowded.exists()), (
            f"too many at once: {crowded.read_text()}"
        )
        return (
            f"seed {self.seed}: {len(self.scene.accepted)} tasks, {len(self.done)} faults, answers {dict(load.answers)}, "
            f"settled {settled:.1f} s after the last fault"
        )

    def _step(self) -> None:
        """One more fault, or the end of one."""
        if len(self._open) >= OVERLAPPING or (self._open and self._random.random() < 0.5):
            self._heal(1)
        else:
            taken = {name.split()[0] for name, _ in self._open}
            faults = self._faults().items()
            barred = taken | set(self._without)
            name, fault = self._random.choice([each for each in faults if not {each[0], each[0].split()[0]} & barred])
            logger.warning("soak: %s", name)
            self.done.append(name)
            self._open.append((name, fault()))
        time.sleep(self._random.uniform(*self._pause))

    def _heal(self, count: int = OVERLAPPING) -> None:
        # Servers first: a process that is to start needs them.
        self._open.sort(key=lambda each: not each[0].startswith(("broker", "database")))
        for _ in range(min(count, len(self._open))):
            _, heal = self._open.pop(0)
            heal()

    def _faults(self) -> dict[str, Fault]:
        """By name; the first word is what fails, which has one fault at a time."""
        broker, to_broker, to_database = self.broker, self.to_broker, self.to_database
        return {
            "worker loses a child": self._lose_a_child,
            "worker is killed": lambda: self._end_a_worker(Part.kill),
            "worker leaves": lambda: self._end_a_worker(lambda worker: worker.send(signal.SIGTERM)),
            "worker freezes": self._freeze_a_worker,
            "worker comes and goes with beat": lambda: self.scene.stack.beat().kill,
            "api is killed": harm(lambda: self.scene.stack.server().kill(), self.scene.stack.server),
            "broker is flushed": harm(broker.flush),
            "broker drops messages": harm(self._drop_messages),
            "broker restarts with its file": harm(broker.kill, broker.restart),
            "broker restarts empty": harm(broker.kill, partial(broker.restart, empty=True)),
            "broker freezes": harm(broker.freeze, broker.thaw),
            "broker is cut off": harm(to_broker.refuse, to_broker.heal),
            "broker connections break": harm(to_broker.cut),
            "database backends are terminated": harm(partial(terminate, self.scene.stack)),
            "database is cut off": harm(to_database.refuse, to_database.heal),
            "database goes silent": harm(to_database.freeze, to_database.heal),
            "database crashes": harm(self._crash_the_database, database_server_of(self.services).start),
        }

    def _lose_a_child(self) -> Heal:
        children = self._random.choice(self._workers).children()
        if children:
            _signal(self._random.choice(children), signal.SIGKILL)
        return nothing

    def _end_a_worker(self, end: Callable[[Part], object]) -> Heal:
        worker = self._random.choice(self._workers)
        end(worker)

        def replace() -> None:
            self._workers.remove(worker)
            self._workers.append(self.scene.stack.worker(CONCURRENCY))

        return replace

    def _freeze_a_worker(self) -> Heal:
        worker = self._random.choice(self._workers)
        frozen = [worker.pid, *worker.children()]
        if self._random.random() < 0.5:
            frozen = frozen[:1]
        for pid in frozen:
            _signal(pid, signal.SIGSTOP)

        def thaw() -> None:
            time.sleep(self._random.choice([0, 0, 7]))  # shorter than the lease, or longer
            for pid in frozen:
                _signal(pid, signal.SIGCONT)

        return thaw

    def _drop_messages(self) -> None:
        for queue in ("default", "low_priority", "high_priority"):
            self.broker.drop(queue, 5)

    def _crash_the_database(self) -> None:
        server = database_server_of(self.services)
        os.kill(server.pid, CRASH)
        server.process.wait(30)


def nothing() -> None:
    """Heal a fault that is over by itself."""


def harm(do: Callable[[], object], heal: Heal = nothing) -> Fault:
    def fault() -> Heal:
        do()
        return heal

    return fault


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
