"""Two operations on one task, on two connections, the second sent at a chosen moment of the first.

The second runs in a thread: it ends, or waits for a row that the first holds until that one commits. What comes of it
is told in a form that can be compared: what both answered, and what the row and its attempts say then.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, create_engine, event, text

from app.db.session import SessionLocal, autocommit_engine, engine
from tests.support.tasks import REFUSALS

SECONDS = 20.0
POLL_SECONDS = 0.001
TOLD = (
    "status", "attempt", "generation", "failures", "crashes", "version", "progress", "status_reason", "error_type",
    "result", "max_attempts", "priority", "queue",
)  # fmt: skip
PRESENT = ("cancel_requested_at", "delete_requested_at", "claim_id", "turn", "finished_at", "run_at")


@dataclass(frozen=True)
class Operation:
    """`call(db)` and what is known of it: whether a worker sends it statement by statement, each its own transaction,
    and whether it passes over a row that another holds (a claim, or a pass of maintenance, which comes again)."""

    name: str
    call: Callable[[Any], Any]
    by_worker: bool = False
    skips_locked: bool = False


@dataclass(frozen=True)
class Outcome:
    answers: tuple[Any, Any]
    row: dict[str, Any] | None
    past: list[tuple[Any, ...]]


@dataclass
class _Moment:
    """When the second one is sent: before this statement of the first, or before its commit (None)."""

    statement: int | None
    thread: int
    act: Callable[[], None]
    seen: int = 0
    committed: bool = False


@dataclass
class WatchedTask:
    """One task in one database, put back into a saved state before each run."""

    task: UUID
    control: Connection
    celery_id: Any = None
    _moment: _Moment | None = None
    _serial: dict[tuple[str, ...], Outcome] = field(default_factory=dict)
    _moments: dict[tuple[str, str, bool], list[int | None]] = field(default_factory=dict)

    # States

    def save(self, state: str) -> None:
        for table, key in (("tasks", "id"), ("task_attempts", "task_id")):
            query = f"CREATE TABLE {state}_{table} AS SELECT * FROM {table} WHERE {key} = '{self.task}'"
            self.control.execute(text(query))

    def restore(self, state: str) -> None:
        self.control.exec_driver_sql(
            f"DELETE FROM tasks; INSERT INTO tasks SELECT * FROM {state}_tasks;"
            f"INSERT INTO task_attempts SELECT * FROM {state}_task_attempts"
        )

    def row(self) -> tuple[dict[str, Any] | None, list[tuple[Any, ...]]]:
        found = self.control.exec_driver_sql("SELECT * FROM tasks").mappings().one_or_none()
        query = "SELECT number, outcome, error_type FROM task_attempts ORDER BY number"
        past = [tuple(row) for row in self.control.exec_driver_sql(query)]
        if found is None:
            return None, past
        told = {name: found[name] for name in TOLD} | {name: found[name] is not None for name in PRESENT}
        told["celery_id"] = found["celery_id"] == self.celery_id
        # To ten minutes: it is due, or will be in an hour.
        at = found["due_at"]
        told["due"] = None if at is None else round((at - datetime.now(UTC)).total_seconds() / 600)
        return told, past

    # Runs

    def serial(self, state: str, first: Operation, second: Operation | None = None) -> Outcome:
        """One after the other, or the first one alone."""
        key = (state, first.name, second.name if second else "")
        if key not in self._serial:
            self.restore(state)
            answers = (perform(first), perform(second) if second else None)
            self._serial[key] = Outcome(answers, *self.row())
        return self._serial[key]

    def moments(self, state: str, first: Operation, *, autocommit: bool) -> list[int | None]:
        """Before each statement but the first, and (None) before its commit, where it is one transaction and ends so."""
        key = (state, first.name, autocommit)
        if key not in self._moments:
            self.restore(state)
            counter = _Moment(-1, threading.get_ident(), lambda: None)
            self._moment = counter
            perform(first, autocommit=autocommit)
            self._moment = None
            commit = [None] if counter.committed and not autocommit else []
            self._moments[key] = [*range(2, counter.seen + 1), *commit]
        return self._moments[key]

    def interleaved(
        self, state: str, first: Operation, second: Operation, moment: int | None, *, autocommit: bool
    ) -> Outcome:
        self.restore(state)
        sent: list[Future[Any]] = []
        with ThreadPoolExecutor(1) as thread:

            def send() -> None:
                if not sent:
                    sent.append(thread.submit(perform, second))
                    self._await_end_or_lock(sent[0])

            self._moment = _Moment(moment, threading.get_ident(), send)
            try:
                answer = perform(first, autocommit=autocommit)
            finally:
                self._moment = None
            assert sent, f"{first.name} in {state} never came to moment {moment}, to which it came alone"
            return Outcome((answer, sent[0].result(SECONDS)), *self.row())

    def _await_end_or_lock(self, second: Future[Any]) -> None:
        deadline = time.monotonic() + SECONDS
        while wait([second], POLL_SECONDS).not_done and not self._waits_for_a_lock():
            assert time.monotonic() < deadline, "the second one neither ended nor waited"

    def _waits_for_a_lock(self) -> bool:
        query = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return self.control.exec_driver_sql(query).first() is not None

    # Events of the first one's connection

    def _reached(self, statement: int | None) -> None:
        moment = self._moment
        if moment is None or moment.thread != threading.get_ident():
            return
        if statement is None:
            moment.committed = True
        else:
            moment.seen += 1
            statement = moment.seen
        if statement == moment.statement:
            moment.act()

    def before_statement(self, *_: Any) -> None:
        self._reached(0)

    def before_commit(self, *_: Any) -> None:
        self._reached(None)


def perform(operation: Operation, *, autocommit: bool | None = None) -> Any:
    """In a transaction of its own, or each statement by itself, as a worker does; a refusal by its class's name."""
    by_statement = operation.by_worker if autocommit is None else autocommit
    with autocommit_engine().connect() if by_statement else SessionLocal() as db:
        try:
            answer = operation.call(db)
            db.commit()
        except REFUSALS as error:
            return type(error).__name__
        return answer


@contextmanager
def watching(watched: WatchedTask) -> Iterator[WatchedTask]:
    """The task with the moments of this process's connections."""
    event.listen(engine(), "before_cursor_execute", watched.before_statement)
    event.listen(engine(), "commit", watched.before_commit)
    try:
        yield watched
    finally:
        event.remove(engine(), "before_cursor_execute", watched.before_statement)
        event.remove(engine(), "commit", watched.before_commit)


@contextmanager
def control(url: str) -> Iterator[Connection]:
    """A connection to look on with: none of the moments counts its statements."""
    looking = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with looking.connect() as connection:
            yield connection
    finally:
        looking.dispose()
