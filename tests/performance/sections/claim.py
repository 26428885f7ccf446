"""The claim of the next of millions of rows: against a small backlog, claim by claim in turn."""

from collections.abc import Sequence
from contextlib import ExitStack

from tests.performance.backlog import Backlog, backlog
from tests.performance.bench import Bench
from tests.performance.figures import percentile
from tests.performance.findings import Findings
from tests.performance.goals import Goal, ratio

SMALL_ROWS = 10_000
PER_USER = 10  # at least so many tasks each
MOST_USERS = 10_000


def measure(bench: Bench) -> Findings:
    findings = Findings("claim")
    size = bench.size
    with ExitStack() as opened:
        small, large = (_filled(bench, opened, rows, rows // PER_USER) for rows in (SMALL_ROWS, size.pending))
        alone = _filled(bench, opened, SMALL_ROWS, 1)
        what, against = f"claim at {size.pending:,} pending rows", f"{SMALL_ROWS:,} rows"
        _compare(findings, what, against, 1.2, _pairs(large, small, size.claims))
        for each in (small, large):
            each.churn(size.churned)
        _compare(findings, f"{what}, after {size.churned:,} have run", against, 1.2, _pairs(large, small, size.claims))
        with large.long_transaction():
            large.churn(size.churned)
            pairs = _pairs(large, small, size.claims)
        _compare(findings, f"{what}, {size.churned:,} run beside a long transaction", against, 2, pairs)
        with alone.long_transaction():  # each claim puts the line's clock on
            alone.churn(size.churned)
            pairs = _pairs(alone, small, size.claims)
        what = f"claim of one user's, {size.churned:,} run beside a long transaction"
        _compare(findings, what, f"{against} of many, no such transaction", 2, pairs)
    return findings


def _filled(bench: Bench, opened: ExitStack, rows: int, users: int) -> Backlog:
    name = bench.services.new_database()
    opened.callback(bench.services.drop_database, name)
    return opened.enter_context(backlog(bench.services.database_url(name), rows, min(MOST_USERS, users)))


def _pairs(large: Backlog, small: Backlog, number: int) -> Sequence[tuple[float, float]]:
    for each in (large, small):
        for _ in range(10):  # the server has made its plan of a prepared statement
            each.claim()
    return [(large.claim(), small.claim()) for _ in range(number)]


def _compare(findings: Findings, what: str, against: str, most: float, pairs: Sequence[tuple[float, float]]) -> None:
    mine, theirs = (sorted(side) for side in zip(*pairs, strict=True))
    medians = percentile(mine, 0.5), percentile(theirs, 0.5)
    p99 = f"p99 {1000 * percentile(mine, 0.99):.2f} against {1000 * percentile(theirs, 0.99):.2f} ms"
    note = f"p50 {1000 * medians[0]:.2f} against {1000 * medians[1]:.2f} ms; {p99}"
    findings.compare(what, against, Goal(at_most=most), [ratio(*medians)], note)
    findings.latencies[what] = mine
