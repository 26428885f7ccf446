"""Schedules: a look at many of which none is due, a thousand that are due at once, and Celery beat beside it."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from app.maintenance.passes.schedules import fire_due
from app.schedules import zones
from tests.performance.bench import QUIET, Bench, finish
from tests.performance.figures import percentile
from tests.performance.findings import Findings
from tests.performance.goals import Goal, ratio
from tests.support.services import sqlalchemy_url
from tests.support.stack import Part, Stack
from tests.support.waiting import wait_for

FEW, LOOKS, DUE, ROUNDS = 10, 200, 1_000, 5
# Of beat, and of what is beside it: an hour apart from themselves, due one after the other.
ENTRIES, SPAN = 10_000, 3600.0
# Until processes are up, and those of the first seconds are over.
AHEAD_SECONDS = 8.0
OURS, BEAT = "schedules", "Celery beat"
_USER = """INSERT INTO users (id, username, username_normalized, email, email_normalized, password_hash)
SELECT id, id::text, id::text, id || '@example.com', id || '@example.com', '!'
FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, :users)) AS new"""
_SCHEDULES = """INSERT INTO schedules (
    id, user_id, name, task, celery_task_name, every_seconds, timezone, start_at, done_until, next_run_at, due_at,
    tzdata, overlap
)
SELECT uuidv7(), whose.id, 'a schedule', :task, :name, 3600, 'UTC', due, due - interval '1 microsecond', due, due,
    :zones, 'allow'
FROM (SELECT number, to_timestamp(:begin + number * :span / :number) AS due
      FROM generate_series(0, :number - 1) AS number) AS times
JOIN (SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM users) AS whose ON whose.place = number % :users"""
_LATE = """SELECT extract(epoch FROM started_at - (metadata->>'scheduled_for')::timestamptz)::float8
    FROM tasks WHERE schedule_id IS NOT NULL AND status = 'succeeded'"""


def measure(bench: Bench) -> Findings:
    findings = Findings("schedules")
    _none_due(bench, findings)
    _due_at_once(bench, findings)
    _beside_beat(bench, findings)
    return findings


def _none_due(bench: Bench, findings: Findings) -> None:
    number = bench.size.schedules
    with ExitStack() as opened:
        small, large = (opened.enter_context(_waiting(bench, each)) for each in (FEW, number))
        pairs = [(_look(large), _look(small)) for _ in range(LOOKS)][LOOKS // 10 :]
    medians = [percentile(sorted(side), 0.5) for side in zip(*pairs, strict=True)]
    note = "p50 {:.2f} against {:.2f} ms".format(*(1000 * each for each in medians))
    what = f"look at {number:,} schedules of which none is due"
    findings.compare(what, f"{FEW} schedules", Goal(at_most=1.5), [ratio(*medians)], note)


@contextmanager
def _waiting(bench: Bench, number: int) -> Iterator[Session]:
    """A database of its own with so many schedules, due tomorrow."""
    name = bench.services.new_database()
    engine = create_engine(sqlalchemy_url(bench.services.database_url(name)))
    try:
        with Session(engine, expire_on_commit=False) as db:
            _add(db, number, time.time() + 86_400, SPAN, users=min(number, 100))
            db.execute(text("ANALYZE"))
            db.commit()
            yield db
    finally:
        engine.dispose()
        bench.services.drop_database(name)


def _add(db: Session, number: int, begin: float, span: float, *, users: int) -> None:
    task = {"name": "a task", "task_type": "performance_test", "celery_task_name": "measured.noop"}
    values = {"number": number, "begin": begin, "span": span, "users": users, "zones": zones.tzdata_version()}
    db.execute(text(_USER), values)
    db.execute(text(_SCHEDULES), {**values, "task": json.dumps(task), "name": task["celery_task_name"]})
    db.commit()


def _look(db: Session) -> float:
    begun = time.perf_counter()
    assert fire_due(db) == 0
    return time.perf_counter() - begun


def _due_at_once(bench: Bench, findings: Findings) -> None:
    rounds = bench.size.repeats(ROUNDS)
    with bench.new_stack() as stack:
        part = bench.part("firing", ["tests.performance.firing", str(DUE), str(rounds)], stack.settings)
        finish(part)
        found = json.loads(part.output().splitlines()[-1])
    values = [ratio(fired, batch) for fired, batch in zip(found["fired"], found["batch"], strict=True)]
    note = f"{1000 * min(found['fired']):.0f} against {1000 * min(found['batch']):.0f} ms, the best of {rounds}"
    what = f"{DUE:,} schedules that are due at once"
    findings.compare(what, f"create_tasks of {DUE:,}", Goal(at_most=1.3), values, note)
    findings.details["due at once"] = found


def _beside_beat(bench: Bench, findings: Findings) -> None:
    ours, beats = zip(*((_ours(bench), _beat(bench)) for _ in range(bench.size.rounds)), strict=True)
    seconds = bench.size.schedule_seconds
    what = f"CPU of {ENTRIES:,} entries, {seconds * ENTRIES / SPAN:.0f} due in {seconds:.0f} s, run by a worker"
    values = [ratio(sum(mine[0].values()), sum(theirs[0].values())) for mine, theirs in zip(ours, beats, strict=True)]
    findings.compare(what, BEAT, Goal(), values, f"{_parts(ours[-1][0])} against {_parts(beats[-1][0])}")
    for name, rounds in ((OURS, ours), (BEAT, beats)):
        late = sorted(each for _, lateness in rounds for each in lateness)
        note = f"p50 {1000 * percentile(late, 0.5):.0f}, p99 {1000 * percentile(late, 0.99):.0f} ms of {len(late)}"
        findings.compare(f"start behind its time, {name}", "—", Goal(unit="ms"), [1000 * percentile(late, 0.5)], note)
        findings.latencies[name] = late


def _parts(cpu: dict[str, float]) -> str:
    return ", ".join(f"{name} {1000 * seconds:.0f}" for name, seconds in cpu.items()) + " ms"


def _watched(bench: Bench, begin: float, **parts: Part) -> dict[str, float]:
    """CPU seconds by part, from the first time that is due, for as long as is watched."""
    wait_for(lambda: time.time() >= begin, 60, "the first time")
    meter = bench.meter(**{name: part.pid for name, part in parts.items()})
    wait_for(lambda: time.time() >= begin + bench.size.schedule_seconds, 600, "the last time")
    found = meter.read()
    del found["generator"]
    return found


def _ours(bench: Bench) -> tuple[dict[str, float], Sequence[float]]:
    with bench.new_stack() as stack:
        stack.server(options=QUIET)
        begin = time.time() + AHEAD_SECONDS
        with Session(stack.engine) as db:
            _add(db, ENTRIES, begin, SPAN, users=100)
        with bench.worker(stack) as worker:
            cpu = _watched(bench, begin, worker=worker)
            return cpu, _lateness(stack)


def _lateness(stack: Stack) -> list[float]:
    rows: Sequence[Any] = stack.sql(_LATE)
    assert rows, "no schedule was fired"
    return [row[0] for row in rows]


def _beat(bench: Bench) -> tuple[dict[str, float], Sequence[float]]:
    url, ledger = bench.services.new_broker(), bench.directory / f"late-{time.monotonic_ns()}"
    with bench.raw_worker(url) as worker:
        begin = time.time() + AHEAD_SECONDS
        variables = {
            "BEAT_ENTRIES": str(ENTRIES),
            "BEAT_SPAN": str(SPAN),
            "BEAT_BEGIN": repr(begin),
            "BEAT_LEDGER": str(ledger),
        }
        words = ["celery", "-A", "tests.performance.comparators.beat", "beat", "-s", f"{ledger}.beat", "--pidfile="]
        beat = bench.part("beat", words, {"RAW_BROKER": url, **variables})
        try:
            cpu = _watched(bench, begin, worker=worker, beat=beat)
        finally:
            beat.stop()
    assert Path(ledger).exists(), f"beat has sent nothing:\n{beat.tail()}"
    return cpu, [float(line) for line in Path(ledger).read_text().splitlines()]
