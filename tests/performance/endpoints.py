"""The endpoints of a server, each against a bare /healthz, turn by turn."""

import secrets
from collections.abc import Sequence

from tests.performance.bench import run
from tests.performance.figures import Row
from tests.performance.load import Measured, measure
from tests.performance.scenario import HEALTHZ, LOGIN, Account, create_one, endpoints
from tests.performance.sizes import Size
from tests.support.leftovers import Credentials, Leftovers
from tests.support.loopback import Address


def measure_endpoints(
    size: Size, address: Address, given: Credentials | None, administrators: Sequence[Credentials]
) -> tuple[list[Row], int]:
    """Rows in the order of the table, /healthz first, and how many created tasks are left.

    As the given account, or as a new one, which one of the administrators deletes at the end.
    """
    leftovers = Leftovers.at(address, label=f"performance test {secrets.token_hex(4)}", borrowed=given)
    try:
        if given is None:
            leftovers.find_administrator(administrators)
        credentials = given or leftovers.new_account("perf")[1]
        token = leftovers.log_in(credentials)["access_token"]
        leftovers.logins.append(token)
        account = Account(credentials.username, credentials.password, token, leftovers.label)
        rows = run(_measure_all(size, address, account))
        logins = (answer.json()["access_token"] for row in rows if row.name == LOGIN for answer in row.measured.answers)
        leftovers.logins.extend(logins)
    finally:
        leftovers.clear_up()
    return rows, leftovers.tasks


async def _measure_all(size: Size, address: Address, account: Account) -> list[Row]:
    first = await create_one(address, account)
    return await _rounds(size, address, account, str(first.json()["id"]))


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
