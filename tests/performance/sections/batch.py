"""A thousand tasks in one request: against as many requests."""

from dataclasses import replace

from tests.performance.bench import Bench
from tests.performance.findings import Findings
from tests.performance.goals import Goal
from tests.performance.load import Endpoint
from tests.performance.sections.submit import NOOP, single
from tests.performance.slices import Way, keep, rates, take_turns
from tests.support.loopback import loopback

TASKS = 1_000
CLIENTS = 2  # one answer is read while the other request is worked on


def measure(bench: Bench) -> Findings:
    findings = Findings("batch")
    what, against = f"tasks/s of POST /tasks/batch, {TASKS:,} a request", "single submits"
    address = loopback(bench.stack.url)
    request = bench.account.submit({"tasks": [NOOP] * TASKS}, "/tasks/batch")
    endpoint = Endpoint.of("POST /tasks/batch", request, expected=201)
    batches = Way("POST /tasks/batch", address, endpoint, bench.stack.server().pid, TASKS, flame="batch")
    batches.requests, batches.clients = bench.size.batches, CLIENTS
    singles = replace(single(bench), flame="")
    take_turns(bench, [singles, batches])
    keep(findings, [singles, batches])
    findings.compare(what, against, Goal(at_least=8), rates(batches, singles))
    return findings
