"""No-op tasks out of a backlog through two processes: with claim, end and history, against plain Celery without results.

Other task queues are the section `peers`.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from tests.performance.bench import Bench, finish
from tests.performance.drain import Drained, all_ended, drain, in_broker, pending
from tests.performance.findings import Findings
from tests.performance.flames import flame
from tests.performance.goals import Goal, ratio
from tests.support.stack import Part

OURS, RAW, RAW_GOAL = "ours", "raw Celery, results off", 8.0
LIMITED, LIMITED_GOAL = "ours, with a limit", 0.7
# One task of a key at a time; those of the busy ones have to be passed over.
KEYS, BUSY_KEYS = 1000, 10
CPU_GOAL = 0.2
# The places of the busy keys are another worker's, which lives.
_BUSY = (
    """INSERT INTO worker_processes (id, name, pid, queues, concurrency, version, heartbeat_at)
    VALUES (gen_random_uuid(), 'busy@bench', 1, '{}', 1, '', now() + interval '1 day')""",
    """INSERT INTO limit_places (task_id, attempt, limit_name, limit_key, started_at, worker_id, worker_pid)
    SELECT gen_random_uuid(), 1, 'bench', 'key-' || number, now(), worker.id, 1
    FROM generate_series(0, :number - 1) AS number, worker_processes AS worker WHERE worker.name = 'busy@bench'""",
)
_BEHIND = """SELECT count(*) FROM tasks
    WHERE limit_key IN (SELECT limit_key FROM limit_places WHERE worker_id IS NOT NULL)"""
RAW_QUEUE = "celery"


def measure(bench: Bench) -> Findings:
    findings = Findings("run")
    ways = {OURS: _ours, LIMITED: _limited, RAW: _raw}
    drained: dict[str, list[Drained]] = {name: [] for name in ways}
    for _ in range(bench.size.rounds):
        for name, way in ways.items():
            drained[name].append(way(bench))
    if bench.flames:
        _ours(bench, bench.flames / "run.svg")
    pairs = zip(drained[OURS], drained[RAW], strict=True)
    rates = [ratio(mine.per_second, theirs.per_second) for mine, theirs in pairs]
    findings.compare("no-op tasks/s through worker -c 2", RAW, Goal(at_least=RAW_GOAL), rates)
    shares = [ratio(it.per_second, free.per_second) for it, free in zip(drained[LIMITED], drained[OURS], strict=True)]
    findings.compare(
        "no-op tasks/s, one at a time of each of 1,000 keys, 10 of them busy", OURS, Goal(at_least=LIMITED_GOAL), shares
    )
    costs = [ratio(mine.cost, theirs.cost) for mine, theirs in zip(drained[OURS], drained[RAW], strict=True)]
    findings.compare("CPU of a no-op task, all parts", RAW, Goal(at_most=CPU_GOAL), costs)
    for name, rounds in drained.items():
        each = [one.microseconds() for one in rounds]
        findings.details[name] = {
            "per_second": [one.per_second for one in rounds],
            "cpu_microseconds_each": {part: sum(one[part] for one in each) / len(each) for part in each[0]},
        }
    return findings


def _drain(
    bench: Bench, waiting: Callable[[], int], workers: Sequence[Part], ended: Callable[[], bool] = lambda: True
) -> Drained:
    return drain(bench, waiting, bench.size.drained, workers, ended, seconds=bench.size.drain_seconds)


def _ours(bench: Bench, picture: Path | None = None) -> Drained:
    with bench.new_stack() as stack:
        bench.fill(stack, bench.new_user(stack), "measured.noop", bench.size.drained)
        with bench.worker(stack) as worker, flame(picture, worker.pid) if picture else nullcontext():
            return _drain(bench, pending(stack), [worker], all_ended(stack))


def _limited(bench: Bench) -> Drained:
    with bench.new_stack() as stack:
        stack.sql("INSERT INTO limits (name, concurrency_per_key) VALUES ('bench', 1)")
        for statement in _BUSY:
            stack.sql(statement, number=BUSY_KEYS)
        variables = {"FILL_LIMIT": "bench", "FILL_KEYS": str(KEYS)}
        bench.fill(stack, bench.new_user(stack), "measured.noop", bench.size.drained, **variables)
        busy = stack.sql(_BEHIND)[0][0]
        waiting = pending(stack)
        with bench.worker(stack) as worker:
            return _drain(bench, lambda: waiting() - busy, [worker])


def _raw(bench: Bench) -> Drained:
    url = bench.services.new_broker()
    finish(bench.filling_raw(url, bench.size.drained))
    with bench.raw_worker(url) as worker:
        return _drain(bench, in_broker(bench.broker(url), RAW_QUEUE), [worker])
