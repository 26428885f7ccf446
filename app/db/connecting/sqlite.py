"""Connections to SQLite: a write-ahead log, foreign keys, one writer at a time, and a time limit for statements.

A transaction begins at its first write or FOR UPDATE, with BEGIN IMMEDIATE: it waits for the one writer before it reads
what it will change. Reads before that are not part of a transaction, as under READ COMMITTED: each sees what is
committed, and none holds the writer up.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, TextClause, event

from app.core.config import Settings
from app.db.connecting.sqlite_forks import ForkablePool
from app.db.connecting.until_return import undo_at_return, until_return

AUTOCOMMIT: dict[str, Any] = {}
ALWAYS_AUTOCOMMIT: dict[str, Any] = {}

# FULL: a commit survives a loss of power, as on the other engines.
_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "recursive_triggers = OFF")
_STEPS = 10_000  # of SQLite's machine, between two looks at the clock
_DEADLINE = "task_service_deadline"


def options(settings: Settings, idle_ms: int | None) -> dict[str, Any]:
    """What `create_engine` needs."""
    del idle_ms  # a process that ends lets go of its locks; one that is frozen keeps them (docs/servers.md)
    return {
        "poolclass": ForkablePool,
        "connect_args": {
            # How long a writer waits for the other one.
            "timeout": settings.database_statement_timeout_seconds,
            "check_same_thread": False,
            "isolation_level": None,
        },
    }


def prepare(engine: Engine, settings: Settings, idle_ms: int | None) -> None:
    """Set up each new connection, and begin transactions as the module says."""
    del idle_ms
    event.listen(engine, "connect", partial(_set_up, settings.database_statement_timeout_seconds))
    event.listen(engine, "before_cursor_execute", _begin)
    undo_at_return(engine)


def limit_statements(connection: Connection, seconds: float) -> None:
    """Stop each further statement after so long, until the connection goes back to its pool."""
    deadline: _Deadline = connection.info[_DEADLINE]
    until_return(connection, partial(deadline.undo, deadline.seconds))
    deadline.seconds = seconds


def limit_lock_waits(connection: Connection, seconds: float) -> None:
    """Nothing: a writer waits for the one that writes, whatever either of them writes to."""
    del connection, seconds


@contextmanager
def brief_lock_waits(connection: Connection, seconds: float) -> Iterator[None]:
    """Let a transaction that begins in here wait no longer for the one writer. Raises OperationalError."""
    usual = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
    try:
        yield
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {usual}")


def _set_up(statement_seconds: float, connection: Any, record: Any) -> None:
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    connection.create_function("sha256_hex", 1, _sha256_hex, deterministic=True)
    connection.create_function("lower_case", 1, _lower_case, deterministic=True)
    record.info[_DEADLINE] = deadline = _Deadline(statement_seconds)
    connection.set_progress_handler(deadline.has_passed, _STEPS)


def _sha256_hex(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _lower_case(text: str) -> str:
    """Letter by letter, as PostgreSQL's lower(): that of SQLite leaves all but ASCII as it is."""
    return text.lower() if text.isascii() else "".join(map(str.lower, text.replace("İ", "i")))


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = float("inf")

    def begin(self) -> None:
        self._at = time.monotonic() + self.seconds

    def undo(self, seconds: float, _connection: Any) -> None:
        self.seconds = seconds

    def has_passed(self) -> bool:
        return time.monotonic() > self._at


def _begin(connection: Any, cursor: Any, _statement: str, _parameters: Any, context: Any, _many: bool) -> None:
    connection.info[_DEADLINE].begin()
    if not cursor.connection.in_transaction and _writes(context, _statement):
        cursor.execute("BEGIN IMMEDIATE")


def _writes(context: Any, statement: str) -> bool:
    compiled = getattr(context, "compiled", None)
    if compiled is None or isinstance(compiled.statement, TextClause):
        return not statement.lstrip().upper().startswith(("SELECT", "PRAGMA", "WITH", "BEGIN"))
    if getattr(compiled.statement, "is_select", False):
        return getattr(compiled.statement, "_for_update_arg", None) is not None
    return True
