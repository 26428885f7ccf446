"""From the answer to the body on an idle worker: against `apply_async` and the first line of plain Celery's body.

All times are of the machine's one clock. The service's is taken from the 201 to the row's `started_at`, and beside it to
the first line of the body; plain Celery's from the call of `apply_async` to the first line of the body.
"""

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from celery import Celery
from sqlalchemy import Connection as SqlConnection

from tests.performance.bench import QUIET, Bench, run
from tests.performance.comparators.raw import STAMP
from tests.performance.figures import percentile
from tests.performance.findings import Findings
from tests.performance.goals import Goal, ratio
from tests.performance.scenario import task
from tests.performance.wire import Connection, Request
from tests.support.loopback import Address, loopback
from tests.support.running import lines
from tests.support.waiting import wait_for

PAUSE = 0.02  # an idle worker: the last task's finish is over
SECONDS = 30.0
ROW = "SELECT extract(epoch FROM started_at)::float8, finished_at IS NOT NULL FROM tasks WHERE id = %s"


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
        database = opened.enter_context(stack.engine.connect())
        request = account.submit(task("measured.stamp", str(bench.directory / "ours")))
        ours = partial(start, loopback(stack.url), request, database, bench.directory / "ours")
        theirs = partial(start_raw, celery, bench.directory / "raw")
        for once in (ours, theirs):  # connections are made, modules imported
            once()
        for _ in range(bench.size.rounds):
            pairs = [(ours(), theirs()) for _ in range(bench.size.starts)]
            claims.append(sorted(mine.claimed - mine.accepted for mine, _ in pairs))
            bodies.append(sorted(mine.to_body for mine, _ in pairs))
            raw.append(sorted(began for _, began in pairs))
    for share, most in ((0.5, 1.5), (0.99, 2.0)):
        values = [ratio(percentile(a, share), percentile(b, share)) for a, b in zip(claims, raw, strict=True)]
        name = f"p{share * 100:.0f}"
        note = f"{_milliseconds(claims, share)} against {_milliseconds(raw, share)} ms"
        against = "apply_async → first line of the body"
        findings.compare(f"start: 201 → running, {name}", against, Goal(at_most=most), values, note)
        values = [ratio(percentile(a, share), percentile(b, share)) for a, b in zip(bodies, raw, strict=True)]
        note = f"{_milliseconds(bodies, share)} against {_milliseconds(raw, share)} ms"
        findings.compare(f"start: 201 → first line of the body, {name}", against, Goal(at_most=most), values, note)
    named = {"201 → running": claims, "201 → first line": bodies, "raw Celery": raw}
    findings.latencies = {name: [value for part in rounds for value in part] for name, rounds in named.items()}
    return findings


def _milliseconds(rounds: list[list[float]], share: float) -> str:
    together = sorted(value for part in rounds for value in part)
    return f"{1000 * percentile(together, share):.1f}"


class Started(NamedTuple):
    """When a task was accepted, and when it was claimed and its body began, by the machine's clock."""

    accepted: float
    claimed: float
    began: float

    @property
    def to_body(self) -> float:
        """Seconds from the 201 to the first line of the body."""
        return self.began - self.accepted


def start(address: Address, request: Request, database: SqlConnection, ledger: Path) -> Started:
    """Submit one task on a connection of its own, and wait for its end."""

    async def submit() -> tuple[str, float]:
        connection = Connection(address)
        answer = await connection.ask(request)
        accepted = time.time()
        await connection.close()
        return str(answer.json()["id"]), accepted

    task_id, accepted = run(submit())
    began = await_stamp(ledger)
    wait_for(lambda: _row(database, task_id)[1], SECONDS, "the task to end")
    return Started(accepted, _row(database, task_id)[0], began)


def _row(database: SqlConnection, task_id: str) -> tuple[float, bool]:
    started, ended = database.exec_driver_sql(ROW, (task_id,)).one()
    database.rollback()
    return started, ended


def start_raw(celery: Celery, ledger: Path, *, ignore_result: bool = True) -> float:
    """Return the seconds from the call of `apply_async` to the first line of the body."""
    called = time.time()
    celery.send_task(STAMP, args=[str(ledger)], ignore_result=ignore_result)
    return await_stamp(ledger) - called


def await_stamp(ledger: Path) -> float:
    """The one line that comes, and the ledger empty again."""
    (line,) = wait_for(lambda: lines(ledger), SECONDS, "the body to begin")
    ledger.unlink()
    time.sleep(PAUSE)
    return float(line)
