"""Reading a task, 32 clients, one API process: against a bare `/ping`."""

from tests.performance.bench import Bench, run
from tests.performance.findings import Findings
from tests.performance.goals import Comparison, Goal, ratio
from tests.performance.load import Endpoint
from tests.performance.scenario import API, create_one
from tests.performance.sections.submit import ping
from tests.performance.slices import Way, keep, take_turns
from tests.performance.wire import Connection, Request
from tests.support.loopback import loopback


def reading(bench: Bench) -> Way:
    """`GET /tasks/{id}` of one task that waits."""
    address = loopback(bench.stack.url)

    async def create() -> str:
        connection = Connection(address)
        answer = await create_one(connection, bench.account)
        await connection.close()
        return str(answer.json()["id"])

    request = Request("GET", f"{API}/tasks/{run(create())}", token=bench.account.token)
    return Way("GET /tasks/{id}", address, Endpoint("GET", lambda _: request), bench.stack.server().pid, flame="read")


def measure(bench: Bench) -> Findings:
    findings = Findings("read")
    ours, bare = reading(bench), ping(bench)
    take_turns(bench, [ours, bare])
    keep(findings, [ours, bare])
    values = [ratio(ours.per_second(number), bare.per_second(number)) for number in range(bench.size.rounds)]
    what = f"requests/s of GET /tasks/{{id}}, {bench.size.clients} clients"
    findings.rows.append(Comparison(what, "bare sync /ping", Goal(at_least=0.5), values))
    return findings
