"""The engines, one set for each process and created after a fork, and the sessions on them.

A session of `SessionLocal()` binds at its first statement to the engine of the process that uses it: a psycopg2
connection that two processes share is corrupted.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

from sqlalchemy import Engine, Pool, create_engine
from sqlalchemy.orm import Session, sessionmaker

from app.core.config import get_settings
from app.core.fork import PerProcess
from app.db import connections
from app.db.connections.pool import replace_dead_connections
from app.errors import Unavailable

# A process that is frozen between two statements keeps its locks until the server ends its transaction. Shorter than
# the maintenance lease, so that a frozen leader does not outlast its lease.
IDLE_MS = 2000

# The limit for connections that are opened from now on.
_idle_ms: PerProcess[int | None] = PerProcess(lambda: None)


def end_idle_transactions() -> None:
    """Let the server end this process's transactions that are idle for IDLE_MS milliseconds, from now on.

    For processes that run only the service's own code. Call it before the first use of the database. Not for pool
    children and programs that import the service: their transactions may wait for work in between.
    """
    _idle_ms.replace(IDLE_MS)


def build_engine(
    always_autocommit: bool = False, statement_seconds: float | None = None, own_code_alone: bool = False
) -> Engine:
    """Return a new engine for the settings' database.

    `statement_seconds`: in the place of their limit for a statement. `own_code_alone`: the server ends transactions
    that are idle for IDLE_MS, also where this process lets others last.
    """
    settings = get_settings()
    if statement_seconds is not None:
        settings = settings.model_copy(update={"database_statement_timeout_seconds": statement_seconds})
    if settings.database_url is None:
        raise Unavailable(
            "DATABASE_URL is not set: set it in .env, or start with `python3 run_server.py`, and give other programs "
            "what that uses: `set -a; . .data/env; set +a`"
        )
    its = connections.of(settings.database_engine)
    idle_ms = IDLE_MS if own_code_alone else _idle_ms()
    built = create_engine(
        settings.database_url.get_secret_value(),
        # Tasks' arguments and results are parameters, which SQLAlchemy would quote in each error.
        hide_parameters=True,
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_pool_size,
        pool_timeout=settings.database_connect_timeout_seconds,
        # The connection used last: in turn, each of a quiet pool would be idle for long enough to be replaced.
        pool_use_lifo=True,
        echo=settings.debug,
        **its.options(settings, idle_ms),
        **(its.ALWAYS_AUTOCOMMIT if always_autocommit else {}),
    )
    its.prepare(built, settings, idle_ms)
    replace_dead_connections(built, settings.database_max_idle_seconds)
    return built


# What a forked child has inherited. SQLite must not close a file that another process opened: it would let go of locks.
_of_parents: list[Pool] = []


def _drop(parents: Engine) -> None:
    """Drop the parent's pool without closing it, because its sockets and files belong to the parent."""
    _of_parents.append(parents.pool)
    parents.dispose(close=False)


# Raises Unavailable if DATABASE_URL is not set, as the two below.
engine = PerProcess(build_engine, inherit=_drop)
# An engine on the same pool with each statement as its own transaction: one round trip where BEGIN and COMMIT make
# three.
autocommit_engine = PerProcess(lambda: engine().execution_options(**connections.of(engine().dialect.name).AUTOCOMMIT))
# The engine of the `Batcher`s, with its own connections that are always in autocommit. Switching a connection to
# autocommit and back releases the interpreter's lock each time. A thread beside a busy event loop then waits
# milliseconds to get it back. It is also the engine of claims and ends where these take several statements: a frozen
# pool child must not keep their locks.
group_engine = PerProcess(partial(build_engine, always_autocommit=True, own_code_alone=True), inherit=_drop)


def dispose_engine() -> None:
    """Close this process's connections. The next use builds new engines, as before `end_idle_transactions`."""
    for each in (engine, group_engine):
        if each.made is not None:
            each.made.dispose()
        each.replace(None)
    autocommit_engine.replace(None)
    _idle_ms.replace(None)


class _ProcessSession(Session):
    opened: ClassVar[Callable[[Session], None] | None] = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if _ProcessSession.opened is not None:
            _ProcessSession.opened(self)

    def get_bind(self, *args: Any, **kwargs: Any) -> Any:
        # A session with a bind of its own (a test's connection, a caller's engine) keeps it.
        return super().get_bind(*args, **kwargs) if self.bind is not None else engine()


def call_for_each_session(opened: Callable[[Session], None] | None) -> None:
    """Have `opened` called with each session of SessionLocal that this process opens from now on; None ends that."""
    _ProcessSession.opened = opened


SessionLocal = sessionmaker(class_=_ProcessSession, expire_on_commit=False)


@contextmanager
def transaction(db: Session, *, commit: bool = True) -> Iterator[None]:
    """Run one public service call: commit at its end, roll back after an error.

    With `commit=False` flush only, and leave the transaction to the caller.
    """
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
