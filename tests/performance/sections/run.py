"""No-op tasks through `worker -c 2`: ours with claim, finish and history, against plain Celery without and with results."""

from contextlib import nullcontext
from pathlib import Path

from tests.performance.bench import Bench, finish
from tests.performance.drain import Drained, all_ended, drain
from tests.performance.findings import Findings
from tests.performance.flames import flame
from tests.performance.goals import Goal, ratio
from tests.support.services import sqlalchemy_url

OURS, RAW, BACKEND = "ours", "raw Celery, results off", "Celery, database backend, track_started"
RAW_QUEUE = "celery"


def measure(bench: Bench) -> Findings:
    findings = Findings("run")
    ways = {OURS: _ours, RAW: _raw, BACKEND: _backend}
    drained: dict[str, list[Drained]] = {name: [] for name in ways}
    for _ in range(bench.size.rounds):
        for name, way in ways.items():
            drained[name].append(way(bench))
    if bench.flames:
        _ours(bench, bench.flames / "run.svg")
    for other, least in ((RAW, 0.9), (BACKEND, 3.0)):
        pairs = zip(drained[OURS], drained[other], strict=True)
        values = [ratio(mine.per_second, theirs.per_second) for mine, theirs in pairs]
        findings.compare("no-op tasks/s through worker -c 2", other, Goal(at_least=least), values)
    for name, rounds in drained.items():
        each = [one.microseconds() for one in rounds]
        findings.details[name] = {
            "per_second": [one.per_second for one in rounds],
            "cpu_microseconds_each": {part: sum(one[part] for one in each) / len(each) for part in each[0]},
        }
        findings.moments[name] = [moment for one in rounds for moment in _done(one)]
    return findings


def _done(drained: Drained) -> list[float]:
    """One moment for each task, as finely as the queue was looked at."""
    before, found = drained.moments[0][1], []
    for moment, waiting in drained.moments[1:]:
        found += [moment] * max(0, before - waiting)
        before = waiting
    return found


def _ours(bench: Bench, picture: Path | None = None) -> Drained:
    with bench.new_stack() as stack:
        bench.introduce(stack)
        bench.fill(stack, bench.new_user(stack), "measured.noop", bench.size.drained)
        broker = bench.broker(stack.broker_url)
        with bench.worker(stack) as worker, flame(picture, worker.pid) if picture else nullcontext():
            return drain(bench, broker, "default", bench.size.drained, worker, all_ended(stack))


def _raw(bench: Bench, backend: str = "") -> Drained:
    url = bench.services.new_broker()
    finish(bench.filling_raw(url, bench.size.drained, RAW_BACKEND=backend))
    with bench.raw_worker(url, backend=backend) as worker:
        return drain(bench, bench.broker(url), RAW_QUEUE, bench.size.drained, worker)


def _backend(bench: Bench) -> Drained:
    database = bench.services.new_database("template1")
    try:
        return _raw(bench, f"db+{sqlalchemy_url(bench.services.database_url(database))}")
    finally:
        bench.services.drop_database(database)
