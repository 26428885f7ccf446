"""The endpoints of a server, each against a bare /healthz, turn by turn."""

from tests.performance.bench import run
from tests.performance.figures import Row
from tests.performance.load import Measured, measure
from tests.performance.scenario import HEALTHZ, Account, clear_up, create_one, endpoints, sign_in
from tests.performance.sizes import Size
from tests.support.loopback import Address


def measure_endpoints(
    size: Size, address: Address, username: str | None, password: str | None
) -> tuple[list[Row], int]:
    """Rows in the order of the table, /healthz first, and how many created tasks are left."""
    return run(_measure_all(size, address, username, password))


async def _measure_all(
    size: Size, address: Address, username: str | None, password: str | None
) -> tuple[list[Row], int]:
    account = await sign_in(address, username, password)
    first = await create_one(address, account)
    rows = await _rounds(size, address, account, str(first.json()["id"]))
    created = [first, *(answer for row in rows for answer in row.measured.answers)]
    return rows, await clear_up(address, account, created)


async def _rounds(size: Size, address: Address, account: Account, task_id: str) -> list[Row]:
    """Each endpoint right after a slice of /healthz, all of them once a round: what drifts, drifts for both."""
    chosen = endpoints(account, task_id)
    rows = [Row(endpoint.name, Measured(), Measured()) for endpoint in chosen]
    await measure(address, HEALTHZ, size.clients, size.requests // 4, size.seconds)  # warms both sides up
    for number in range(size.rounds):
        for row, endpoint in zip(rows, chosen, strict=True):
            print(f"round {number + 1} of {size.rounds}: {endpoint.name}", flush=True)  # noqa: T201
            row.baseline.add(await measure(address, HEALTHZ, size.clients, size.requests, size.seconds / 2))
            count = max(size.clients, int(size.requests * endpoint.share))
            row.measured.add(await measure(address, endpoint, size.clients, count, size.seconds))
    baseline = Measured()
    for row in rows:
        baseline.add(row.baseline)
    return [Row(HEALTHZ.name, baseline, baseline), *rows]
