"""Connections to PostgreSQL: their time limits, and how a lost server is noticed."""

from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from app.core.config import Settings
from app.db.outage import READ_ONLY

# For statements that are transactions of their own: one round trip where BEGIN and COMMIT make three.
AUTOCOMMIT: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"}
# The same for an engine whose connections are never used otherwise.
ALWAYS_AUTOCOMMIT: dict[str, Any] = {**AUTOCOMMIT, "skip_autocommit_rollback": True}


def options(settings: Settings, idle_ms: int | None) -> dict[str, Any]:
    """What `create_engine` needs. The server ends transactions that are idle for `idle_ms` milliseconds.

    Times are in UTC, a lost server is detected, and every statement has a time limit.
    """
    timeout_ms = int(settings.database_statement_timeout_seconds * 1000)
    idle = "" if idle_ms is None else f" -c idle_in_transaction_session_timeout={idle_ms}"
    return {
        "connect_args": {
            "connect_timeout": settings.database_connect_timeout_seconds,
            "options": f"-c timezone=UTC -c statement_timeout={timeout_ms}{idle}",
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        }
    }


def prepare(engine: Engine, settings: Settings, idle_ms: int | None) -> None:
    """Have the engine discard a read-only connection: the next one may lead to the new primary."""
    del settings, idle_ms  # see `options`
    event.listen(engine, "handle_error", _discard_read_only_connection)


def _discard_read_only_connection(context: ExceptionContext) -> None:
    if getattr(context.original_exception, "pgcode", None) == READ_ONLY:
        context.is_disconnect = True
