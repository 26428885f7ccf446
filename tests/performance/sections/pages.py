"""CPU of a count and of a page of fifty tasks, of the API process and PostgreSQL: against a read of one task."""

import statistics

from tests.performance.bench import Bench, run
from tests.performance.findings import Findings
from tests.performance.goals import Goal, ratio
from tests.performance.load import Endpoint
from tests.performance.sections.read import reading
from tests.performance.sections.submit import NOOP
from tests.performance.slices import Way, keep, take_turns
from tests.performance.wire import ask_once
from tests.support.loopback import loopback, need

TASKS = 200
READS = {
    "/tasks/count": 4.0,  # at most so many times the CPU of a read
    "/tasks/count?status=pending": 4.0,
    "/tasks/?limit=50": 6.0,
}


def measure(bench: Bench) -> Findings:
    findings = Findings("pages")
    one = reading(bench)
    created = run(ask_once(one.address, bench.account.submit({"tasks": [NOOP] * TASKS}, "/tasks/batch")))
    need(created.status, 201, "create tasks", created.body.decode(errors="replace"))
    many = {path: _reading(bench, path) for path in READS}
    take_turns(bench, [one, *many.values()])
    keep(findings, [one, *many.values()])
    rounds = range(bench.size.rounds)
    for path, most in READS.items():
        times = [ratio(many[path].served_for(number), one.served_for(number)) for number in rounds]
        medians = [statistics.median(way.served_for(number) for number in rounds) for way in (many[path], one)]
        note = "{:,.0f} against {:,.0f} µs, PostgreSQL's included".format(*medians)
        findings.compare(f"CPU of GET {path}", "GET /tasks/{id}", Goal(at_most=most), times, note)
    return findings


def _reading(bench: Bench, path: str) -> Way:
    endpoint = Endpoint.of(f"GET {path}", bench.account.read(path))
    return Way(endpoint.name, loopback(bench.stack.url), endpoint, bench.stack.server().pid)
