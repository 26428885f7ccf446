"""Submitting a task, 32 clients, one API process: against the hand-written endpoint, Flower's, and a bare `/ping`."""

import json

from tests.performance.bench import SECRET, Bench
from tests.performance.comparators.handwritten_table import token_for
from tests.performance.findings import Findings
from tests.performance.goals import Goal, ratio
from tests.performance.load import Endpoint
from tests.performance.scenario import Account, task
from tests.performance.slices import Way, keep, rates, take_turns
from tests.performance.wire import Request
from tests.support.loopback import loopback

NOOP = task("measured.noop", kwargs={})
PING = Endpoint.of("/ping", Request("GET", "/ping"))


def submitting(account: Account, *, keep: bool = False) -> Endpoint:
    """`POST /tasks/` as the sections measure it."""
    return Endpoint.of("POST /tasks/", account.submit(NOOP), expected=201, keep=keep)


def single(bench: Bench) -> Way:
    address, endpoint = loopback(bench.stack.url), submitting(bench.account)
    return Way("POST /tasks/", address, endpoint, bench.stack.server().pid, flame="submit")


def ping(bench: Bench) -> Way:
    part, address = bench.bare
    return Way("bare sync /ping", address, PING, part.pid)


def measure(bench: Bench) -> Findings:
    findings = Findings("submit")
    ours, bare, written = single(bench), ping(bench), _handwritten(bench)
    flower = _flower(bench)
    ways = [ours, written, flower, bare]
    take_turns(bench, ways)
    keep(findings, ways)
    rate = f"requests/s of POST /tasks/, {bench.size.clients} clients"
    against = (
        (written, "hand-written endpoint", 5.0), (bare, "bare sync /ping", 0.7), (flower, "Flower's send-task, no record", 3.5)
    )  # fmt: skip
    for way, name, least in against:
        findings.compare(rate, name, Goal(at_least=least), rates(ours, way))
    spread = [ratio(ours.latency(number, 0.99), ours.latency(number, 0.5)) for number in range(bench.size.rounds)]
    findings.compare("submit: p99", "its own p50", Goal(at_most=4), spread)
    return findings


def _handwritten(bench: Bench) -> Way:
    part, address = bench.handwritten
    request = Request("POST", "/jobs", json.dumps(NOOP).encode(), token=token_for("somebody", SECRET))
    return Way("hand-written", address, Endpoint.of("POST /jobs", request, expected=201), part.pid)


def _flower(bench: Bench) -> Way:
    part, address = bench.flower
    request = Request("POST", "/api/task/send-task/raw.noop", json.dumps({"args": []}).encode())
    return Way("Flower send-task", address, Endpoint.of("POST send-task", request), part.pid)
