"""The task queues that one would pick instead, each from its own package, in turn on the same servers and machine.

Each has two slots: two processes of one task at a time, or what comes nearest to that. No-op tasks are drained from a
backlog, and single tasks are started on an idle worker. What a peer keeps of a task is told beside it.
"""

import statistics
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from subprocess import run as run_process
from typing import Any

import httpx
import psycopg2
from celery import Celery, __version__ as celery_version

from app.launcher.ports import free_loopback_port
from tests.performance.bench import QUIET, START_SECONDS, STOP_SECONDS, Bench, finish
from tests.performance.drain import LOOK, Drained, all_ended, drain, in_broker, pending
from tests.performance.figures import percentile
from tests.performance.findings import Findings
from tests.performance.goals import Goal, ratio
from tests.performance.scenario import task
from tests.performance.sections.start import await_stamp, start_raw
from tests.support.services import ROOT, process_environment, sqlalchemy_url
from tests.support.stack import Part
from tests.support.waiting import answers, wait_for

FOLDER = ROOT / "tests" / "performance" / "peers"
REQUIREMENTS = FOLDER / "requirements.txt"
OURS = "this service"
SLOTS = 2
MOST_ROUNDS = 3  # a round takes minutes
RAW_QUEUE = "celery"
# Of the databases of peers.
PROCRASTINATE_LEFT = f"SELECT {LOOK} count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
PREFECT_LEFT = f"SELECT {LOOK} count(*) FROM task_run WHERE state_type IN ('SCHEDULED', 'PENDING', 'RUNNING')"
PREFECT_SHARE = 0.01  # of the tasks of the others: it drains some twenty a second

Work = Callable[[], AbstractContextManager[Sequence[Part]]]


@dataclass(frozen=True)
class Deployed:
    """A peer with servers of its own and no tasks.

    `fill` submits so many no-op tasks; `work` runs its worker; `waiting` counts what is left, `ended` says whether all
    is over then. `start` returns the seconds from the call to the body for so many tasks, of a worker that runs.
    """

    fill: Callable[[int], None]
    work: Work
    waiting: Callable[[], int]
    start: Callable[[int], list[float]]
    ended: Callable[[], bool] = lambda: True


@dataclass(frozen=True)
class Peer:
    """`keeps`: what is left of a task that has ended. `goal`: at least so many times its rate."""

    name: str
    keeps: str
    deployed: Callable[[Bench], AbstractContextManager[Deployed]]
    goal: float | None = None
    share: float = 1.0


def measure(bench: Bench) -> Findings:
    findings = Findings("peers")
    peers = _peers(bench)
    drained: dict[str, list[Drained]] = {peer.name: [] for peer in peers}
    starts: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for _ in range(min(bench.size.rounds, MOST_ROUNDS)):
        for peer in peers:
            drained[peer.name].append(_drained(bench, peer))
            starts[peer.name] += _started(bench, peer)
    for peer in peers:
        if peer.goal is not None:
            pairs = zip(drained[OURS], drained[peer.name], strict=True)
            values = [ratio(mine.per_second, its.per_second) for mine, its in pairs]
            findings.compare("no-op tasks/s, two slots", peer.name, Goal(at_least=peer.goal), values)
    findings.details["peers"] = [_row(peer, drained[peer.name], sorted(starts[peer.name])) for peer in peers]
    findings.latencies = starts
    return findings


def _row(peer: Peer, drained: Sequence[Drained], starts: Sequence[float]) -> dict[str, Any]:
    return {
        "name": peer.name,
        "keeps": peer.keeps,
        "per_second": [each.per_second for each in drained],
        "cpu_microseconds": statistics.median(each.cost for each in drained),
        "start_milliseconds": {name: 1000 * percentile(starts, share) for name, share in (("p50", 0.5), ("p99", 0.99))},
    }


def _drained(bench: Bench, peer: Peer) -> Drained:
    count = max(100, int(bench.size.drained * peer.share))
    with peer.deployed(bench) as here:
        here.fill(count)
        with here.work() as workers:
            return drain(bench, here.waiting, count, workers, here.ended, seconds=bench.size.drain_seconds)


def _started(bench: Bench, peer: Peer) -> list[float]:
    with peer.deployed(bench) as here, here.work():
        return here.start(bench.size.starts)


# -- What is compared --------------------------------------------------------------------------------------------------


def _peers(bench: Bench) -> list[Peer]:
    theirs = _Environment(bench)
    return [
        Peer(OURS, "a row with its history", _ours),
        Peer(f"Celery {celery_version}, results off", "nothing", partial(_celery, has_backend=False), goal=8.0),
        Peer(f"Celery {celery_version}, PostgreSQL backend", "a row", partial(_celery, has_backend=True), goal=12.0),
        Peer(theirs.named("dramatiq"), "nothing", theirs.dramatiq, goal=4.0),
        Peer(theirs.named("huey"), "nothing", theirs.huey, goal=1.0),
        Peer(theirs.named("procrastinate"), "a row", theirs.procrastinate, goal=10.0),
        Peer(
            theirs.named("prefect").capitalize(),
            "a row with its history",
            theirs.prefect,
            goal=100.0,
            share=PREFECT_SHARE,
        ),
    ]


@contextmanager
def _ours(bench: Bench) -> Iterator[Deployed]:
    with bench.new_stack() as stack:
        file = bench.directory / "peers-ours"

        @contextmanager
        def work() -> Iterator[Sequence[Part]]:
            with bench.worker(stack, SLOTS) as worker:
                yield [worker]

        def started(count: int) -> list[float]:
            stack.server(options=QUIET)
            wanted, found = task("measured.stamp", str(file)), []
            headers = {"Authorization": f"Bearer {bench.sign_in(stack).token}"}
            with httpx.Client(base_url=stack.url, headers=headers) as client:
                for _ in range(count + 1):
                    called = time.time()
                    client.post("/api/v1/tasks/", json=wanted).raise_for_status()
                    found.append(await_stamp(file) - called)
            return found[1:]  # with the first one connections are made

        yield Deployed(
            lambda count: bench.fill(stack, bench.new_user(stack), "measured.noop", count),
            work, pending(stack), started, all_ended(stack),
        )  # fmt: skip


@contextmanager
def _celery(bench: Bench, *, has_backend: bool) -> Iterator[Deployed]:
    url, file = bench.services.new_broker(), bench.directory / "peers-celery"
    with _database(bench) as database, Celery("raw", broker=url) as client:
        backend = f"db+{sqlalchemy_url(database)}" if has_backend else ""

        @contextmanager
        def work() -> Iterator[Sequence[Part]]:
            with bench.raw_worker(url, SLOTS, backend) as worker:
                yield [worker]

        yield Deployed(
            lambda count: finish(bench.filling_raw(url, count, RAW_BACKEND=backend)),
            work, in_broker(bench.broker(url), RAW_QUEUE),
            lambda count: [start_raw(client, file, ignore_result=not has_backend) for _ in range(count + 1)][1:],
        )  # fmt: skip


class _Environment:
    """Those that are installed beside the service, with what `peers/requirements.txt` pins."""

    def __init__(self, bench: Bench) -> None:
        self._folder = bench.directory / "peers"
        venv.create(self._folder, with_pip=True, symlinks=True)
        pip = [str(self._folder / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        run_process([*pip, "install", "-r", str(REQUIREMENTS)], check=True)
        pins = (line.split("==") for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines() if "==" in line)
        self._versions = {name.partition("[")[0]: version for name, version in pins}

    def named(self, package: str) -> str:
        """Its name and version."""
        return f"{package} {self._versions[package]}"

    @contextmanager
    def dramatiq(self, bench: Bench) -> Iterator[Deployed]:
        url = bench.services.new_broker()
        words = ["dramatiq", "on_dramatiq", "--processes", str(SLOTS), "--threads", "1"]
        broker = bench.broker(url)
        # What is not acknowledged, whoever has it.
        yield self._deployed(
            bench, "on_dramatiq", {"PEER_BROKER": url}, [words], lambda: int(broker.hlen("dramatiq:default.msgs"))
        )

    @contextmanager
    def huey(self, bench: Bench) -> Iterator[Deployed]:
        url = bench.services.new_broker()
        words = ["huey_consumer", "on_huey.huey", "-w", str(SLOTS), "-k", "process"]
        waiting = in_broker(bench.broker(url), "huey.redis.peer")
        yield self._deployed(bench, "on_huey", {"PEER_BROKER": url}, [words], waiting)

    @contextmanager
    def procrastinate(self, bench: Bench) -> Iterator[Deployed]:
        with _database(bench) as url:
            variables, app = {"PEER_DATABASE": url}, ["procrastinate", "-a", "on_procrastinate.app"]
            finish(self._part(bench, [*app, "schema", "--apply"], variables))
            workers = [[*app, "worker", "--concurrency", "1"]] * SLOTS
            with _counting(url, PROCRASTINATE_LEFT) as waiting:
                yield self._deployed(bench, "on_procrastinate", variables, workers, waiting)

    @contextmanager
    def prefect(self, bench: Bench) -> Iterator[Deployed]:
        """Its server is one of the parts that take CPU."""
        port = free_loopback_port()
        address = f"http://127.0.0.1:{port}"
        with _database(bench) as url:
            variables = {
                "PREFECT_HOME": str(self._folder / "home"),
                "PREFECT_API_URL": f"{address}/api",
                "PREFECT_SERVER_DATABASE_CONNECTION_URL": url.replace("postgresql://", "postgresql+asyncpg://", 1),
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "DO_NOT_TRACK": "1",
            }
            server = self._part(bench, ["prefect", "server", "start", "--port", str(port)], variables)
            try:
                wait_for(
                    lambda: answers(address, "/api/health") or not server.running, START_SECONDS, "Prefect's server"
                )
                names = [f"{FOLDER / 'on_prefect.py'}:{name}" for name in ("noop", "stamp")]
                words = ["prefect", "task", "serve", "--limit", str(SLOTS), *names]
                with _counting(url, PREFECT_LEFT) as waiting:
                    yield self._deployed(bench, "on_prefect", variables, [words], waiting, server)
            finally:
                server.stop(STOP_SECONDS)

    def _deployed(
        self, bench: Bench, module: str, variables: dict[str, str], workers: Sequence[list[str]],
        waiting: Callable[[], int], *servers: Part,
    ) -> Deployed:  # fmt: skip
        """Submitting is done by `peers/timed.py`, working by these commands of the packages."""
        file = self._folder / "starts"
        timed = ["python", str(FOLDER / "timed.py"), module]

        @contextmanager
        def work() -> Iterator[Sequence[Part]]:
            with ExitStack() as opened:
                parts = [opened.enter_context(self._running(bench, words, variables)) for words in workers]
                yield [*parts, *servers]

        def started(count: int) -> list[float]:
            finish(self._part(bench, [*timed, "start", str(count), str(file)], variables))
            return [float(line) for line in file.read_text(encoding="utf-8").splitlines()]

        return Deployed(
            lambda count: finish(self._part(bench, [*timed, "fill", str(count)], variables)), work, waiting, started
        )

    @contextmanager
    def _running(self, bench: Bench, words: Sequence[str], variables: dict[str, str]) -> Iterator[Part]:
        part = self._part(bench, words, variables)
        try:
            yield part
        finally:
            part.stop(STOP_SECONDS)

    def _part(self, bench: Bench, words: Sequence[str], variables: dict[str, str]) -> Part:
        """A process of this environment: one of its commands."""
        log = bench.directory / f"{words[0]}-{time.monotonic_ns()}.log"
        environment = {**process_environment(variables), "PYTHONPATH": str(FOLDER)}
        part = Part(words[0], [str(self._folder / "bin" / words[0]), *words[1:]], log, environment)
        part.process.start()
        return part


@contextmanager
def _database(bench: Bench) -> Iterator[str]:
    """The URL of an empty database that is dropped."""
    name = bench.services.new_database("template1")
    try:
        yield bench.services.database_url(name)
    finally:
        bench.services.drop_database(name)


@contextmanager
def _counting(url: str, statement: str) -> Iterator[Callable[[], int]]:
    """A call for the number that this statement finds in the database."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True

        def count() -> int:
            cursor.execute(statement)
            return int(cursor.fetchone()[0])

        yield count
