"""From the answer to the body on an idle worker: against `apply_async` and the first line of plain Celery's body.

All times are of the machine's one clock. Ours is taken from the 201 to the row's `started_at`, and, to be told beside
it, to the first line of the body; plain Celery's from the call of `apply_async` to the first line of the body.
"""

import time
from contextlib import ExitStack
from pathlib import Path

from celery import Celery

from tests.performance.bench import QUIET, Bench, run
from tests.performance.comparators.raw import STAMP
from tests.performance.figures import percentile
from tests.performance.findings import Findings
from tests.performance.goals import Goal, ratio
from tests.performance.scenario import Account, task
from tests.performance.wire import Connection
from tests.support.loopback import loopback
from tests.support.running import lines
from tests.support.stack import Stack
from tests.support.waiting import wait_for

PAUSE = 0.02  # an idle worker: the last task's finish is over
SECONDS = 30.0


def measure(bench: Bench) -> Findings:
    findings = Findings("start")
    claims, bodies, raw = [], [], []
    broker = bench.services.new_broker()
    with ExitStack() as opened:
        stack = opened.enter_context(bench.new_stack())
        stack.server(options=QUIET)
        account = bench.sign_in(stack)
        opened.enter_context(bench.worker(stack))
        opened.enter_context(bench.raw_worker(broker))
        celery = opened.enter_context(Celery("raw", broker=broker))
        ours = _Ours(stack, account, bench.directory / "ours")
        opened.callback(ours.close)
        theirs = _Raw(celery, bench.directory / "raw")
        for once in (ours.start, theirs.start):  # connections are made, modules imported
            once()
        for _ in range(bench.size.rounds):
            pairs = [(ours.start(), theirs.start()) for _ in range(bench.size.starts)]
            claims.append(sorted(claimed for (claimed, _), _ in pairs))
            bodies.append(sorted(began for (_, began), _ in pairs))
            raw.append(sorted(began for _, began in pairs))
    for share, most in ((0.5, 1.5), (0.99, 2.0)):
        values = [ratio(percentile(a, share), percentile(b, share)) for a, b in zip(claims, raw, strict=True)]
        name = f"p{share * 100:.0f}"
        note = f"{_milliseconds(claims, share)} against {_milliseconds(raw, share)} ms; first line of the body {_milliseconds(bodies, share)} ms"
        what, against = f"start: 201 → running, {name}", "apply_async → first line of the body"
        findings.compare(what, against, Goal(at_most=most), values, note)
    named = {"201 → running": claims, "201 → first line": bodies, "raw Celery": raw}
    findings.latencies = {name: [value for part in rounds for value in part] for name, rounds in named.items()}
    return findings


def _milliseconds(rounds: list[list[float]], share: float) -> str:
    together = sorted(value for part in rounds for value in part)
    return f"{1000 * percentile(together, share):.1f}"


class _Ours:
    """Over HTTP, on one connection."""

    def __init__(self, stack: Stack, account: Account, ledger: Path) -> None:
        self._stack, self._ledger = stack, ledger
        self._request = account.submit(task("measured.stamp", str(ledger)))
        self._database = stack.engine.connect()

    def start(self) -> tuple[float, float]:
        """Seconds from the 201 to the claim, and to the body."""
        task_id, accepted = run(self._submit())
        began = _await_stamp(self._ledger)
        wait_for(lambda: self._row(task_id)[1], SECONDS, "the task to end")
        return self._row(task_id)[0] - accepted, began - accepted

    async def _submit(self) -> tuple[str, float]:
        connection = Connection(loopback(self._stack.url))
        answer = await connection.ask(self._request)
        accepted = time.time()
        await connection.close()
        return str(answer.json()["id"]), accepted

    def _row(self, task_id: str) -> tuple[float, bool]:
        found = self._database.exec_driver_sql(
            "SELECT extract(epoch FROM started_at)::float8, finished_at IS NOT NULL FROM tasks WHERE id = %s",
            (task_id,),
        ).one()
        self._database.rollback()
        return found[0], found[1]

    def close(self) -> None:
        self._database.close()


class _Raw:
    def __init__(self, celery: Celery, ledger: Path) -> None:
        self._celery, self._ledger = celery, ledger

    def start(self) -> float:
        called = time.time()
        self._celery.send_task(STAMP, args=[str(self._ledger)], ignore_result=True)
        return _await_stamp(self._ledger) - called


def _await_stamp(ledger: Path) -> float:
    """The one line that comes, and the ledger empty again."""
    (line,) = wait_for(lambda: lines(ledger), SECONDS, "the body to begin")
    ledger.unlink()
    time.sleep(PAUSE)
    return float(line)
