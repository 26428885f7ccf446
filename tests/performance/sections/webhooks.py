"""Webhooks: the sender against bare httpx, and one receiver beside another one that is dead."""

import json
from typing import Any

from tests.performance.bench import Bench, Served, finish
from tests.performance.findings import Findings
from tests.performance.goals import Goal, ratio

SETTINGS = {"OUTBOUND_ALLOW": '["127.0.0.0/8"]', "WEBHOOK_SECRET": "whsec_" + "A" * 43 + "="}
NUMBER, ROUNDS = 1_000, 3
# One endpoint has four connections at most, so many endpoints have all that the sender has.
ENDPOINTS = (1, 16)
# Events to the dead endpoint, and to the one beside it.
QUEUED, BESIDE = 10_000, 200


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
    return findings


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
