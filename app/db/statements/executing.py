"""Who begins and commits the transaction of several statements, and how long it waits for others."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, Executable, Result
from sqlalchemy.orm import Session

from app.db.connecting import of
from app.db.deadlocks import repeated
from app.db.session import group_engine

T = TypeVar("T")
# An execution option: PostgreSQL's settings (name to value) while a prepared statement runs. Other engines have none.
SET_LOCAL = "task_service_set_local"
_BRIEFLY = 0.2  # seconds


class OwnConnection:
    """A connection on which each function's statements are a transaction of their own: `atomically` begins it.

    In the place of the prepared statements that PostgreSQL runs in autocommit.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def execute(self, statement: Executable, parameters: Any = None) -> "Rows":
        """One statement, committed."""
        return atomically(self, lambda db: Rows(db.execute(statement, parameters)))


class Rows:
    """The rows of a statement, read before its transaction has ended."""

    def __init__(self, result: Result[Any]) -> None:
        self._rows = list(result.all()) if getattr(result, "returns_rows", True) else []

    def all(self) -> list[Any]:
        return self._rows

    def one_or_none(self) -> Any:
        if len(self._rows) > 1:
            raise ValueError(f"{len(self._rows)} rows where there is one at most")
        return self._rows[0] if self._rows else None


class Executes(Protocol):
    """What sends one statement: a session, a connection, or PostgreSQL's prepared one."""

    def execute(self, statement: Any, parameters: Any, /) -> Any: ...


def read_number(db: Executes, statement: Executable, parameters: Mapping[str, Any]) -> int | None:
    """The one number that the statement reads, if any."""
    (number,) = db.execute(statement, parameters).one_or_none() or (None,)
    return None if number is None else int(number)


Executor = Session | Connection | OwnConnection
Transaction = Session | Connection


def atomically(db: Executor, work: Callable[[Transaction], T]) -> T:
    """What `work` returns, run in one transaction.

    That of the caller where `db` is in one, as a session always is: the caller commits. Else a new one, which is
    committed here, and tried again after a deadlock. So `work` must be safe to run twice.
    """
    connection = db.connection if isinstance(db, OwnConnection) else db
    if isinstance(connection, Session) or connection.in_transaction():
        return work(connection)

    def transaction() -> T:
        with connection.begin():
            return work(connection)

    return repeated(transaction)


def wait_briefly(db: Session) -> None:
    """Let the statements of this transaction raise OperationalError (`is_locked`) where others keep them waiting.

    A pass must not stand still for one transaction that is not over. MySQL waits for a second. SQLite waits as always:
    there each pass would wait for the one writer.
    """
    of(str(db.get_bind().dialect.name)).limit_lock_waits(db.connection(), _BRIEFLY)


@contextmanager
def own_connection() -> Iterator[OwnConnection]:
    """A connection for several transactions in turn, none of which may be idle for long. Raises SQLAlchemy's errors."""
    source: Engine = group_engine()
    with source.connect() as connection:
        yield OwnConnection(connection)
