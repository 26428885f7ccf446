"""Bulk operations on one user's tasks, against the batches that have made them; and single submits beside them."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx

from tests.performance.bench import LOGINS, QUIET, ROOM, Bench
from tests.performance.figures import percentile
from tests.performance.findings import Findings
from tests.performance.goals import Goal, ratio
from tests.performance.load import Endpoint
from tests.performance.scenario import API, Account
from tests.performance.sections.submit import NOOP
from tests.support.loopback import loopback
from tests.support.stack import Stack
from tests.support.waiting import wait_for

TASKS, CLIENTS = 1_000, 2  # of a batch
# What is done, and to the tasks in which state.
DEEDS = (("cancel", "pending"), ("retry", "revoked"), ("cancel", "pending"), ("delete", "revoked"))
PAUSE_SECONDS, LIMIT_SECONDS = 0.02, 1800.0
ALONE, ALONE_SECONDS = 200, 120.0  # submits


def measure(bench: Bench) -> Findings:
    findings = Findings("bulk")
    rates: dict[str, list[float]] = {}
    p99s: dict[str, list[float]] = {}
    count = bench.size.backlog // TASKS * TASKS
    with bench.new_stack(**ROOM, **LOGINS) as stack:
        stack.server(options=QUIET)
        stack.beat()
        owner, other = bench.sign_in(stack), bench.sign_in(stack)
        for _ in range(bench.size.rounds):
            batches = _batches(bench, stack, owner, count)
            with _submits(stack, other) as alone:
                wait_for(lambda alone=alone: len(alone) >= ALONE, ALONE_SECONDS, "the submits")  # type: ignore[misc]
            for deed, status in DEEDS:
                with _submits(stack, other) as beside:
                    seconds = _do(stack, owner, deed, status, count)
                rates.setdefault(deed, []).append(ratio(count / seconds, batches))
                p99s.setdefault(deed, []).append(ratio(_p99(beside), _p99(alone)))
    for deed, values in rates.items():
        findings.compare(f"bulk {deed} of {count:,}, tasks/s", "POST /tasks/batch", Goal(at_least=0.7), values)
        findings.compare(f"p99 of a submit beside a bulk {deed}", "of one alone", Goal(at_most=2), p99s[deed])
    return findings


def _batches(bench: Bench, stack: Stack, owner: Account, count: int) -> float:
    """Create so many tasks. Returns how many a second."""
    request = owner.submit({"tasks": [NOOP] * TASKS}, "/tasks/batch")
    endpoint = Endpoint.of("POST /tasks/batch", request, expected=201)
    made = bench.slice(loopback(stack.url), endpoint, count // TASKS, CLIENTS)
    left = count - TASKS * len(made.latencies)
    assert left == 0, f"{left} tasks were not made: {dict(made.errors)}"
    return TASKS * made.per_second


def _do(stack: Stack, owner: Account, deed: str, status: str, count: int) -> float:
    """Do it to all tasks in this state. Returns the seconds from the request until it is over."""
    with _client(stack, owner) as client:
        wanted = {"filter": {"status": [status]}, "dry_run": True}
        token = client.post(f"{API}/tasks/bulk/{deed}", json=wanted).raise_for_status().json()["token"]
        begun = time.perf_counter()
        accepted = client.post(f"{API}/tasks/bulk/{deed}", json={"token": token}).raise_for_status().json()
        path = f"{API}/tasks/bulk/{accepted['id']}"
        state = wait_for(lambda: _ended(client, path), LIMIT_SECONDS, f"the bulk {deed}")
        seconds = time.perf_counter() - begun
    assert state["done"] == count, state
    return seconds


def _ended(client: httpx.Client, path: str) -> dict[str, Any]:
    state: dict[str, Any] = client.get(path).raise_for_status().json()
    return {} if state["state"] == "running" else state


@contextmanager
def _submits(stack: Stack, account: Account) -> Iterator[list[float]]:
    """Submit one task after the other meanwhile. The list gets the seconds that each has taken."""
    seconds: list[float] = []
    is_over = threading.Event()

    def submit() -> None:
        with _client(stack, account) as client:
            client.get(f"{API}/tasks/count")  # the connection is made
            while not is_over.wait(PAUSE_SECONDS):
                begun = time.perf_counter()
                client.post(f"{API}/tasks/", json=NOOP).raise_for_status()
                seconds.append(time.perf_counter() - begun)

    with ThreadPoolExecutor(1) as pool:
        submits = pool.submit(submit)
        try:
            yield seconds
        finally:
            is_over.set()
        submits.result()


def _client(stack: Stack, account: Account) -> httpx.Client:
    headers = {"Authorization": f"Bearer {account.token}"}
    return httpx.Client(base_url=stack.url, headers=headers, timeout=60)


def _p99(seconds: list[float]) -> float:
    return percentile(sorted(seconds), 0.99)
