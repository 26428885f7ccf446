"""Webhooks: the sender against bare httpx, beside a dead receiver, beside starts, and what the end of a task costs more."""

import json
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Any

from tests.performance.bench import QUIET, ROOM, Bench, Served, finish
from tests.performance.drain import LOOK, Drained, all_ended, drain, pending
from tests.performance.figures import percentile
from tests.performance.findings import Findings
from tests.performance.goals import Goal, ratio
from tests.performance.scenario import task
from tests.performance.sections.start import start
from tests.support.loopback import loopback
from tests.support.stack import Stack

SETTINGS = {"OUTBOUND_ALLOW": '["127.0.0.0/8"]', "WEBHOOK_SECRET": "whsec_" + "A" * 43 + "="}
NUMBER, ROUNDS = 1_000, 3
# One endpoint has four connections at most, so many endpoints have all that the sender has.
ENDPOINTS = (1, 16)
# Events to the dead endpoint, and to the one beside it.
QUEUED, BESIDE = 10_000, 200
# Tasks whose ends go to a URL, and what of them has not arrived.
COSTED = 5_000
UNTOLD = f"""SELECT {LOOK} (SELECT count(*) FROM task_outbox)
    + (SELECT count(*) FROM webhook_deliveries WHERE state = 'pending')"""


def measure(bench: Bench) -> Findings:
    findings = Findings("webhooks")
    url = _url(_receiver(bench))
    for endpoints in ENDPOINTS:
        found = _sending(bench, "rate", NUMBER, endpoints, bench.size.repeats(ROUNDS), url)
        values = [ratio(plain, sent) for sent, plain in zip(found["sent"], found["httpx"], strict=True)]
        rates = [NUMBER / min(found[name]) for name in ("sent", "httpx")]
        note = "{:.0f} against {:.0f} a second at best; signed, with their rows".format(*rates)
        what = f"webhooks/s, {4 * endpoints} at once"
        findings.compare(what, "httpx, as many at once, connections kept", Goal(at_least=0.4), values, note)
        findings.details[what] = found
    dead = _url(_receiver(bench, "silent"))
    found = _sending(bench, "beside", BESIDE, QUEUED, bench.size.repeats(ROUNDS), url, dead)
    values = [ratio(beside, alone) for beside, alone in zip(found["beside"], found["alone"], strict=True)]
    note = "{:.2f} against {:.2f} s at best".format(*(min(found[name]) for name in ("beside", "alone")))
    what = f"{BESIDE} events beside {QUEUED:,} to a receiver that never answers"
    findings.compare(what, "without these", Goal(at_most=2), values, note)
    findings.details[what] = found
    _compare_starts(bench, findings, url, dead)
    _compare_cost(bench, findings, url)
    return findings


def _compare_starts(bench: Bench, findings: Findings, url: str, dead: str) -> None:
    """Compare the starts of tasks beside a hundred webhooks a second with those beside none, in one deployment."""
    alone, beside = [], []
    with ExitStack() as opened:
        stack = opened.enter_context(bench.new_stack(**SETTINGS))
        stack.server(options=QUIET)
        stack.beat()
        account = bench.sign_in(stack)
        opened.enter_context(bench.worker(stack))
        database = opened.enter_context(stack.engine.connect())
        ledger = bench.directory / "beside-webhooks"
        one = partial(start, loopback(stack.url), account.submit(task("measured.stamp", str(ledger))), database, ledger)
        one()
        for _ in range(bench.size.repeats(ROUNDS)):
            alone.append(sorted(one().to_body for _ in range(bench.size.starts)))
            _spread(bench, stack, url, dead)
            beside.append(sorted(one().to_body for _ in range(bench.size.starts)))
            stack.sql("DELETE FROM webhook_deliveries")
    for share in (0.5, 0.99):
        pairs = [(percentile(b, share), percentile(a, share)) for a, b in zip(alone, beside, strict=True)]
        note = "{:.1f} against {:.1f} ms at best".format(*(1000 * min(each) for each in zip(*pairs, strict=True)))
        what = f"start: 201 → first line of the body, p{100 * share:.0f}, beside 100 webhooks/s, a tenth to a dead receiver"
        findings.compare(what, "beside none", Goal(at_most=1.2), [ratio(*pair) for pair in pairs], note)


def _compare_cost(bench: Bench, findings: Findings, url: str) -> None:
    """Compare the CPU of a task whose end goes to a URL, until the receiver has it, with that of one without."""
    rounds: dict[str, list[Drained]] = {"": [], url: []}
    for _ in range(bench.size.repeats(ROUNDS)):
        for webhook, drained in rounds.items():
            drained.append(_drained(bench, webhook))
    values = [ratio(told.cost, plain.cost) for told, plain in zip(rounds[url], rounds[""], strict=True)]
    note = "{:.0f} against {:.0f} µs, the leader's with it".format(
        *(median(one.cost for one in rounds[of]) for of in (url, ""))
    )
    findings.compare("CPU of a task with `webhook_url`", "of one without", Goal(at_most=1.5), values, note)
    findings.details["cpu_microseconds_each"] = {
        of or "none": [one.microseconds() for one in rounds[of]] for of in rounds
    }


def _drained(bench: Bench, webhook: str) -> Drained:
    number = min(bench.size.drained, COSTED)
    with bench.new_stack(**SETTINGS, **ROOM) as stack:
        bench.fill(stack, bench.new_user(stack), "measured.noop", number, FILL_WEBHOOK=webhook)
        over = all_ended(stack)
        leader = stack.beat()
        with bench.worker(stack) as worker:
            return drain(
                bench, pending(stack), number, [worker, leader], lambda: over() and stack.sql(UNTOLD)[0][0] == 0,
                seconds=bench.size.drain_seconds,
            )  # fmt: skip


def _spread(bench: Bench, stack: Stack, url: str, dead: str) -> None:
    """Queue the webhooks of all the starts to come. A start takes less than a tenth of a second."""
    words = ["spread", str(max(5, bench.size.starts // 10)), url, dead]
    finish(bench.part("sending", ["tests.performance.sending", *words], stack.settings))


def _receiver(bench: Bench, *words: str) -> Served:
    return bench.listening(
        "receiver", lambda at: ["tests.performance.comparators.receiver", str(at.port), *words], {}
    )  # fmt: skip


def _url(served: Served) -> str:
    return f"http://{served[1].host}:{served[1].port}/"


def _sending(bench: Bench, *words: Any) -> dict[str, list[float]]:
    with bench.new_stack(**SETTINGS) as stack:
        part = bench.part("sending", ["tests.performance.sending", *map(str, words)], stack.settings)
        finish(part)
        found: dict[str, list[float]] = json.loads(part.output().splitlines()[-1])
        return found
