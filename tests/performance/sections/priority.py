"""How long a critical task waits while many low ones do: against the same on an empty system."""

from itertools import chain

from tests.performance.bench import QUIET, ROOM, Bench, run
from tests.performance.figures import percentile
from tests.performance.findings import Findings
from tests.performance.goals import Goal, ratio
from tests.performance.scenario import Account, task
from tests.performance.wire import ask_once
from tests.support.loopback import loopback
from tests.support.stack import Stack
from tests.support.waiting import wait_for

RUN_SECONDS = 0.02  # of a low task: a critical one waits for a slot at most so long
LOW = "SELECT count(*) FROM tasks WHERE priority = 'low' AND status = 'pending'"
WAITED = """
SELECT extract(epoch FROM started_at - created_at)::float8 FROM tasks
WHERE priority = 'critical' AND started_at IS NOT NULL AND id > :after ORDER BY id"""
NEWEST = "SELECT coalesce(max(id::text), '00000000-0000-0000-0000-000000000000') FROM tasks WHERE priority = 'critical'"


def measure(bench: Bench) -> Findings:
    findings = Findings("priority")
    size = bench.size
    empty: list[list[float]] = []
    loaded: list[list[float]] = []
    with bench.new_stack(**ROOM) as stack:
        stack.server(options=QUIET)
        account, user = bench.sign_in(stack), bench.new_user(stack)
        with bench.worker(stack):
            _critical(bench, stack, account)  # warms it up
            empty += [_critical(bench, stack, account) for _ in range(size.rounds)]
        bench.fill(stack, user, "measured.nap", size.waiting, RUN_SECONDS, priority="low")
        with bench.worker(stack):
            wait_for(lambda: stack.sql(LOW)[0][0] < size.waiting, 60, "the first low task to start")
            loaded += [_critical(bench, stack, account) for _ in range(size.rounds)]
            left = stack.sql(LOW)[0][0]
    if not left:
        findings.errors.append("the low tasks had ended before the critical ones: nothing waited")
    p99 = [(percentile(sorted(a), 0.99), percentile(sorted(b), 0.99)) for a, b in zip(loaded, empty, strict=True)]
    values = [ratio(max(0.0, behind - RUN_SECONDS), alone) for behind, alone in p99]
    what = f"p99 wait, critical behind {size.waiting:,} low ones, less one run"
    note = f"{_middle(loaded)} against {_middle(empty)} ms at p50; {left:,} low ones still waited at the end"
    findings.compare(what, "an empty system", Goal(at_most=2), values, note)
    findings.latencies = {"critical, empty system": [*chain(*empty)], "critical, low ones wait": [*chain(*loaded)]}
    return findings


def _middle(rounds: list[list[float]]) -> str:
    return f"{1000 * percentile(sorted(chain(*rounds)), 0.5):.1f}"


def _critical(bench: Bench, stack: Stack, account: Account) -> list[float]:
    """Seconds from created to started of so many critical tasks, one after another."""
    after = stack.sql(NEWEST)[0][0]
    request = account.submit(task("measured.noop", priority="critical"))
    for number in range(bench.size.critical):
        assert run(ask_once(loopback(stack.url), request)).status == 201
        wait_for(lambda n=number: len(stack.sql(WAITED, after=after)) > n, 60, "a critical task to start")  # type: ignore[misc]
    return [row[0] for row in stack.sql(WAITED, after=after)]
