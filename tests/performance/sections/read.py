"""Reading a task, 32 clients, one API process: against a bare `/ping`."""

from tests.performance.bench import Bench, run
from tests.performance.findings import Findings
from tests.performance.goals import Goal
from tests.performance.load import Endpoint
from tests.performance.sections.submit import ping
from tests.performance.slices import Way, keep, rates, take_turns
from tests.performance.wire import ask_once
from tests.support.loopback import loopback


def reading(bench: Bench) -> Way:
    """`GET /tasks/{id}` of one task that waits."""
    address = loopback(bench.stack.url)
    created = run(ask_once(address, bench.account.create()))
    endpoint = Endpoint.of("GET", bench.account.read(f"/tasks/{created.json()['id']}"))
    return Way("GET /tasks/{id}", address, endpoint, bench.stack.server().pid, flame="read")


def measure(bench: Bench) -> Findings:
    findings = Findings("read")
    ours, bare = reading(bench), ping(bench)
    take_turns(bench, [ours, bare])
    keep(findings, [ours, bare])
    what = f"requests/s of GET /tasks/{{id}}, {bench.size.clients} clients"
    findings.compare(what, "bare sync /ping", Goal(at_least=0.5), rates(ours, bare))
    return findings
