"""Engines, one per process and built after the fork, and the sessions on them.

`SessionLocal()` gives a session bound, at its first statement, to the engine of the process that uses it: a
psycopg2 connection shared across a fork corrupts both sides.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.orm import Session, sessionmaker

from app.core.config import get_settings
from app.db.idle import replace_dead_connections
from app.db.outage import READ_ONLY
from app.errors import Unavailable

# A process that is frozen between two statements keeps its locks, and holds everybody else up, until the server ends
# its transaction. Shorter than the keeper's lease, so that a frozen leader does not outlast it.
IDLE_MS = 2000

_engine: Engine | None = None
_autocommit_engine: Engine | None = None
_group_engine: Engine | None = None
_all_transactions_are_short = False


def keep_transactions_short() -> None:
    """From now on the server ends a transaction of this process that sits idle for IDLE_MS.

    For processes that run our own code alone, and before their first use of the database. Not for pool children, and
    not for whoever imports the service: their transactions may wait for work of theirs.
    """
    global _all_transactions_are_short  # noqa: PLW0603 (one per process, forgotten at fork)
    _all_transactions_are_short = True


def engine() -> Engine:
    """This process's engine. Raises Unavailable when DATABASE_URL is not set."""
    global _engine  # noqa: PLW0603 (one per process, forgotten at fork)
    if _engine is None:
        _engine = _build_engine()
    return _engine


def autocommit_engine() -> Engine:
    """The same pool, each statement its own transaction: one round trip where BEGIN and COMMIT make three."""
    global _autocommit_engine  # noqa: PLW0603 (goes with the engine that it is a view of)
    if _autocommit_engine is None:
        _autocommit_engine = engine().execution_options(isolation_level="AUTOCOMMIT")
    return _autocommit_engine


def group_engine() -> Engine:
    """For `Batcher`s: connections of their own that never leave autocommit, one statement one transaction.

    To change a connection to and from autocommit, and to roll nothing back, lets go of the interpreter's lock each
    time; in a thread beside a busy event loop it takes 5 ms to get it back.
    """
    global _group_engine  # noqa: PLW0603 (one per process, forgotten at fork)
    if _group_engine is None:
        _group_engine = _build_engine(isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True)
    return _group_engine


def _build_engine(**more: Any) -> Engine:
    settings = get_settings()
    if settings.database_url is None:
        raise Unavailable("DATABASE_URL is not set: put it in .env, or start with `python3 run_server.py`")
    options = f"-c timezone=UTC -c statement_timeout={int(settings.database_statement_timeout_seconds * 1000)}"
    if _all_transactions_are_short:
        options += f" -c idle_in_transaction_session_timeout={IDLE_MS}"
    built = create_engine(
        settings.database_url.get_secret_value(),
        # Arguments and results of tasks are parameters: SQLAlchemy would quote them in each error.
        hide_parameters=True,
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_pool_size,
        pool_timeout=settings.database_connect_timeout_seconds,
        # The connection used last: in turn, each of a quiet pool would be idle for long enough to be replaced.
        pool_use_lifo=True,
        echo=settings.debug,
        # Times come back in UTC, a lost server is noticed, and no statement runs for ever.
        connect_args={
            "connect_timeout": settings.database_connect_timeout_seconds,
            "options": options,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        },
        **more,
    )
    event.listen(built, "handle_error", _leave_a_former_primary)
    replace_dead_connections(built, settings.database_max_idle_seconds)
    return built


def _leave_a_former_primary(context: ExceptionContext) -> None:
    """A connection that only reads is of no use to us: the next one may lead to the new primary."""
    if getattr(context.original_exception, "pgcode", None) == READ_ONLY:
        context.is_disconnect = True


def dispose_engine() -> None:
    """Close this process's connections; the next use builds a new engine, which knows of no promise."""
    _forget_engines(close=True)


def _forget_after_fork() -> None:
    """The parent's sockets are the parent's: drop the pool here without closing them."""
    _forget_engines(close=False)


def _forget_engines(*, close: bool) -> None:
    global _engine, _autocommit_engine, _group_engine, _all_transactions_are_short  # noqa: PLW0603
    _all_transactions_are_short = False
    for each in (_engine, _group_engine):
        if each is not None:
            each.dispose(close=close)
    _engine = _autocommit_engine = _group_engine = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


class _ProcessSession(Session):
    def get_bind(self, *args: Any, **kwargs: Any) -> Any:
        # A session given a bind of its own (a test's connection, a caller's engine) keeps it.
        return super().get_bind(*args, **kwargs) if self.bind is not None else engine()


SessionLocal = sessionmaker(class_=_ProcessSession, expire_on_commit=False)


@contextmanager
def transaction(db: Session, *, commit: bool = True) -> Iterator[None]:
    """One public service call: committed at its end, or, with `commit=False`, left to the caller's transaction."""
    try:
        yield
        if commit:
            db.commit()
        else:
            db.flush()
    except BaseException:
        if commit:
            db.rollback()
        raise
