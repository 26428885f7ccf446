"""Memory of an API process and of pool children: against a bare FastAPI process and plain Celery's children."""

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack

from app.core.api_process import TRIM_SECONDS
from tests.performance.bench import QUIET, ROOM, Bench, finish
from tests.performance.drain import all_ended, in_broker, pending
from tests.performance.findings import Curve, Findings
from tests.performance.goals import Goal, ratio
from tests.performance.processes import memory
from tests.performance.sections.submit import PING, submitting
from tests.support.loopback import loopback
from tests.support.running import messages
from tests.support.stack import Part
from tests.support.waiting import wait_for

MOST_EACH = 2_000
SAMPLES, POLL_SECONDS, LIMIT_SECONDS = 20, 0.05, 3600.0
WARM = 0.1  # of the tasks: what a child takes with its first ones stays
API, CHILD, CHILDREN = Goal(at_most=2.5), Goal(at_most=1.8), Goal(at_most=1.3)
CONCURRENCY = 2  # as in the other sections: what children share counts for less, the more they are
SETTLED_SECONDS = 2 * TRIM_SECONDS  # "after" means after: what is given back once in a while has been


def measure(bench: Bench) -> Findings:
    findings = Findings("memory", axes=("tasks through one pool child", "MiB (PSS) of the child"))
    _api(bench, findings)
    _one_child(bench, findings)
    _children(bench, findings)
    return findings


def _api(bench: Bench, findings: Findings) -> None:
    with bench.new_stack(**ROOM) as stack:
        part = stack.server(options=QUIET)
        bare, address = bench.http_server("bare", {})
        idle = memory(part.pid), memory(bare.pid)
        account = bench.sign_in(stack)
        bench.slice(loopback(stack.url), submitting(account))
        bench.slice(address, PING)
        time.sleep(SETTLED_SECONDS)
        loaded = memory(part.pid), memory(bare.pid)
    _compare(findings, API, "API process", "bare FastAPI process", {"idle": idle, "after load": loaded})


def _one_child(bench: Bench, findings: Findings) -> None:
    """One child each, at the same time, so that what both share is shared out alike."""
    kept, raw_url = bench.size.kept, bench.services.new_broker()
    with ExitStack() as opened:
        stack = opened.enter_context(bench.new_stack())
        user = bench.new_user(stack)
        ours = opened.enter_context(bench.worker(stack, 1))
        raw = opened.enter_context(bench.raw_worker(raw_url, 1))
        idle = memory(_child(ours)), memory(_child(raw))
        theirs = _through(bench.filling_raw(raw_url, kept), in_broker(bench.broker(raw_url), "celery"), raw, kept)
        filling = bench.filling(stack, user, "measured.noop", kept)
        curve = _through(filling, pending(stack), ours, kept)
        wait_for(all_ended(stack), 60, "the last task to end")
        loaded = memory(_child(ours)), memory(_child(raw))
    findings.curves = {"pool child": curve, "plain Celery's child": theirs}
    _compare(findings, CHILD, "one pool child", "plain Celery's", {"idle": idle, f"after {kept:,} tasks": loaded})
    warm = next((y for x, y in curve if x >= WARM * kept), curve[0][1])
    what, against = f"memory: one pool child over {kept:,} tasks", "itself after a tenth of them"
    note = f"{warm:.1f} → {curve[-1][1]:.1f} MiB"
    findings.compare(what, against, Goal(at_most=1.05), [ratio(curve[-1][1], warm)], note)


def _children(bench: Bench, findings: Findings) -> None:
    """As workers are: several children, which share with each other as well."""
    each, raw_url = min(bench.size.kept, MOST_EACH), bench.services.new_broker()
    with ExitStack() as opened:
        stack = opened.enter_context(bench.new_stack())
        user = bench.new_user(stack)
        ours = opened.enter_context(bench.worker(stack, CONCURRENCY))
        raw = opened.enter_context(bench.raw_worker(raw_url, CONCURRENCY))
        idle = _of_children(ours), _of_children(raw)
        finish(bench.filling_raw(raw_url, each * CONCURRENCY))
        wait_for(lambda: not messages(bench.broker(raw_url), "celery"), LIMIT_SECONDS, "plain Celery to take its tasks")
        bench.fill(stack, user, "measured.noop", each * CONCURRENCY)
        wait_for(all_ended(stack), LIMIT_SECONDS, "the last task to end")
        loaded = _of_children(ours), _of_children(raw)
    what = f"each of {CONCURRENCY} pool children"
    _compare(findings, CHILDREN, what, "plain Celery's", {"idle": idle, f"after {each:,} tasks": loaded})


def _compare(
    findings: Findings,
    goal: Goal,
    what: str,
    against: str,
    measured: dict[str, tuple[dict[str, float], dict[str, float]]],
) -> None:
    for when, (ours, theirs) in measured.items():
        kind = "pss" if "pss" in ours else "uss"
        note = f"{ours[kind]:.0f} against {theirs[kind]:.0f} MiB {kind.upper()}"
        value = ratio(ours[kind], theirs[kind])
        findings.compare(f"memory: {what}, {when}", against, goal, [value], note)
        findings.details[f"{what}, {when}"] = {"ours": ours, "theirs": theirs}


def _through(filling: Part, waiting: Callable[[], int], worker: Part, count: int) -> Curve:
    """Until all of it has been filled and taken: the child's memory over the tasks that it has taken."""
    curve: Curve = []
    taken, child, deadline = 0, _child(worker), time.monotonic() + LIMIT_SECONDS
    while filling.running or waiting():
        time.sleep(POLL_SECONDS)
        alive = worker.running and time.monotonic() < deadline
        assert alive, f"{taken} of {count} tasks taken:\n{worker.tail()}"
        if not filling.running:
            taken = count - waiting()
        if not curve or taken - curve[-1][0] >= count / SAMPLES:
            curve.append((taken, _own(memory(child))))
    finish(filling)
    assert _child(worker) == child, f"{worker.name} has another child now:\n{worker.tail()}"
    return [*curve, (count, _own(memory(child)))]


def _own(figures: dict[str, float]) -> float:
    return figures.get("pss", figures["uss"])


def _of_children(worker: Part) -> dict[str, float]:
    """The mean of them: which of them writes to a page that they share is chance."""
    figures = [memory(pid) for pid in worker.children()]
    assert len(figures) == CONCURRENCY, f"{worker.name} has {len(figures)} children:\n{worker.tail()}"
    return {kind: statistics.mean(each[kind] for each in figures) for kind in figures[0]}


def _child(worker: Part) -> int:
    (pid,) = worker.children()
    return pid
