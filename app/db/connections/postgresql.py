"""Connections to PostgreSQL: their time limits, and how a lost server is noticed."""

from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext

from app.core.config import Settings
from app.db.outage import READ_ONLY

# For statements that are transactions of their own: one round trip where BEGIN and COMMIT make three.
AUTOCOMMIT: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"}
# The same for an engine whose connections are never used otherwise.
ALWAYS_AUTOCOMMIT: dict[str, Any] = {**AUTOCOMMIT, "skip_autocommit_rollback": True}


def options(settings: Settings, idle_ms: int | None) -> dict[str, Any]:
    """Return what `create_engine` needs. The server ends transactions that are idle for `idle_ms` milliseconds.

    Times are in UTC, a lost server is detected, and every statement has a time limit.
    """
    timeout_ms = int(settings.database_statement_timeout_seconds * 1000)
    idle = "" if idle_ms is None else f" -c idle_in_transaction_session_timeout={idle_ms}"
    return {
        # An UPDATE of many rows with values for each is one round trip for a hundred. Else it is one for each row, and
        # each gives the interpreter's lock away, which a thread beside busy ones gets back milliseconds later.
        "executemany_mode": "values_plus_batch",
        "connect_args": {
            "connect_timeout": settings.database_connect_timeout_seconds,
            "options": f"-c timezone=UTC -c statement_timeout={timeout_ms}{idle}",
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        },
    }


def prepare(engine: Engine, settings: Settings, idle_ms: int | None) -> None:
    """Have the engine discard a read-only connection: the next one may lead to the new primary."""
    del settings, idle_ms  # see `options`
    event.listen(engine, "handle_error", _discard_read_only_connection)


def limit_statements(connection: Connection, seconds: float) -> None:
    """Stop each further statement of this transaction after so long, and run it in one process."""
    # One statement of a user's choice must not take several processors: no parallel workers.
    connection.exec_driver_sql(
        f"SET LOCAL statement_timeout = {max(1, int(seconds * 1000))}; SET LOCAL max_parallel_workers_per_gather = 0"
    )


def limit_lock_waits(connection: Connection, seconds: float) -> None:
    """Let each further statement of this transaction fail after waiting so long for a row lock."""
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {max(1, int(seconds * 1000))}")


def _discard_read_only_connection(context: ExceptionContext) -> None:
    if getattr(context.original_exception, "pgcode", None) == READ_ONLY:
        context.is_disconnect = True
