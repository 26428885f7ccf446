"""CPU time, statements and broker commands of a submit, a read, a claim and finish, and a progress write, by part."""

import time
from collections.abc import Callable
from typing import Any

from tests.performance import capacity
from tests.performance.bench import QUIET, Bench
from tests.performance.counts import Counts, Seen, by_statement, each
from tests.performance.drain import all_ended, drain, pending
from tests.performance.findings import Findings
from tests.performance.load import Endpoint
from tests.performance.scenario import Account
from tests.performance.sections.submit import submitting
from tests.support.loopback import loopback
from tests.support.stack import Part, Stack
from tests.support.waiting import wait_for

IDLE_SECONDS, WAKE_SECONDS = 2.0, 0.1  # after an answer wake-ups are sent
AT_ONCE = {"PROGRESS_INTERVAL_SECONDS": "0.0001"}  # every report is written: its cost, not its coalescing
MIX = capacity.Mix(reads=2, reports=0, body_seconds=0)
FEWEST = 3_000  # tasks to run
WRITTEN = "SELECT status, version FROM tasks ORDER BY id DESC LIMIT 1"

# CPU microseconds by part, counts, PostgreSQL's time by statement.
Figures = tuple[dict[str, float], dict[str, float], list[dict[str, str | float]]]
Idle = tuple[dict[str, float], dict[str, float]]  # the first two, a second


def measure(bench: Bench) -> Findings:
    findings = Findings("capacity")
    with bench.new_stack() as stack:
        stack.server(options=QUIET)
        account, user = bench.sign_in(stack), bench.new_user(stack)
        counts = Counts(bench, stack)
        figures = {"submit": _submits(bench, stack, account, counts), "read": _reads(bench, stack, account, counts)}
        figures["claim + finish"] = _runs(bench, stack, user, counts)
        figures["progress"] = _reports(bench, stack, user, counts)
    costs = capacity.Costs(*(cpu for cpu, *_ in figures.values()))
    findings.details = {
        "cpu_microseconds": {name: cpu for name, (cpu, _, _) in figures.items()},
        "counts": {name: counted for name, (_, counted, _) in figures.items()},
        "statements": {name: statements for name, (*_, statements) in figures.items()},
        "machines": capacity.machines(costs, MIX),
        "loads": capacity.loads(costs, MIX),
        "one_broker_tasks_per_second": capacity.one_broker(costs, MIX),
        "mix": {"reads": MIX.reads, "reports": MIX.reports, "body_seconds": MIX.body_seconds},
    }
    return findings


def _submits(bench: Bench, stack: Stack, account: Account, counts: Counts) -> Figures:
    return _http(bench, stack, submitting(account, keep=True), counts)


def _reads(bench: Bench, stack: Stack, account: Account, counts: Counts) -> Figures:
    task_id = stack.sql("SELECT id FROM tasks LIMIT 1")[0][0]
    return _http(bench, stack, Endpoint.of("GET /tasks/{id}", account.read(f"/tasks/{task_id}")), counts)


def _http(bench: Bench, stack: Stack, endpoint: Endpoint, counts: Counts) -> Figures:
    """Without a worker nothing else goes on."""
    address = loopback(stack.url)
    bench.slice(address, endpoint, bench.size.clients)
    time.sleep(WAKE_SECONDS)
    before, meter = counts.seen(), bench.meter(API=stack.server().pid)
    done = bench.slice(address, endpoint, bench.size.calls)
    assert done.latencies, f"{endpoint.name}: {dict(done.errors)}"
    time.sleep(WAKE_SECONDS)
    return _figures(meter.read(), before, counts.seen(), len(done.latencies))


def _runs(bench: Bench, stack: Stack, user: str, counts: Counts) -> Figures:
    """Of what was submitted, and more where that would be over before a look."""
    submitted = stack.sql("SELECT count(*) FROM tasks")[0][0]
    if submitted < FEWEST:
        bench.fill(stack, user, "measured.noop", FEWEST - submitted)
    waiting = max(submitted, FEWEST)
    seen: list[Seen] = []
    with bench.worker(stack) as worker:
        done = drain(bench, pending(stack), waiting, [worker], all_ended(stack), lambda: seen.append(counts.seen()))
        idle = _idle(bench, worker, counts)
    before, after = seen
    return _figures(done.cpu, before, after, done.tasks, idle, done.seconds)


def _idle(bench: Bench, worker: Part, counts: Counts) -> Idle:
    """What goes on a second when nothing is to be done: heartbeats, maintenance, polls of the queues."""
    before, meter, begun = counts.now(), _worker_meter(bench, worker), time.perf_counter()
    time.sleep(IDLE_SECONDS)
    cpu, seconds = meter(), time.perf_counter() - begun
    after = counts.now()
    return (
        {name: value / seconds for name, value in cpu.items()},
        {name: (after[name] - before[name]) / seconds for name in after},
    )


def _reports(bench: Bench, stack: Stack, user: str, counts: Counts) -> Figures:
    with bench.worker(stack, 1, **AT_ONCE) as worker:
        idle = _idle(bench, worker, counts)
        before, meter = counts.seen(), _worker_meter(bench, worker)
        bench.fill(stack, user, "measured.tick", 1, bench.size.calls, 0.0)
        row: Any = wait_for(lambda: (last := stack.sql(WRITTEN)[0]).status == "succeeded" and last, 300, "the reports")
        spent, after = meter(), counts.seen()
    written = row.version - 3  # created, claimed, finished
    return _figures(spent, before, after, written, idle, after[0] - before[0])


def _worker_meter(bench: Bench, worker: Part) -> Callable[[], dict[str, float]]:
    meter = bench.meter(worker=worker.pid, parent=(worker.pid, False))

    def read() -> dict[str, float]:
        found = meter.read()
        return {**found, "children": found["worker"] - found["parent"]}

    return read


def _figures(
    spent: dict[str, float], before: Seen, after: Seen, number: int, idle: Idle = ({}, {}), seconds: float = 0.0
) -> Figures:
    """Of each of so many, by the model's parts, less what goes on anyway: in so many seconds of CPU, and between looks."""
    names = {"parent": "worker parent", "children": "worker children"}
    parts = {names.get(name, name): value - idle[0].get(name, 0.0) * seconds for name, value in spent.items()}
    cpu = {name: round(1e6 * max(0.0, parts[name]) / number, 1) for name in capacity.PARTS if name in parts}
    background = {name: value * (after[0] - before[0]) for name, value in idle[1].items()}
    return cpu, each(before[1], after[1], number, background), by_statement(before[2], after[2], number)
