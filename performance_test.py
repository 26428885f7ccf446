#!/usr/bin/env python3
"""Response times and concurrency of the endpoints.

    python performance_test.py                           measures a server of its own, on temporary services
    python performance_test.py http://127.0.0.1:8000     measures one that runs on this machine

Prints percentiles and requests per second of each endpoint and its ratio to a bare /healthz, measured turn by turn
with it: on a shared machine ratios hold and absolute figures drift. Errors are counted and shown, and make the exit
code 1. Load goes to loopback addresses alone and is bounded in count and in time.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.performance.figures import Row, plot, table
from tests.performance.load import Measured, measure
from tests.performance.scenario import HEALTHZ, Account, CannotMeasure, clear_up, create_one, endpoints, sign_in
from tests.performance.wire import Connection
from tests.support.loopback import Address, NotLoopback, loopback

MAX_CLIENTS, MAX_REQUESTS, MAX_SECONDS = 512, 100_000, 120.0
CANNOT = 2


def main(argv: Sequence[str]) -> int:
    options = _parser().parse_args(argv)
    try:
        if options.url:
            return _report(options, options.url, options.url)
        with _own_server() as url:
            return _report(options, url, "one uvicorn process of its own, no worker, PostgreSQL without fsync")
    except (NotLoopback, CannotMeasure, OSError) as error:
        sys.stderr.write(f"error: {str(error) or type(error).__name__}\n")
        return CANNOT
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", help="of a running server on this machine; without it one is started")
    parser.add_argument("--clients", type=int, default=32, help="connections at once (32)")
    parser.add_argument("--requests", type=int, default=2000, help="of each endpoint and round, at most (2000)")
    parser.add_argument("--seconds", type=float, default=10, help="for each endpoint and round, at most (10)")
    parser.add_argument("--rounds", type=int, default=2, help="how often all endpoints take their turn (2)")
    parser.add_argument("--username", default=os.environ.get("TEST_USERNAME"), help="or TEST_USERNAME; else registers")
    parser.add_argument("--password", default=os.environ.get("TEST_PASSWORD"), help="or TEST_PASSWORD")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw latencies and throughput there, as PNG")
    return parser


@contextmanager
def _own_server() -> Iterator[str]:
    from tests.support.services import Services
    from tests.support.stack import Stack

    print("starting PostgreSQL, Valkey and one API process", flush=True)
    services = Services()
    with tempfile.TemporaryDirectory() as directory, services, Stack(services, Path(directory)) as stack:
        stack.server(options=["--log-level", "warning"])
        yield stack.url
    services.dismiss_guardian()


def _report(options: argparse.Namespace, url: str, server: str) -> int:
    clients = max(1, min(options.clients, MAX_CLIENTS))
    rows, left = asyncio.run(_measure_all(options, loopback(url), clients))
    print(f"\n{clients} clients; {server}\n\n{table(rows)}\n")
    if left:
        print(f"{left} of the created tasks could not be deleted again: they have the type performance_test")
    if options.json:
        figures = {"server": server, "clients": clients, "endpoints": [row.as_json() for row in rows]}
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    if options.plot:
        plot(rows, options.plot, f"{clients} clients · {server}")
    return 1 if left or any(row.measured.errors for row in rows) else 0


async def _measure_all(options: argparse.Namespace, address: Address, clients: int) -> tuple[list[Row], int]:
    """Rows in the order of the table, /healthz first, and how many created tasks are left."""
    connection = Connection(address)
    account = await sign_in(connection, options.username, options.password)
    first = await create_one(connection, account)
    await connection.close()
    rows = await _rounds(options, address, clients, account, str(first.json()["id"]))
    created = [first, *(answer for row in rows for answer in row.measured.answers)]
    return rows, await clear_up(address, account, created)


async def _rounds(
    options: argparse.Namespace, address: Address, clients: int, account: Account, task_id: str
) -> list[Row]:
    """Each endpoint right after a slice of /healthz, all of them once a round: what drifts, drifts for both."""
    requests, seconds = min(options.requests, MAX_REQUESTS), min(options.seconds, MAX_SECONDS)
    chosen = endpoints(account, task_id)
    rows = [Row(endpoint.name, Measured(), Measured()) for endpoint in chosen]
    rounds = max(1, options.rounds)
    await measure(address, HEALTHZ, clients, requests // 4, seconds)  # warms both sides up
    for number in range(rounds):
        for row, endpoint in zip(rows, chosen, strict=True):
            print(f"round {number + 1} of {rounds}: {endpoint.name}", flush=True)
            row.baseline.add(await measure(address, HEALTHZ, clients, requests, seconds / 2))
            count = max(clients, int(requests * endpoint.share))
            row.measured.add(await measure(address, endpoint, clients, count, seconds))
    baseline = Measured()
    for row in rows:
        baseline.add(row.baseline)
    return [Row(HEALTHZ.name, baseline, baseline), *rows]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
