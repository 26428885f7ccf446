"""Workflows: what an edge costs, whether wide ones stay linear, how soon a child starts, and Celery's chord and chain beside.

Celery has its results in Redis. The CPU is that of all parts, as in the section `run`.
"""

import time
from statistics import median

from tests.performance.bench import QUIET, Bench, finish, run
from tests.performance.drain import Drained, all_ended, drain, pending
from tests.performance.findings import Findings
from tests.performance.goals import Goal, ratio
from tests.performance.scenario import Account, task
from tests.performance.wire import Connection
from tests.support.loopback import loopback
from tests.support.stack import Stack
from tests.support.waiting import wait_for

NARROW, WIDE = 100, 982
CHAIN = 300
PARENTS = 10
FULL_TASKS = 10_000
SECONDS = 60.0
NOOP = "measured.noop"
# From the end of the last parent to the start of the child, and from the submit of a task by itself to its start.
_WAITS = """SELECT extract(epoch FROM child.started_at - max(parent.finished_at))::float8 FROM tasks AS child
    JOIN task_dependencies AS edge ON edge.child_id = child.id JOIN tasks AS parent ON parent.id = edge.parent_id
    GROUP BY child.id"""
_ALONE = "SELECT extract(epoch FROM started_at - created_at)::float8 FROM tasks WHERE workflow_id IS NULL"


def measure(bench: Bench) -> Findings:
    findings = Findings("workflows")
    _compare_cost(bench, findings)
    _compare_times(bench, findings)
    _compare_starts(bench, findings)
    return findings


def _compare_cost(bench: Bench, findings: Findings) -> None:
    number = min(bench.size.drained, FULL_TASKS)
    rounds: dict[str, list[Drained]] = {"plain": [], "fan": [], "diamonds": []}
    for _ in range(bench.size.repeats(5)):
        for shape, drained in rounds.items():
            drained.append(_drained(bench, shape, number))
    for shape, what in (("fan", "1 → 998 → 1"), ("diamonds", "diamonds")):
        costs = [ratio(_cost(one), _cost(plain)) for one, plain in zip(rounds[shape], rounds["plain"], strict=True)]
        note = f"{median(map(_cost, rounds[shape])):.0f} against {median(map(_cost, rounds['plain'])):.0f} µs"
        findings.compare(f"CPU of a task of {what}", "the same batch without edges", Goal(at_most=1.3), costs, note)


def _drained(bench: Bench, shape: str, number: int) -> Drained:
    with bench.new_stack() as stack:
        user = bench.new_user(stack)
        if shape == "plain":
            bench.fill(stack, user, NOOP, number)
        else:
            _weave(bench, stack, shape, number, user, waits=False)
        with bench.worker(stack) as worker:
            return drain(bench, pending(stack), number, [worker], all_ended(stack), seconds=bench.size.drain_seconds)


def _cost(drained: Drained) -> float:
    """CPU microseconds of a task in the worker and both servers."""
    each = drained.microseconds()
    return sum(each[part] for part in ("parent", "children", "PostgreSQL", "broker"))


def _compare_times(bench: Bench, findings: Findings) -> None:
    """How long one takes from its submit to its end."""
    broker = bench.services.new_broker()
    variables = {"RAW_BROKER": broker, "RAW_BACKEND": broker}
    taken: dict[str, list[float]] = {name: [] for name in ("narrow", "wide", "chain", "client", "chord", "raw chain")}
    with bench.new_stack() as stack, bench.worker(stack), bench.raw_worker(broker, backend=broker):
        stack.server(options=QUIET)
        user, account = bench.new_user(stack), bench.sign_in(stack)

        def once() -> dict[str, float]:
            return {
                "narrow": _weave(bench, stack, "fan", NARROW, user),
                "wide": _weave(bench, stack, "fan", WIDE, user),
                "chain": _weave(bench, stack, "chain", CHAIN, user),
                "client": run(_one_by_one(account, stack, CHAIN)),
                "chord": _seconds_of(bench, ["tests.performance.comparators.canvases", "chord", str(WIDE)], variables),
                "raw chain": _seconds_of(
                    bench, ["tests.performance.comparators.canvases", "chain", str(CHAIN)], variables
                ),
            }

        once()  # connections are made, modules imported
        for _ in range(bench.size.repeats(3)):
            for name, seconds in once().items():
                taken[name].append(seconds)
    for what, one, against, other, goal in (
        (f"a fan-out of {WIDE - 2}", "wide", f"one of {NARROW - 2}", "narrow", Goal(at_most=12)),
        (
            f"a chain of {CHAIN}",
            "chain",
            "a client that submits each task when the one before has ended",
            "client",
            Goal(at_most=1),
        ),
        (f"a chain of {CHAIN}", "chain", "Celery, results in Redis", "raw chain", Goal(at_most=1.5)),
    ):
        values = [ratio(mine, theirs) for mine, theirs in zip(taken[one], taken[other], strict=True)]
        note = f"{1000 * median(taken[one]):.0f} against {1000 * median(taken[other]):.0f} ms"
        findings.compare(f"from submit to end, {what}", against, goal, values, note)
    rates = [ratio(theirs, mine) for mine, theirs in zip(taken["wide"], taken["chord"], strict=True)]
    note = f"{1000 * median(taken['wide']):.0f} against {1000 * median(taken['chord']):.0f} ms"
    findings.compare(f"tasks/s of a chord of {WIDE - 1}", "Celery, results in Redis", Goal(at_least=1.5), rates, note)
    findings.details["seconds"] = taken


def _weave(bench: Bench, stack: Stack, shape: str, number: int, user: str, *, waits: bool = True) -> float:
    words = ["tests.performance.weaving", shape, str(number), user, str(int(waits))]
    return _seconds_of(bench, words, stack.settings)


def _seconds_of(bench: Bench, module: list[str], variables: dict[str, str]) -> float:
    part = bench.part(module[0].rpartition(".")[2], module, variables)
    finish(part)
    return float(part.tail().split()[-1])


async def _one_by_one(account: Account, stack: Stack, number: int) -> float:
    """Submit a task, wait for its end, and so on."""
    connection = Connection(loopback(stack.url))
    begun = time.perf_counter()
    for _ in range(number):
        made = (await connection.ask(account.submit(task(NOOP)))).json()["id"]
        await connection.ask(account.read(f"/tasks/{made}?wait=60"))
    taken = time.perf_counter() - begun
    await connection.close()
    return taken


def _compare_starts(bench: Bench, findings: Findings) -> None:
    """On an idle worker: a child after its last parent, and a task by itself."""
    with bench.new_stack() as stack, bench.worker(stack):
        stack.server(options=QUIET)
        user, account = bench.new_user(stack), bench.sign_in(stack)
        over = all_ended(stack)
        for _ in range(bench.size.starts):
            _weave(bench, stack, "fan", PARENTS + 2, user)
            run(_submit(account, stack))
            wait_for(over, SECONDS, "both to end")
        children = sorted(row[0] for row in stack.sql(_WAITS))
        alone = sorted(row[0] for row in stack.sql(_ALONE))
    note = f"p50 {1000 * median(children):.1f} against {1000 * median(alone):.1f} ms"
    findings.compare(
        "start of a child after its last parent", "of a task after its submit", Goal(at_most=1.5),
        [ratio(median(children), median(alone))], note,
    )  # fmt: skip


async def _submit(account: Account, stack: Stack) -> None:
    connection = Connection(loopback(stack.url))
    await connection.ask(account.submit(task(NOOP)))
    await connection.close()
