"""What PostgreSQL gains by statements of its own: each beside the portable one, in turn, on the same rows.

    python -m tests.performance.overrides            all of them, as the table of docs/performance.md
    python -m tests.performance.overrides claims     those of one module

A figure is the median time of a call, the round trips and, where the function commits, the commit included. A change is
rolled back, or meets fresh rows.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.db.postgresql.prepared import prepared_connection
from app.db.session import SessionLocal, engine, group_engine
from app.db.statements import user_places
from app.db.statements.pending_rows import Lines, LinesToServe, TaskNames
from app.db.statements.task_moves import ENDS, Cause
from app.db.transactions import OwnConnection
from app.ddl.terms import USER_LIMIT
from app.models.limit import Limit
from app.models.task import Task, TaskStatus
from app.models.task_filter import TaskFilter
from app.models.task_stats import (
    ALL_USERS,
    STAT_KIND,
    STAT_NUMBERS,
    SUM_BUCKETS,
    SUM_NUMBERS,
    task_durations,
    task_stats,
    task_sum_durations,
    task_sums,
)
from app.schemas.task import TaskCreate
from app.services.tasks import new_rows
from tests.performance.growth import _ROWS as ENDED_ROWS, _SUMS as SUMS, _WAITING as WAITING_ROWS
from tests.support.services import Services
from tests.support.settings import forget_the_developers_settings, on_new_database
from tests.support.tasks import LONG_RUNNING, WORKER, new_user

ROUNDS = 41
ENDED, WAITING = 200_000, 20_000
LINE = LinesToServe(["default"], ["normal"], [(0.0, UUID(int=0))])
NAMES = TaskNames([LONG_RUNNING], [LONG_RUNNING])
BY = (WORKER.name, WORKER.id, WORKER.pid)
FIELDS = {"name": "a task", "task_type": "test", "celery_task_name": LONG_RUNNING, "args": [1]}
ERROR = {"p_error_type": "E", "p_error_message": "message", "p_traceback": "trace"}
LOG_LINE = (1, "2026-11-25T10:30:00Z", 20, "a.logger", "x" * 100, "{}")


@dataclass
class Scene:
    """A call of a function that both modules of this name have. `prepare` gives what it is called with."""

    module: str
    name: str
    act: Callable[[Any, Any, Any], object]
    prepare: Callable[[Any, Session], Any] = lambda _, db: None
    # Commits by itself, on a connection as its callers have one; else it runs in a session, which is rolled back.
    commits: bool = False


OWNERS: list[UUID] = []  # of nearly all rows


def ids_of(db: Session, where: str, number: int) -> list[UUID]:
    return list(db.scalars(text(f"SELECT id FROM tasks WHERE {where} LIMIT {number}")))


def rows_to_insert(module: Any, number: int) -> Any:
    wanted = [TaskCreate.model_validate(FIELDS)] * number
    rows = new_rows.rows_of(wanted, OWNERS[0])
    names = [*new_rows._GIVEN, *new_rows._DERIVED]
    return STATEMENTS.setdefault((module, "insert"), module.insert_statement(names)), [row.text for row in rows]


STATEMENTS: dict[Any, Any] = {}


def claimed(_module: Any, _db: Session) -> Any:
    """Ten running tasks."""
    with prepared_connection() as db:
        from app.db.postgresql import claims

        rows = claims.claim_next(db, 10, LINE, NAMES, new_id(), BY)
    return [(row[0], row[1]) for row in rows]


def changes(_module: Any, db: Session) -> None:
    db.execute(
        text("""INSERT INTO task_count_changes
            (user_id, status, task_type, celery_task_name, priority, queue, number, bytes, ended_at, waited, ran)
        SELECT user_id, status, task_type, celery_task_name, priority, queue, 1, 1024, finished_at, 0.1 * random(), 0.2
        FROM tasks WHERE finished_at IS NOT NULL LIMIT 1000""")
    )


def stat_rows(_module: Any, db: Session) -> Any:
    moment = db.execute(text("SELECT date_trunc('minute', now())")).scalar_one()
    kinds = [dict(zip(STAT_KIND, (f"type {n}", "default", "normal"), strict=True)) for n in range(100)]
    numbers = dict.fromkeys(STAT_NUMBERS, 1)
    return [{"user_id": ALL_USERS, "step_seconds": 60, "at": moment, **kind, **numbers} for kind in kinds]


def duration_rows(_module: Any, db: Session) -> Any:
    moment = db.execute(text("SELECT date_trunc('minute', now())")).scalar_one()
    own = {"user_id": ALL_USERS, "step_seconds": 60, "at": moment, "measure": "ran", "number": 1}
    return [{**own, "bucket": bucket} for bucket in range(100)]


def sum_rows(_module: Any, _db: Session) -> Any:
    return [{"celery_task_name": f"task {n}", "queue": "q", **dict.fromkeys(SUM_NUMBERS, 1)} for n in range(20)]


def sum_duration_rows(_module: Any, _db: Session) -> Any:
    own = {"queue": "q", "measure": "run", "number": 1, "seconds": 0.5}
    return [{**own, "celery_task_name": f"task {n}", "bucket": bucket} for n in range(20) for bucket in SUM_BUCKETS[:5]]


def submissions(_module: Any, db: Session) -> None:
    db.execute(
        text("""INSERT INTO task_submissions (user_id, at, task_type, queue, priority, celery_task_name, number)
        SELECT user_id, now(), task_type, queue, priority, celery_task_name, 1 FROM tasks LIMIT 1000""")
    )


def unplaced(_module: Any, db: Session) -> list[UUID]:
    ids = ids_of(db, "status = 'pending' AND turn IS NOT NULL", 500)
    db.execute(text("UPDATE tasks SET turn = NULL WHERE id = ANY(:ids)"), {"ids": ids})
    return ids


def end(module: Any, db: Any, attempt: tuple[UUID, int], cause: Cause, **parameters: Any) -> None:
    assert module.end_attempt(db, ENDS[cause][0], *attempt, 0.1, parameters)


def lines_and_limit(_module: Any, db: Session) -> Any:
    db.execute(text("INSERT INTO limits (name, concurrency) VALUES ('scarce', 10)"))
    ids = ids_of(db, "status = 'pending' AND turn IS NOT NULL", 1000)
    db.execute(text("""UPDATE tasks SET "limit" = 'scarce', held = 'limit' WHERE id = ANY(:ids)"""), {"ids": ids})
    return db.get_one(Limit, "scarce"), Lines(["high", "default", "low"] * 3, sorted(["high", "normal", "low"] * 3))


def admit_and_release(limits: Any, db: Session, given: Any) -> None:
    """What the end of a task with a limit costs beside its row: ten places are given, and are freed."""
    held = import_module(limits.__name__.replace("limits", "held_tasks"))
    limit, lines = given
    limits.lock_limit(db, "scarce")
    limits.usage_of_limit(db, limit)
    rows = held.next_of_limit(db, "scarce", lines, 10)
    limits.give_places(db, "scarce", [row.id for row in rows])
    assert len(limits.free_places(db, limits.of_attempts([(row.id, 1) for row in rows]))) == 10


def users_who_wait(_module: Any, db: Session) -> Any:
    _, lines = lines_and_limit(_module, db)
    db.execute(text("UPDATE tasks SET held = 'user', user_limited = true, \"limit\" = NULL WHERE held = 'limit'"))
    return lines, str(db.execute(text("SELECT user_id FROM tasks WHERE held = 'user' LIMIT 1")).scalar_one())


def admit_of_user(limits: Any, db: Session, given: Any) -> None:
    held = import_module(limits.__name__.replace("limits", "held_tasks"))
    lines, user = given
    user_places.lock_users(db, [user])
    limits.usage_of_keys(db, Limit(name=USER_LIMIT), [user])
    rows = held.next_of_keys(db, USER_LIMIT, lines, {user: 10})
    assert len(rows) == 10
    limits.give_places(db, USER_LIMIT, [row.id for row in rows])


def watching(_module: Any, db: Session) -> list[UUID]:
    """Users whose lists are open; one of them has nearly all tasks."""
    return [*OWNERS, *(new_user(db) for _ in range(99))]


def look_for_changes(live: Any, db: Session, users: list[UUID]) -> None:
    since = db.execute(text("SELECT now() - interval '10 seconds'")).scalar_one()
    live.recent(db.connection(), users, since, new_id())


SCENES = [
    Scene("new_tasks", "insert_rows, one", lambda m, db, g: m.insert_rows(db, *g), lambda m, _: rows_to_insert(m, 1), commits=True),
    Scene("new_tasks", "insert_rows, fifty", lambda m, db, g: m.insert_rows(db, *g), lambda m, _: rows_to_insert(m, 50), commits=True),
    Scene("claims", "claim_next, ten rows", lambda m, db, _: m.claim_next(db, 10, LINE, NAMES, new_id(), BY), commits=True),
    Scene("claims", "give_back, ten rows", lambda m, db, g: m.give_back(db, [(*each, 1.0) for each in g]), claimed, commits=True),
    Scene("attempts", "write_progress", lambda m, db, g: m.write_progress(db, *g[0], 50, {"at": 1}), claimed, commits=True),
    Scene("attempts", "end_attempt in success", lambda m, db, g: end(m, db, g[0], Cause.SUCCEEDED, p_result=[1]), claimed, commits=True),
    Scene("attempts", "succeed_together, ten", lambda m, db, g: m.succeed_together(db, [(*each, "[1]", 0.1) for each in g]), claimed, commits=True),
    Scene("attempts", "end_attempt in failure", lambda m, db, g: end(m, db, g[0], Cause.FAILED, **ERROR, p_error_key="key"), claimed, commits=True),
    Scene(
        "transitions",
        "move_tasks, one",
        lambda m, db, g: m.move_tasks(db, TaskStatus.REVOKED, Task.id == g[0], sources=[TaskStatus.PENDING]),
        lambda _, db: ids_of(db, "status = 'pending'", 1),
    ),
    Scene(
        "transitions",
        "move_tasks, a hundred",
        lambda m, db, g: m.move_tasks(db, TaskStatus.REVOKED, Task.id.in_(g), sources=[TaskStatus.PENDING]),
        lambda _, db: ids_of(db, "status = 'pending'", 100),
    ),
    Scene("turns", "place_due, five hundred", lambda m, db, _: m.place_due(db), unplaced),
    Scene("turns", "place, one", lambda m, db, g: m.place(db, g[:1]), unplaced),
    Scene("turns", "ready_queues", lambda m, db, _: m.ready_queues(db, ["default", "high", "low"])),
    Scene("task_pages", "page_ids, all of a user", lambda m, db, _: m.page_ids(db, TaskFilter(user_id=OWNERS[0]), 51, before=None, skip=0, look=10_000)),
    Scene("task_pages", "page_ids, of a rare type", lambda m, db, _: m.page_ids(db, TaskFilter(user_id=OWNERS[0], task_type="rare"), 51, before=None, skip=0, look=10_000)),
    Scene("attached_rows", "write_log, ten lines", lambda m, db, g: m.write_log(db, *g[0], [(n, *LOG_LINE[1:]) for n in range(10)], -1), claimed, commits=True),
    Scene("attached_rows", "write_output, ten chunks", lambda m, db, g: m.write_output(db, *g[0], [m.Chunk(n, "output", LOG_LINE[1], '"some words of it"', 152) for n in range(10)], has_ended=False), claimed, commits=True),
    Scene("attached_rows", "write_step", lambda m, db, g: m.write_step(db, *g[0], m.Step(1, "a step", 0.1, '{"rows":3}', 300)), claimed, commits=True),
    Scene("counts", "fold_changes, a thousand", lambda m, db, _: m.fold_changes(db, 1000), changes),
    Scene("counts", "take_submissions, a thousand", lambda m, db, _: m.take_submissions(db, 1000), submissions),
    Scene("counts", "add_numbers, a hundred of a step", lambda m, db, g: m.add_numbers(db, task_stats, g), stat_rows),
    Scene("counts", "add_numbers, a hundred durations", lambda m, db, g: m.add_numbers(db, task_durations, g), duration_rows),
    Scene("counts", "add_numbers, twenty counters", lambda m, db, g: m.add_numbers(db, task_sums, g), sum_rows),
    Scene("counts", "add_numbers, a hundred of histograms", lambda m, db, g: m.add_numbers(db, task_sum_durations, g), sum_duration_rows),
    Scene("counts", "count_for_owner", lambda m, db, g: m.count_for_owner(db, g[0][0], "requests", 1, 10**9), claimed, commits=True),
    Scene("live", "recent, of a hundred users", look_for_changes, watching),
    Scene("limits", "admit and release, ten", admit_and_release, lines_and_limit),
    Scene("limits", "admit of a user, ten", admit_of_user, users_who_wait),
]  # fmt: skip


@contextmanager
def connection_of(module: Any, scene: Scene) -> Iterator[Any]:
    """As those who call the function have it, on each engine."""
    if scene.module == "new_tasks":
        own = module.__name__.startswith("app.db.postgresql")
        with (group_engine() if own else engine()).connect() as connection:
            yield connection
    elif module.__name__.startswith("app.db.postgresql"):
        with prepared_connection() as prepared:
            yield prepared
    else:
        with engine().connect() as connection:
            yield OwnConnection(connection)


def seconds_of(module: Any, scene: Scene) -> float:
    if scene.commits:
        with SessionLocal() as db:
            given = scene.prepare(module, db)
        with connection_of(module, scene) as own:
            return timed(lambda: scene.act(module, own, given))
    with engine().connect() as connection:
        return in_session(connection, module, scene)


def in_session(connection: Connection, module: Any, scene: Scene) -> float:
    transaction = connection.begin()
    try:
        with Session(bind=connection) as db:
            given = scene.prepare(module, db)
            db.flush()
            return timed(lambda: scene.act(module, db, given))
    finally:
        transaction.rollback()


def timed(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def measure(scenes: Sequence[Scene]) -> Iterator[str]:
    yield "| function | PostgreSQL's own | portable | ratio |"
    yield "|---|---|---|---|"
    for scene in scenes:
        both = [import_module(f"app.db.{package}.{scene.module}") for package in ("postgresql", "statements")]
        for module in both:
            seconds_of(module, scene)  # builds and compiles its statements
        times = [[seconds_of(module, scene) for module in both] for _ in range(ROUNDS)]
        own, portable = (statistics.median(column) * 1000 for column in zip(*times, strict=True))
        yield f"| `{scene.module}.{scene.name}` | {own:.2f} ms | {portable:.2f} ms | {portable / own:.1f} × |"


def fill(db: Session) -> None:
    owner, other = new_user(db), new_user(db)
    OWNERS.append(owner)
    db.execute(ENDED_ROWS, {"owner": owner, "other": other, "first": 1, "last": ENDED})
    db.execute(WAITING_ROWS, {"user": other, "number": WAITING})
    db.execute(text("DELETE FROM task_count_changes"))
    db.execute(SUMS)
    db.commit()
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def main(wanted: Sequence[str]) -> None:
    forget_the_developers_settings()
    with Services() as services, on_new_database(services, DATABASE_STATEMENT_TIMEOUT_SECONDS="600"):
        with SessionLocal() as db:
            fill(db)
        for line in measure([scene for scene in SCENES if not wanted or scene.module in wanted]):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
